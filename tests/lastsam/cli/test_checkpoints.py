"""`lastsam inspect`: what a file is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.factories import whole_checkpoint_file, write_tiny_npz
from tests.lastsam.conftest import Cli


def test_what_was_recognised(cli: Cli, net: Path) -> None:
    facts = json.loads(cli("inspect", net, "--json")[1])
    assert facts["arch"] == "resnet20-a"
    assert facts["parameters"] == 269_722
    assert (facts["container"], facts["wrapper"], facts["prefix"]) == ("zip", ["state_dict"], "module.")
    assert facts["keys"][0] == "module.conv1.weight"
    assert sorted(facts["companions"]) == ["best_prec1", "epoch"]
    status, out, _ = cli("inspect", net)
    assert status == 0
    assert "269,722 in" in out
    assert "convention" in out


def test_what_lies_beside_the_weights(cli: Cli, net: Path, tmp_path: Path) -> None:
    path = whole_checkpoint_file(tmp_path / "whole.pt")
    facts = json.loads(cli("inspect", path, "--json")[1])
    assert (facts["epoch"], facts["ema"], facts["alternatives"]) == (3, ["state_dict_ema"], [])
    assert facts["optimizer"] == {"usable": True, "reason": "", "kind": "sgd", "lr": 0.05}
    out = cli("inspect", path)[1]
    assert "SGD's momentum at lr 0.05" in out
    assert "state_dict_ema" in out
    content = torch.load(path)
    content["optimizer"]["state"].clear()
    torch.save(content, path)
    assert "optimizer:      not usable: it holds no momentum" in cli("inspect", path)[1]
    bare = json.loads(cli("inspect", net, "--json")[1])
    assert (bare["epoch"], bare["optimizer"], bare["ema"]) == (3, None, None)


def test_how_good_it_is(cli: Cli, net: Path, tmp_path: Path) -> None:
    write_tiny_npz(tmp_path, train=20, test=40)
    options = ("--evaluate", "--data", "tiny", "--data-dir", tmp_path, "--threads", 1)
    found = json.loads(cli("inspect", net, *options, "--json")[1])["evaluation"]
    assert found["test"]["n"] == 40
    assert 0 <= found["test"]["accuracy"] <= 0.5
    assert len(found["normalization"]["mean"]) == 3
    assert [one["arch"] for one in found["architectures"]] == [found["arch"]] == ["resnet20-a"]
    shown = cli("inspect", net, *options)[1]
    assert "test accuracy:" in shown
    assert "note: Recognised by its shapes" in shown


def test_evaluating_on_a_dataset_that_is_not_there(cli: Cli, net: Path, tmp_path: Path) -> None:
    status, out, err = cli("inspect", net, "--evaluate", "--data", "flowers", "--data-dir", tmp_path)
    assert (status, out) == (2, "")
    assert "lastsam data prepare flowers" in err


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("run!",))


@pytest.mark.parametrize("content", [{"state_dict": _Evil()}, {"weight": torch.full((3, 3), float("nan"))}, {}])
def test_what_is_no_checkpoint_is_refused_and_not_run(cli: Cli, tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.pt"
    torch.save(content, path)
    status, out, err = cli("inspect", path)
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert "run!" not in err
    assert cli("inspect", tmp_path / "absent.pt")[0] == 2


def test_names_out_of_the_file_do_not_steer_the_terminal(cli: Cli, net: Path, tmp_path: Path) -> None:
    content = torch.load(net)
    torch.save({**content, "\x1b[2Jgone": 1}, tmp_path / "x.pt")
    assert "\x1b" not in cli("inspect", tmp_path / "x.pt")[1]


@pytest.mark.realdata
@pytest.mark.slow
def test_the_published_checkpoint(cli: Cli, data_dir: Path, real_checkpoint: Callable[[str], Path]) -> None:
    path = real_checkpoint("resnet20-a-imagenetnorm-91.73.th")
    options = ("--evaluate", "--data-dir", data_dir, "--threads", 1, "--json")
    found = json.loads(cli("inspect", path, *options)[1])["evaluation"]
    assert found["test"]["accuracy"] == 0.9173
    assert found["normalization"]["name"] == "imagenet"
