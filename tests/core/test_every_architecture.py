"""A phase on each kind of network: two steps, a snapshot between them, the same bits resumed, its file read again."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lastsam_core.checkpoints import load_checkpoint, save_checkpoint
from lastsam_core.data import TrainBatches
from lastsam_core.models import ARCHITECTURES, create_model
from lastsam_core.phase import Phase, Wish
from lastsam_core.recipe import Channels, Recipe
from lastsam_core.snapshot import load_snapshot, save_snapshot
from lastsam_core.tasks import Classification
from tests.factories import digest_of

RECIPE = Recipe.model_validate({"epochs": 1, "batch_size": 2, "optimizer": {"lr": 0.01}}).resolved()
LARGEST_SIDE = 64  # of the networks for larger images: they pool over whatever is left
# One of each kind: snapshots of all would take minutes, and tests/core/models/test_registry.py has every one.
SOME = (
    "resnet20-a", "resnet56-b", "wrn-28-2", "wrn-28-2-homura", "wrn-40-2-meliketoy", "vgg11bn-chenyaofo",
    "densenet40-k12-bc", "resnext29-32x4d", "shakeshake26-2x32d", "resnet18-cifar", "efficientnet-b0",
)  # fmt: skip


def phase_of(arch: str, **options: object) -> Phase:
    torch.manual_seed(0)
    model = create_model(arch, num_classes=5).to(memory_format=torch.channels_last)  # pyright: ignore
    side = min(ARCHITECTURES[arch].image_size, LARGEST_SIDE)
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (4, 3, side, side), dtype=torch.uint8, generator=generator)
    batches = TrainBatches(
        images, torch.tensor([0, 1, 2, 3]), channels=Channels(mean=(0.5,), std=(0.25,)), batch_size=2, seed=0
    )
    return Phase(model, RECIPE, batches, Classification(label_smoothing=0.1), **options)  # pyright: ignore


@pytest.mark.parametrize("arch", SOME)
def test_two_steps_a_snapshot_and_the_file_again(arch: str, tmp_path: Path) -> None:
    whole = phase_of(arch)
    (report,) = whole.run()
    assert report.skipped == 0
    expected = digest_of(whole.model.state_dict())

    left = phase_of(arch, between_steps=lambda _: Wish.LEAVE)
    assert list(left.run()) == []
    save_snapshot(tmp_path / "snapshot", left.state_dict())
    resumed = phase_of(arch)
    resumed.load_state_dict(load_snapshot(tmp_path / "snapshot"))
    assert resumed.steps_done == 1
    list(resumed.run())
    assert digest_of(resumed.model.state_dict()) == expected

    save_checkpoint(resumed.model.state_dict(), tmp_path / "model.pt", format="pt")
    loaded = load_checkpoint(tmp_path / "model.pt", arch=arch)
    assert loaded.layout.arch == arch
    assert digest_of(loaded.model.state_dict()) == expected
