from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lastsam_core.checkpoints import load_canonical, load_checkpoint, load_into, save_checkpoint
from lastsam_core.errors import CheckpointError
from lastsam_core.models import create_model
from tests.core.checkpoints.files import saved, weights, write


def test_a_loaded_model_computes_what_the_saved_one_did(tmp_path: Path) -> None:
    state = weights("resnet20-b", num_classes=6)
    model = create_model("resnet20-b", num_classes=6)
    model.load_state_dict(state)
    path = write(tmp_path / "c", saved({"net": {f"module.{key}": value for key, value in state.items()}}))

    loaded = load_checkpoint(path)

    assert (loaded.layout.arch, loaded.layout.num_classes) == ("resnet20-b", 6)
    assert not loaded.model.training
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(loaded.model(images), model.eval()(images))


def test_counters_may_be_missing_and_nothing_else(tmp_path: Path) -> None:
    state = weights()
    old = {key: value for key, value in state.items() if "num_batches" not in key}

    loaded = load_checkpoint(write(tmp_path / "c", saved(old)))

    assert loaded.model.state_dict()["bn1.num_batches_tracked"] == 0
    assert "counts from 0" in loaded.notes[0]
    del old["fc.bias"]
    with pytest.raises(RuntimeError, match=r"fc\.bias"):
        load_into(create_model("resnet20-a"), old)


def test_low_precision_is_loaded_as_float32(tmp_path: Path) -> None:
    state = {key: value.bfloat16() if value.is_floating_point() else value for key, value in weights().items()}

    model = load_checkpoint(write(tmp_path / "c", saved(state))).model

    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert torch.equal(model.state_dict()["fc.bias"], state["fc.bias"].float())


def test_canonical_files_come_back_with_their_dtypes(tmp_path: Path) -> None:
    state = weights()
    state["fc.bias"] = state["fc.bias"].double()
    save_checkpoint(state, tmp_path / "c", format="safetensors")

    loaded = load_canonical(tmp_path / "c")

    assert loaded.keys() == state.keys()
    assert all(loaded[key].dtype == state[key].dtype and torch.equal(loaded[key], state[key]) for key in state)


def test_a_bad_file_is_a_core_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        load_checkpoint(write(tmp_path / "c", b"PK\x03\x04"))


@pytest.mark.realdata
def test_a_real_file(real_checkpoint: Callable[[str], Path]) -> None:
    loaded = load_checkpoint(real_checkpoint("resnet56-a-imagenetnorm-93.39.th"), "resnet56-a", 10)
    theirs = torch.load(real_checkpoint("resnet56-a-imagenetnorm-93.39.th"), weights_only=True, map_location="cpu")[
        "state_dict"
    ]

    assert torch.equal(loaded.model.state_dict()["layer3.8.conv2.weight"], theirs["module.layer3.8.conv2.weight"])
    assert loaded.layout.companions == ("best_prec1",)
