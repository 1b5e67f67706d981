from __future__ import annotations

import json

import pytest

from lastsam_core.models import ARCHITECTURES
from lastsam_core.models.shapes import describe, main, measure
from lastsam_core.models.tensor_lists import SHAPES_FILE
from lastsam_core.models.zoo import ZOO

# That every shape is the model's is test_registry's; here is how the file is written.


def test_the_file_has_a_line_for_each_architecture_in_their_order() -> None:
    assert list(json.loads(SHAPES_FILE.read_text())) == list(ZOO), "run python -m lastsam_core.models.shapes"


def test_lines_are_what_is_described() -> None:
    lines = SHAPES_FILE.read_text().splitlines()
    some = [ZOO[name] for name in ("resnet20-a", "wrn-28-2", "wrn-28-2-homura", "efficientnet-b0")]

    described = describe(some).splitlines()

    assert [line.rstrip(",") for line in described[1:-1] if "like" not in line] == [
        line.rstrip(",") for line in lines if line.startswith(('"resnet20-a"', '"wrn-28-2":', '"efficientnet-b0"'))
    ]
    assert described[3] == '"wrn-28-2-homura": {"like": "wrn-28-2"},'


def test_batch_norms_are_one_number() -> None:
    entry = measure(ARCHITECTURES["resnet20-b"])

    assert entry["head"] == ["fc.weight", "fc.bias"]
    assert entry["tensors"]["layer2.0.shortcut.1"] == 32
    assert entry["tensors"]["layer2.0.shortcut.0.weight"] == [32, 16, 1, 1]
    assert not any("running" in key for key in entry["tensors"])


def test_an_object_is_described_on_the_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    main(["tests.core.models.test_shapes:ours"])

    assert list(json.loads(capsys.readouterr().out)) == ["resnet20-a"]


def ours() -> list[object]:
    return [ZOO["resnet20-a"]]
