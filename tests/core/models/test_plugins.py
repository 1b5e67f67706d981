"""Architectures of other packages, as importlib.metadata finds them: examples/own_architecture and broken ones."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lastsam_core.checkpoints import load_checkpoint, recognise
from lastsam_core.errors import UnknownArchitecture
from lastsam_core.models import ARCHITECTURES, architecture, create_model, plugin_problems, plugins, tensor_shapes
from lastsam_core.models.registry import recognisable
from lastsam_core.models.shapes import describe
from lastsam_core.models.tensor_lists import tensor_list
from tests.core.checkpoints.files import saved

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "own_architecture"
BROKEN = {
    "absent": "no_such_module:NET",
    "raises": "own_broken:raises",
    "number": "own_broken:NUMBER",
    "named_badly": "own_broken:NAMED_BADLY",
    "taken": "own_broken:TAKEN",
    "shapeless_file": "own_broken:NO_FILE",
    "no_head": "own_broken:NO_HEAD",
}
SOURCE = """
from dataclasses import replace
from pathlib import Path
from lastsam_core.models import ARCHITECTURES
BASE = replace(ARCHITECTURES["resnet20-b"], name="own-resnet")
NUMBER = 3
NAMED_BADLY = replace(BASE, name="Own ResNet!")
TAKEN = replace(BASE, name="resnet20-b")
NO_FILE = replace(BASE, shapes=Path("/nowhere/shapes.json"))
NO_HEAD = replace(BASE, shapes=lambda: {"own-resnet": {"head": ["fc.weight"], "tensors": {}}})
SHAPELESS = [BASE]
UNBUILDABLE = replace(BASE, name="own-unbuildable", builder="no_such_module:build")
def raises():
    raise RuntimeError("out of order")
def several():
    return (replace(BASE, name=f"own-{depth}", arguments={"depth": depth, "shortcut": "a"}) for depth in (8, 14))
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Entry points by name, as an installed distribution has them, for this process."""
    (tmp_path / "own_broken.py").write_text(SOURCE)

    def write(**points: str) -> Path:
        info = tmp_path / "lastsam_own-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lastsam-own\nVersion: 1.0\n")
        lines = "\n".join(f"{name} = {value}" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{plugins.GROUP}]\n{lines}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.syspath_prepend(EXAMPLE)
        plugins._loaded.cache_clear()
        return tmp_path

    yield write
    plugins._loaded.cache_clear()
    for name in [name for name in sys.modules if name.startswith(("tiny_net", "own_broken"))]:
        del sys.modules[name]


def test_the_example_is_an_architecture_like_ours(install: Install, tmp_path: Path) -> None:
    install(tiny_net="tiny_net:TINY_NET")
    torch.manual_seed(0)
    model = create_model("tiny-net", num_classes=4).eval()
    (tmp_path / "model.pt").write_bytes(saved({f"module.{key}": value for key, value in model.state_dict().items()}))

    loaded = load_checkpoint(tmp_path / "model.pt")

    assert plugin_problems() == ()
    assert (loaded.layout.arch, loaded.layout.num_classes, loaded.layout.prefix) == ("tiny-net", 4, "module.")
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(loaded.model(images), model(images))
    assert sum(value.numel() for value in model.parameters()) == ARCHITECTURES["tiny-net"].parameters - 6 * 17
    assert list(ARCHITECTURES)[-1] == "tiny-net"
    assert len(ARCHITECTURES) == len(list(ARCHITECTURES))


def test_the_examples_file_is_what_the_command_writes(install: Install) -> None:
    install(tiny_net="tiny_net:TINY_NET")
    file = EXAMPLE / "tiny_net" / "shapes.json"

    assert file.read_text() == describe([architecture("tiny-net")])


def test_the_service_knows_it_without_torch(install: Install) -> None:
    folder = install(tiny_net="tiny_net:TINY_NET", shapeless="own_broken:SHAPELESS")
    code = (
        "import sys; from lastsam_core.models import ARCHITECTURES, tensor_shapes;"
        "from lastsam_core.models.registry import recognisable; from lastsam_core.checkpoints import recognise;"
        "assert recognise(tensor_shapes('tiny-net', 7)).arch == 'tiny-net';"
        "assert 'own-resnet' in ARCHITECTURES and 'own-resnet' not in recognisable();"
        "assert 'torch' not in sys.modules"
    )
    paths = [str(folder), str(EXAMPLE), str(EXAMPLE.parents[1])]

    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)})


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_one_is_left_out_and_the_others_stay(
    name: str, install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install(**{name: BROKEN[name], "tiny_net": "tiny_net:TINY_NET"})

    with caplog.at_level(logging.WARNING, "lastsam.models"):
        known = set(ARCHITECTURES)

    assert "tiny-net" in known
    assert "own-resnet" not in known
    (problem,) = plugin_problems()
    assert problem.startswith(f"The plug-in {name} ({BROKEN[name]}) is left out: ")
    assert problem in caplog.text
    assert recognise(tensor_shapes("resnet20-b")).arch == "resnet20-b"


def test_one_entry_point_may_bring_several_without_files(install: Install) -> None:
    install(several="own_broken:several")

    assert [name for name in ARCHITECTURES if name.startswith("own-")] == ["own-8", "own-14"]
    assert recognise(tensor_shapes("own-8")).arch == "own-8"  # built on the meta device: torch is loaded here


def test_without_torch_a_plug_in_without_a_file_says_what_is_missing(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(shapeless="own_broken:SHAPELESS")
    monkeypatch.delitem(sys.modules, "torch")

    assert "own-resnet" not in recognisable()
    with pytest.raises(UnknownArchitecture, match="does not describe its tensors") as caught:
        tensor_list(architecture("own-resnet"))
    assert "lastsam_core.models.shapes MODULE:OBJECT" in str(caught.value.hint)


def test_one_that_cannot_be_built_is_not_recognised_and_the_others_are(install: Install) -> None:
    install(unbuildable="own_broken:UNBUILDABLE")

    assert recognise(tensor_shapes("resnet20-b")).arch == "resnet20-b"
    with pytest.raises(UnknownArchitecture, match="cannot build it: ModuleNotFoundError"):
        tensor_shapes("own-unbuildable")


def test_the_file_is_the_one_form(install: Install) -> None:
    install(tiny_net="tiny_net:TINY_NET")
    entry = json.loads((EXAMPLE / "tiny_net" / "shapes.json").read_text())["tiny-net"]

    assert entry["head"] == ["head.weight", "head.bias"]
    assert tensor_shapes("tiny-net", 5)["head.weight"] == (5, 16)
    assert tensor_shapes("tiny-net")["bn2.num_batches_tracked"] == ()
