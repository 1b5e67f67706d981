"""A new head: fresh where it should be, kept elsewhere, in the same file layout, and never called a gain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lastsam_core.checkpoints import OptimizerState, load_checkpoint
from lastsam_core.delivery import Source
from lastsam_core.errors import ArchitectureMismatch
from lastsam_core.heads import head_of, with_new_head
from lastsam_core.recipe import Recipe
from lastsam_core.refinement import Interrupted, Refinement
from lastsam_core.refining import check_fit
from tests.core.test_refinement import leave_at_step
from tests.factories import SMALL, checkpoint_file, tiny_dataset

DATASET = tiny_dataset(train=96, test=40, size=8, classes=4)
NEW = {"model": {"head": "new"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return checkpoint_file(tmp_path / "model.th")


def source_of(file: Path) -> Source:
    loaded = load_checkpoint(file)
    return Source(model=loaded.model, layout=loaded.layout, sha256="ab" * 32, filename=file.name)


def refined(file: Path, folder: Path, spec: dict[str, Any], **options: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    recipe = Recipe.model_validate(SMALL | spec)
    device = torch.device("cpu")
    return Refinement(source_of(file), recipe, DATASET, device=device, out_dir=folder, **options).run()


def test_only_the_head_is_fresh_and_it_is_a_function_of_the_seed(file: Path) -> None:
    source = source_of(file)
    before = torch.get_rng_state()
    made = with_new_head(source, 4, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    old, new = source.model.state_dict(), made.model.state_dict()
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    assert changed == {key for key in old if key.startswith("fc.")}
    assert head_of(made.model, "resnet20-a").weight.shape == (4, 64)
    again, other = (with_new_head(source, 4, seed=seed).model.state_dict() for seed in (3, 4))
    assert all(torch.equal(new[key], again[key]) for key in new)
    assert any(not torch.equal(new[key], other[key]) for key in changed)
    # As many classes as before are a new head all the same.
    same = with_new_head(source, 10, seed=3).model.state_dict()
    assert {key for key in old if not torch.equal(old[key], same[key])} == changed


def test_the_layout_changes_in_the_shapes_of_the_head_alone(file: Path) -> None:
    source = source_of(file)
    made = with_new_head(source, 4, seed=0)
    assert made.layout.num_classes == 4
    pairs = list(zip(source.layout.tensors, made.layout.tensors, strict=True))
    assert all(old.model_copy(update={"shape": new.shape}) == new for old, new in pairs)
    assert [new.shape for old, new in pairs if old != new] == [(4, 64), (4,)]


def test_the_optimizers_state_goes_with_the_layers_that_stay(file: Path) -> None:
    source = source_of(file)
    buffers = {name: {"momentum_buffer": torch.ones_like(p)} for name, p in source.model.named_parameters()}
    made = with_new_head(replace(source, optimizer=OptimizerState(kind="sgd", buffers=buffers)), 4, seed=0)
    assert made.optimizer is not None
    assert set(buffers) - set(made.optimizer.buffers) == {"fc.weight", "fc.bias"}


def test_a_refinement_on_other_classes(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    plain = {"epochs": 8, "optimizer": {"lr": 0.2}, "method": {"name": "sgd"}}
    receipt = refined(file, out, NEW | plain | {"deliver": {"gate": "never_worse"}})
    uploaded = torch.load(file, weights_only=True)["state_dict"]
    written = torch.load(out / "weights.original", weights_only=True)["state_dict"]
    assert list(written) == list(uploaded)
    assert {tuple(v.shape) for k, v in written.items() if v.shape != uploaded[k].shape} == {(4, 64), (4,)}
    assert load_checkpoint(out / "weights.original").layout.num_classes == 4
    assert receipt["before"]["test"]["accuracy"] < 0.6  # chance is 0.25
    assert "no gain over the uploaded checkpoint" in receipt["verdict"]
    assert "points" not in receipt["verdict"]
    assert "10 outputs gave way to 4" in receipt["notes"][0]
    assert "The gate compared with it too" in receipt["notes"][0]
    assert receipt["delivered"] == "refined"


def test_interrupted_it_ends_with_the_same_weights(file: Path, tmp_path: Path) -> None:
    spec = NEW | {"data": SMALL["data"] | {"normalization": "auto"}}
    whole = refined(file, tmp_path / "whole", spec)
    assert "of a linear classifier on the features" in whole["data"]["normalization"]["how"]
    snapshot = tmp_path / "snapshot"
    with pytest.raises(Interrupted):
        refined(file, tmp_path / "a", spec, snapshot=snapshot, wish=leave_at_step(4))
    resumed = refined(file, tmp_path / "b", spec, snapshot=snapshot)
    assert resumed["weights"]["sha256"] == whole["weights"]["sha256"]
    assert resumed["notes"][0] == whole["notes"][0]


def test_frozen_statistics_leave_the_affine_parameters_to_train(file: Path, tmp_path: Path) -> None:
    refined(file, tmp_path / "out", NEW | {"batch_norm": {"statistics": "frozen"}})
    old = torch.load(file, weights_only=True)["state_dict"]
    new = torch.load(tmp_path / "out" / "weights.original", weights_only=True)["state_dict"]
    for key in (key for key in old if ".bn1." in key):
        assert torch.equal(old[key], new[key]) is ("running" in key or "tracked" in key), key


def test_nothing_trained_returns_the_untrained_head_and_says_so(file: Path, tmp_path: Path) -> None:
    receipt = refined(file, tmp_path / "out", NEW, finish_now=True)
    assert "new, untrained head" in receipt["verdict"]
    assert receipt["delivered"] == "uploaded"


def test_the_checkpoints_own_head_must_fit(file: Path) -> None:
    layout = source_of(file).layout
    check_fit(layout, DATASET, "new")
    with pytest.raises(ArchitectureMismatch, match="10 outputs, tiny has 4 classes") as caught:
        check_fit(layout, DATASET)
    assert "model.head" in (caught.value.hint or "")
