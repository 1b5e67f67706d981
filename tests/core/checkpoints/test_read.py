"""Whatever is read here equals what torch.load reads, bit for bit."""

from __future__ import annotations

import argparse
import datetime
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as safetensors_load
from torch import nn

from lastsam_core.checkpoints import read_checkpoint_file
from lastsam_core.checkpoints.bridge import to_torch
from lastsam_core.errors import CheckpointError
from tests.core.checkpoints.files import saved, weights, write

REAL = ["resnet20-a-imagenetnorm-91.73.th", "resnet56-a-imagenetnorm-93.39.th", "resnet20-b-legacy-epoch1-59.46.t7"]


def assert_reads_like_torch(path: Path, wrapper: tuple[str, ...] = ()) -> None:
    raw = read_checkpoint_file(path)
    expected: Any
    if raw.container == "safetensors":
        expected = safetensors_load(path.read_bytes())
    else:
        expected = torch.load(path, weights_only=True, map_location="cpu")
    for key in wrapper:
        expected = expected[key]
    assert raw.wrapper == wrapper
    if raw.container != "safetensors":  # that library sorts the names it returns
        assert list(raw.tensors) == list(expected)
    assert raw.tensors.keys() == expected.keys()
    for key, value in expected.items():
        ours = to_torch(raw.tensors[key])
        assert ours.dtype == value.dtype
        assert ours.shape == value.shape
        assert (
            raw.tensors[key].data.tobytes()
            == value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )


def everything() -> OrderedDict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(4, 3, 5, 5, generator=generator)
    shared = torch.randn(6, 2, generator=generator)
    flat = torch.randn(24, generator=generator)
    return OrderedDict(
        plain=base,
        parameter=nn.Parameter(torch.randn(3, generator=generator)),
        channels_last=base.contiguous(memory_format=torch.channels_last),
        transposed=torch.randn(3, 7, generator=generator).t(),
        a_slice=torch.randn(8, 6, generator=generator)[2:5, 1:4],
        strided=torch.arange(20.0)[::3],
        scalar=torch.tensor(3.5),
        empty=torch.empty(0, 4),
        one=torch.ones(1, 1, 1, 1).contiguous(memory_format=torch.channels_last),
        counter=torch.tensor(12),
        half=base.half(),
        bfloat=base.bfloat16(),
        double=base.double(),
        tied=shared,
        tied_again=shared,
        left=flat[:10],
        right=flat[10:].view(2, 7),
        whole=torch.arange(6, dtype=torch.int32),
        small=torch.arange(6, dtype=torch.uint8),
        flags=torch.tensor([True, False]),
    )


@pytest.mark.parametrize("container", ["zip", "legacy"])
@pytest.mark.parametrize("wrapper", [(), ("state_dict",), ("model", "state_dict")])
def test_every_dtype_and_memory_layout(container: str, wrapper: tuple[str, ...], tmp_path: Path) -> None:
    value: object = everything()
    for key in reversed(wrapper):
        value = {"epoch": 3, key: value}
    path = write(tmp_path / "checkpoint", saved(value, container))

    assert read_checkpoint_file(path).container == container
    assert_reads_like_torch(path, wrapper)


def test_safetensors(tmp_path: Path) -> None:
    tensors = {key: value.detach().contiguous().clone() for key, value in everything().items()}

    assert_reads_like_torch(write(tmp_path / "checkpoint", saved(tensors, "safetensors")))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_pickle_protocol(protocol: int, tmp_path: Path) -> None:
    path, state = tmp_path / "checkpoint", weights()
    torch.save({"net": state, "acc": 1.5}, path, pickle_protocol=protocol)

    raw = read_checkpoint_file(path)

    # torch.load(weights_only=True) itself does not read all of these.
    assert list(raw.tensors) == list(state)
    assert all(torch.equal(to_torch(raw.tensors[key]), value) for key, value in state.items())


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL)
def test_real_files(name: str, real_checkpoint: Callable[[str], Path]) -> None:
    wrapper = "net" if name.endswith(".t7") else "state_dict"

    assert_reads_like_torch(real_checkpoint(name), (wrapper,))


@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_companions_are_named_and_not_made(container: str, tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    value = {
        "epoch": 7,
        "args": argparse.Namespace(lr=0.1, path=Path("runs") / "1", device=torch.device("cuda:0")),
        "best_acc": np.float64(0.91),
        "history": np.arange(4.0),
        "when": datetime.datetime(2024, 1, 2, tzinfo=datetime.UTC),
        "optimizer": optimizer.state_dict(),
        "seen": {1, 2},
        "odd keys": {Path("runs"): 1, torch.float16: 2},
        ("a", "tuple"): torch.Size([1, 2]),
        "model": model.state_dict(),
    }

    raw = read_checkpoint_file(write(tmp_path / "checkpoint", saved(value, container)))

    assert raw.wrapper == ("model",)
    assert raw.kinds == ("dict", "OrderedDict")
    assert list(raw.tensors) == ["weight", "bias"]
    assert raw.companions == (
        "epoch", "args", "best_acc", "history", "when", "optimizer", "seen", "odd keys", "('a', 'tuple')",
    )  # fmt: skip


def test_of_several_state_dicts_the_likelier_name_is_meant(tmp_path: Path) -> None:
    value = {"ema": {"w": torch.zeros(1)}, "state_dict": {"w": torch.ones(1)}, "zoo": {"w": torch.zeros(1)}}

    raw = read_checkpoint_file(write(tmp_path / "checkpoint", saved(value)))

    assert raw.wrapper == ("state_dict",)
    assert raw.companions == ("ema", "zoo")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="cannot be opened"):
        read_checkpoint_file(tmp_path / "nothing")
