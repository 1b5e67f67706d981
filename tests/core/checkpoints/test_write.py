"""What is written is what was uploaded, but for the numbers."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from lastsam_core.checkpoints import canonicalise, load_checkpoint, read_checkpoint_file, save_checkpoint
from lastsam_core.checkpoints.bridge import to_torch
from lastsam_core.errors import NonFiniteCheckpoint
from tests.core.checkpoints.files import saved, weights, write

NOTE = {"job": "job_1", "digest": "00", "accuracy": 0.5, "list": [1, None, True]}


def opened(path: Path) -> tuple[dict[str, Tensor], Any]:
    """The canonical tensors and the layout of a file."""
    checkpoint = canonicalise(read_checkpoint_file(path))
    return {name: to_torch(raw) for name, raw in checkpoint.tensors.items()}, checkpoint.layout


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert list(ours) == list(theirs)
    assert all(ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("counters", [True, False])
@pytest.mark.parametrize("kind", [dict, OrderedDict])
def test_a_round_trip_keeps_everything_but_companions(
    container: str, counters: bool, kind: type[dict[str, Any]], tmp_path: Path
) -> None:
    state = weights("resnet20-b", prefix="module.", num_classes=5)
    state = kind((k, v) for k, v in reversed(state.items()) if counters or "num_batches" not in k)
    state["module.fc.weight"] = state["module.fc.weight"].bfloat16()
    state["module.bn1.bias"] = state["module.bn1.bias"].double()
    value = {"epoch": 3, "net": kind(state_dict=state), "acc": 90.0}
    path = write(tmp_path / "in", saved(value, container))
    canonical, layout = opened(path)

    save_checkpoint(canonical, tmp_path / "out", layout=layout, note=NOTE)

    assert read_checkpoint_file(tmp_path / "out").container == container
    loaded = torch.load(tmp_path / "out", weights_only=True)
    assert loaded.keys() == {"net", "lastsam"}
    assert loaded["lastsam"] == NOTE
    assert type(loaded["net"]) is kind
    assert type(loaded["net"]["state_dict"]) is kind
    assert_same(loaded["net"]["state_dict"], state)
    again, layout_again = opened(tmp_path / "out")
    assert layout_again.model_copy(update={"companions": layout.companions, "epoch": layout.epoch}) == layout
    assert_same(again, canonical)


def test_a_bare_state_dict_stays_bare(tmp_path: Path) -> None:
    state = weights()
    canonical, layout = opened(write(tmp_path / "in", saved(state)))

    save_checkpoint(canonical, tmp_path / "out", layout=layout, note=NOTE)

    loaded = torch.load(tmp_path / "out", weights_only=True)
    assert isinstance(loaded, OrderedDict)
    assert_same(loaded, state)


def test_safetensors_stay_safetensors(tmp_path: Path) -> None:
    state = {key: value for key, value in weights(prefix="model.").items() if "num_batches" not in key}
    state["model.conv1.weight"] = state["model.conv1.weight"].half()
    canonical, layout = opened(write(tmp_path / "in", saved(state, "safetensors")))

    save_checkpoint(canonical, tmp_path / "out", layout=layout, note=NOTE)

    with safe_open(tmp_path / "out", "pt") as file:
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(key), state[key]) for key in state)
        assert file.get_tensor("model.conv1.weight").dtype == torch.float16
        assert json.loads(file.metadata()["lastsam"]) == NOTE


@pytest.mark.parametrize("format", ["pt", "safetensors"])
def test_canonical_formats(format: Any, tmp_path: Path) -> None:
    state = weights("resnet20-b")

    save_checkpoint(state, tmp_path / "out", format=format, note=NOTE)

    if format == "pt":
        loaded = torch.load(tmp_path / "out", weights_only=True)
        assert loaded["lastsam"] == NOTE
        assert_same(loaded["state_dict"], state)
    model = load_checkpoint(tmp_path / "out").model
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_a_model_trained_on_comes_back_in_its_old_dtypes(tmp_path: Path) -> None:
    state = OrderedDict((k, v.half() if v.is_floating_point() else v) for k, v in weights().items())
    checkpoint = load_checkpoint(write(tmp_path / "in", saved(state)))
    with torch.no_grad():
        for parameter in checkpoint.model.parameters():
            parameter.add_(0.125)

    save_checkpoint(checkpoint.model.state_dict(), tmp_path / "out", layout=checkpoint.layout)

    loaded = torch.load(tmp_path / "out", weights_only=True)
    assert {key: value.dtype for key, value in loaded.items()} == {key: value.dtype for key, value in state.items()}
    assert torch.equal(loaded["fc.bias"], (state["fc.bias"].float() + 0.125).half())


def test_what_the_old_dtype_cannot_hold_is_not_written(tmp_path: Path) -> None:
    state = OrderedDict((k, v.half() if v.is_floating_point() else v) for k, v in weights().items())
    canonical, layout = opened(write(tmp_path / "in", saved(state)))
    canonical["fc.weight"] = canonical["fc.weight"].float() + 1e6

    with pytest.raises(NonFiniteCheckpoint, match=r"fc\.weight"):
        save_checkpoint(canonical, tmp_path / "out", layout=layout)

    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_is_wrong_is_a_value_error_and_leaves_nothing(tmp_path: Path) -> None:
    state = weights()
    canonical, layout = opened(write(tmp_path / "in", saved(state)))
    with pytest.raises(ValueError, match="needs the layout"):
        save_checkpoint(canonical, tmp_path / "out")
    with pytest.raises(ValueError, match=r"lack fc\.bias"):
        save_checkpoint({k: v for k, v in canonical.items() if k != "fc.bias"}, tmp_path / "out", layout=layout)
    with pytest.raises(ValueError, match="is \\[3\\], the original has \\[10\\]"):
        save_checkpoint({**canonical, "fc.bias": torch.ones(3)}, tmp_path / "out", layout=layout)

    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_file_that_is_there_is_replaced_only_by_a_complete_one(tmp_path: Path) -> None:
    out = write(tmp_path / "out", b"before")
    with pytest.raises(TypeError):
        save_checkpoint(weights(), out, format="pt", note={"not json": object()})
    assert out.read_bytes() == b"before"

    save_checkpoint(weights(), out, format="pt")

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert torch.load(out, weights_only=True).keys() == {"state_dict"}


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["resnet20-a-imagenetnorm-91.73.th", "resnet20-b-legacy-epoch1-59.46.t7"])
def test_real_files_come_back_byte_for_byte(name: str, real_checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    original = read_checkpoint_file(real_checkpoint(name))
    checkpoint = load_checkpoint(real_checkpoint(name))

    save_checkpoint(checkpoint.model.state_dict(), tmp_path / "out", layout=checkpoint.layout, note=NOTE)

    again = read_checkpoint_file(tmp_path / "out")
    assert (again.container, again.wrapper, again.kinds) == (original.container, original.wrapper, original.kinds)
    assert list(again.tensors) == list(original.tensors)
    assert all(again.tensors[key].data == raw.data for key, raw in original.tensors.items())
    assert torch.load(tmp_path / "out", weights_only=True)["lastsam"] == NOTE
