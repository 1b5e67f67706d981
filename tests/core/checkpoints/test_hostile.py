"""Hostile and damaged files: each is refused with a reason and a hint, and nothing from it ever runs."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lastsam_core.checkpoints import canonicalise, read_checkpoint_file
from lastsam_core.errors import (
    ArchitectureMismatch,
    CheckpointError,
    CoreError,
    NonFiniteCheckpoint,
    NotACheckpoint,
    UnknownArchitecture,
    UnsafeCheckpoint,
)
from tests.core.checkpoints.corpus import CODE, DAMAGED, NO_CHECKPOINT, SMALL, UNSAFE, Net, content, pickled
from tests.core.checkpoints.files import legacy_with_pickle, saved, weights, with_pickle, write


def refusal(data: bytes, folder: Path) -> CoreError:
    with pytest.raises(CoreError) as caught:
        read_checkpoint_file(write(folder / "checkpoint", data))
    assert caught.value.hint
    assert len(str(caught.value)) < 600
    return caught.value


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", CODE)
@pytest.mark.parametrize("container", ["zip", "legacy"])
def test_code_is_refused_by_name_and_never_run(
    name: str, container: str, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    body = pickled(CODE[name], protocol)

    error = refusal(with_pickle(SMALL, body) if container == "zip" else legacy_with_pickle(body), tmp_path)

    assert isinstance(error, UnsafeCheckpoint)
    assert "The file asks Python for `" in str(error)
    assert os.listdir(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("name", UNSAFE)
def test_what_claims_more_than_it_holds_is_unsafe(name: str, tmp_path: Path) -> None:
    assert isinstance(refusal(content(UNSAFE[name]), tmp_path), UnsafeCheckpoint)


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_refused(name: str, tmp_path: Path) -> None:
    assert isinstance(refusal(content(DAMAGED[name]), tmp_path), CheckpointError)


@pytest.mark.filterwarnings("ignore")  # torch.export's own, while the file is made
@pytest.mark.parametrize("name", NO_CHECKPOINT)
def test_what_is_something_else_is_called_that(name: str, tmp_path: Path) -> None:
    assert isinstance(refusal(content(NO_CHECKPOINT[name]), tmp_path), NotACheckpoint)


def test_the_module_of_a_whole_model_is_named_with_what_to_save_instead(tmp_path: Path) -> None:
    error = refusal(saved(Net()), tmp_path)

    assert "Net" in str(error)
    assert "torch.save(model.state_dict(), path)" in str(error.hint)


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_a_file_cut_short_anywhere_says_so(container: str, tmp_path: Path) -> None:
    data = saved({"w": torch.ones(4, 4), "b": torch.zeros(3)}, container)

    for size in range(14, len(data), 7):
        assert "truncated" in str(refusal(data[:size], tmp_path))
    assert "truncated" in str(refusal(data[:-1], tmp_path))


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
def test_flipped_bits_and_cuts_end_in_a_refusal_or_in_a_checkpoint(container: str, tmp_path: Path) -> None:
    state = {"conv1.weight": torch.randn(2, 3), "n": torch.tensor(3)}
    value = state if container == "safetensors" else {"epoch": 1, "net": state}
    original = saved(value, container)
    draw = random.Random(20)
    refusals: list[CoreError] = []
    for _ in range(400):
        data = bytearray(original[: draw.choice([len(original), draw.randrange(len(original))])])
        for _ in range(draw.randrange(1, 4)):
            if data:
                data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        try:
            read_checkpoint_file(write(tmp_path / "checkpoint", bytes(data)))
        except CoreError as error:
            refusals.append(error)
    assert 200 < len(refusals) < 400
    assert all(error.hint for error in refusals)


@pytest.mark.filterwarnings("ignore")  # torch.export's own, while the file is made
@pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's")
def test_the_same_refusals_inside_the_box(tmp_path: Path) -> None:
    """Once locked in, nothing can be imported any more: no path through the reader may want to."""
    corpus = UNSAFE | DAMAGED | NO_CHECKPOINT
    for index, made in enumerate(corpus.values()):
        write(tmp_path / f"{index:03}", content(made))
    script = (
        "import pathlib, sys\n"
        "from lastsam_core.checkpoints.box import lock\n"
        "from lastsam_core.checkpoints.convert import read_checkpoint\n"
        "from lastsam_core.errors import CoreError\n"
        "files = [memoryview(path.read_bytes()) for path in sorted(pathlib.Path(sys.argv[1]).iterdir())]\n"
        "assert lock()\n"
        "for data in files:\n"
        "    try:\n"
        "        read_checkpoint(data)\n"
        "    except CoreError as error:\n"
        "        print(error.code)\n"
    )

    ran = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stderr
    assert len(ran.stdout.split()) == len(corpus)


def changed(key: str, value: torch.Tensor) -> dict[str, torch.Tensor]:
    return {**weights(), key: value}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite(dtype: torch.dtype, poison: float, tmp_path: Path) -> None:
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in weights().items()}
    canonicalise(read_checkpoint_file(write(tmp_path / "good", saved(state))))
    state["layer2.1.conv2.weight"][3, 2, 1, 0] = poison

    with pytest.raises(NonFiniteCheckpoint, match=r"layer2\.1\.conv2\.weight") as caught:
        canonicalise(read_checkpoint_file(write(tmp_path / "bad", saved(state))))

    assert caught.value.hint


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_negative_variance(dtype: torch.dtype, tmp_path: Path) -> None:
    good = changed("bn1.running_var", -torch.zeros(16, dtype=dtype))
    canonicalise(read_checkpoint_file(write(tmp_path / "good", saved(good))))
    bad = changed("bn1.running_var", -torch.ones(16, dtype=dtype))

    with pytest.raises(CheckpointError, match=r"bn1\.running_var"):
        canonicalise(read_checkpoint_file(write(tmp_path / "bad", saved(bad))))


def test_weights_beyond_float32_and_integer_weights(tmp_path: Path) -> None:
    far = write(tmp_path / "far", saved(changed("fc.bias", torch.full((10,), 1e300, dtype=torch.float64))))
    whole = write(tmp_path / "whole", saved(changed("fc.bias", torch.ones(10, dtype=torch.int8))))

    with pytest.raises(NonFiniteCheckpoint):
        canonicalise(read_checkpoint_file(far))
    with pytest.raises(CheckpointError, match="int8"):
        canonicalise(read_checkpoint_file(whole))


def test_another_architecture_than_was_asked_for(tmp_path: Path) -> None:
    raw = read_checkpoint_file(write(tmp_path / "wide", saved(weights("wrn-28-2"))))

    with pytest.raises(ArchitectureMismatch, match="no resnet20-a") as caught:
        canonicalise(raw, "resnet20-a")
    assert "wrn-28-2" in str(caught.value.hint)
    with pytest.raises(ArchitectureMismatch, match="10 outputs, 100"):
        canonicalise(raw, "wrn-28-2", 100)


def test_wrong_shapes_are_named_with_both(tmp_path: Path) -> None:
    path = write(tmp_path / "odd", saved(changed("conv1.weight", torch.ones(16, 1, 3, 3))))

    with pytest.raises(
        UnknownArchitecture, match=r"conv1\.weight is \[16, 1, 3, 3\] instead of \[16, 3, 3, 3\]"
    ) as caught:
        canonicalise(read_checkpoint_file(path))

    assert "resnet20-a" in str(caught.value)
    assert "wide_resnet" in str(caught.value.hint)
    assert "GET /architectures" in str(caught.value.hint)
