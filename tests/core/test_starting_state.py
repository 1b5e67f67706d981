"""Training cut in two by a file equals training in one go, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.checkpoints import LoadedCheckpoint, OptimizerState, load_checkpoint, save_checkpoint
from lastsam_core.delivery import Source
from lastsam_core.errors import CheckpointError
from lastsam_core.models import create_model
from lastsam_core.phase import Wish, make_base_optimizer
from lastsam_core.recipe import Recipe
from lastsam_core.refinement import Interrupted, Refinement
from lastsam_core.sam import SharpnessAware
from lastsam_core.starting_state import start_from, wanted_state
from tests.factories import SMALL, small_net, tiny_dataset

DATASET = tiny_dataset(train=64, test=40, size=8, classes=10)
OPTIMIZERS = [
    {"name": "sgd", "momentum": 0.9},
    {"name": "sgd", "momentum": 0.9, "nesterov": True},
    {"name": "adam"},
    {"name": "adamw"},
]


def recipe_of(optimizer: dict[str, Any], **spec: Any) -> Recipe:
    return Recipe.model_validate(SMALL | {"optimizer": {"lr": 0.02, "state": "checkpoint"} | optimizer} | spec)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_model("resnet20-a").to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    model.train()
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 3, 8, 8, generator=generator)
        y = torch.randint(0, 10, (8,), generator=generator)

        def closure(x: Tensor = x, y: Tensor = y) -> Tensor:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            return loss

        optimizer.step(closure)  # pyright: ignore[reportArgumentType]


def assert_equal(one: nn.Module, other: nn.Module) -> None:
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("spec", OPTIMIZERS)
def test_continued_from_a_file_equals_one_go(spec: dict[str, Any], wrapped: bool, tmp_path: Path) -> None:
    recipe = recipe_of(spec)

    def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
        base = make_base_optimizer(model, recipe)
        return SharpnessAware(base, model=model, method="asam", rho=0.1) if wrapped else base

    whole = net()
    optimizer = optimizer_of(whole)
    train(whole, optimizer, range(2))
    torch.save({"net": whole.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "cut.pt")
    train(whole, optimizer, range(2, 4))

    loaded = load_checkpoint(tmp_path / "cut.pt")
    model = loaded.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    second = optimizer_of(model)
    state = wanted_state(recipe, loaded.layout, loaded.optimizer)
    assert state is not None
    start_from(second, model, state)
    train(model, second, range(2, 4))

    assert_equal(model, whole)
    cold = load_checkpoint(tmp_path / "cut.pt").model
    train(cold, optimizer_of(cold), range(2, 4))
    with pytest.raises(AssertionError):
        assert_equal(cold, whole)


def test_what_the_writer_carries_is_read_back(tmp_path: Path) -> None:
    model = net()
    optimizer = make_base_optimizer(model, recipe_of({"name": "sgd"}))
    train(model, optimizer, range(2))

    save_checkpoint(
        model.state_dict(), tmp_path / "c.pt", format="pt", optimizer_state=optimizer.state_dict(), epoch=2, note={}
    )

    loaded = load_checkpoint(tmp_path / "c.pt")
    assert loaded.layout.epoch == 2
    assert loaded.optimizer is not None
    for name, parameter in model.named_parameters():
        held = optimizer.state[parameter]["momentum_buffer"]
        assert torch.equal(loaded.optimizer.buffers[name]["momentum_buffer"], held)
    with pytest.raises(ValueError, match="pt"):
        save_checkpoint(model.state_dict(), tmp_path / "c", format="safetensors", epoch=2)


def test_parameters_without_a_buffer() -> None:
    model = small_net()
    state = {"0.weight": {"momentum_buffer": torch.ones(6, 3, 3, 3)}}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)

    start_from(optimizer, model, OptimizerState(kind="sgd", buffers=state))

    held = [optimizer.state[p]["momentum_buffer"] for p in model.parameters()]
    assert [bool(buffer.any()) for buffer in held] == [True, *[False] * (len(held) - 1)]
    with pytest.raises(ValueError, match=r"9\.weight"):
        start_from(optimizer, model, OptimizerState(kind="sgd", buffers={"9.weight": {}}))


# --- within a refinement


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trained") / "c.pt"
    model = net()
    optimizer = make_base_optimizer(model, recipe_of({"name": "sgd"}))
    train(model, optimizer, range(3))
    torch.save({"net": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, path)
    return path


def refinement(loaded: LoadedCheckpoint, recipe: Recipe, folder: Path, **options: Any) -> Refinement:
    folder.mkdir()
    source = Source(
        model=loaded.model, layout=loaded.layout, sha256="ab" * 32, filename="c.pt", optimizer=loaded.optimizer
    )
    return Refinement(source, recipe, DATASET, device=torch.device("cpu"), out_dir=folder, **options)


def test_a_refinement_starts_warm_and_resumes_only_its_own_state(trained: Path, tmp_path: Path) -> None:
    warm = recipe_of({"name": "sgd"}, epochs=1)
    cold = recipe_of({"name": "sgd", "state": "fresh"}, epochs=1)
    digests = {}
    for name, recipe in (("warm", warm), ("cold", cold)):
        receipt = refinement(load_checkpoint(trained), recipe, tmp_path / name).run()
        digests[name] = receipt["weights"]["state_sha256"]
    assert digests["warm"] != digests["cold"]

    snapshot, asked = tmp_path / "snapshot", iter(range(10**6))

    def leave() -> Wish:
        return Wish.LEAVE if snapshot.exists() and next(asked) >= 1 else Wish.GO_ON

    with pytest.raises(Interrupted):
        refinement(load_checkpoint(trained), warm, tmp_path / "a", snapshot=snapshot, wish=leave).run()
    resumed = refinement(load_checkpoint(trained), warm, tmp_path / "b", snapshot=snapshot).run()
    assert "Continued" in resumed["notes"][0]
    assert resumed["weights"]["state_sha256"] == digests["warm"]


def test_a_refinement_that_cannot_start_warm_ends_before_anything_is_measured(trained: Path, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    recipe = recipe_of({"name": "adam"})
    with pytest.raises(CheckpointError, match="SGD's, the recipe's optimizer is adam") as caught:
        refinement(load_checkpoint(trained), recipe, tmp_path / "a", report=said.append).run()
    assert caught.value.hint
    assert [m.get("stage") for m in said if m["type"] == "stage"] == ["loading"]
