"""Datasets of installed packages, with the one in examples/ installed as a folder with its metadata."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from lastsam_core.data import available, load_dataset
from lastsam_core.data.plugins import GROUP, registered
from lastsam_core.errors import BadDataset

EXAMPLE = Path(__file__).parents[3] / "examples" / "own_dataset"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """A factory of installed packages: name, module text, and the entry points `{dataset: module:function}`."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def make(package: str, text: str, points: dict[str, str]) -> None:
        (site / f"{package}.py").write_text(text)
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines) + "\n")

    yield make
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) == str(site / f"{name}.py"):
            del sys.modules[name]


def test_the_example_works_as_its_readme_says(install: Install, tmp_path: Path) -> None:
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    (module,) = EXAMPLE.glob("*.py")
    install(module.stem, module.read_text(), project["entry-points"][GROUP])
    assert set(registered()) == {"stripes"}
    (row,) = (row for row in available(tmp_path) if row.name == "stripes")
    assert row.prepared
    assert module.stem in (row.note or "")
    found = load_dataset("stripes", tmp_path)
    assert found.name == "stripes"
    assert found.x_train.shape[1:] == (32, 32, 3)
    assert found.y_train.dtype == np.int64
    assert found.fingerprint == load_dataset("stripes", tmp_path).fingerprint


BROKEN = "def raising(data_dir):\n    raise ValueError('no licence')\ndef nothing(data_dir):\n    return None\n"
WRONG = (
    "import numpy as np\nfrom lastsam_core.data import Dataset\n"
    "def floats(data_dir):\n    x, y = np.zeros((4, 8, 8, 3)), np.arange(4)\n"
    "    return Dataset(name='w', x_train=x, y_train=y, x_test=x, y_test=y, classes=('a', 'b', 'c', 'd'))\n"
    "def unnamed(data_dir):\n    x, y = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)\n"
    "    return Dataset(name='w', x_train=x, y_train=y, x_test=x, y_test=y, classes=('a',))\n"
)


@pytest.mark.parametrize(
    ("text", "target", "sentence"),
    [
        (BROKEN, "bad:raising", "could not be loaded: ValueError: no licence"),
        (BROKEN, "bad:absent", "could not be loaded: AttributeError"),
        (BROKEN, "bad:nothing", "does not make a dataset"),
        ("import no_such_module", "bad:any", "could not be loaded: ModuleNotFoundError"),
        ("syntax error", "bad:any", "could not be loaded: SyntaxError"),
        (WRONG, "bad:floats", "x_train is float64, not uint8"),
        (WRONG, "bad:unnamed", "a label 3 but names only 1"),
    ],
)
def test_a_broken_package_is_named_and_harms_nobody_else(
    install: Install, npz, text: str, target: str, sentence: str
) -> None:
    install("bad", text, {"mine": target})
    folder = npz()
    assert "mine" in {row.name for row in available(folder)}
    assert len(load_dataset("tiny", folder).y_train) == 40
    with pytest.raises(BadDataset, match=sentence):
        load_dataset("mine", folder)


def test_files_come_before_packages_and_names_must_be_names(install: Install, npz) -> None:
    install("other", BROKEN, {"tiny": "other:raising", "Not A Name": "other:raising", "cifar10": "other:raising"})
    folder = npz()
    rows = {row.name: row for row in available(folder)}
    assert len(load_dataset("tiny", folder).y_train) == 40
    assert rows["tiny"].train == 40
    assert not rows["Not A Name"].prepared
    assert rows["cifar10"].prepared


def test_of_two_packages_the_first_by_name_has_the_dataset(install: Install, tmp_path: Path) -> None:
    install("zeta", BROKEN, {"mine": "zeta:raising"})
    install("alpha", BROKEN, {"mine": "alpha:raising"})
    with pytest.raises(BadDataset, match="the package alpha could not"):
        load_dataset("mine", tmp_path)
