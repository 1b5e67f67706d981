"""The demonstration's choices; the whole of it runs in tests/e2e and as `make demo`."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lastsam import demo
from lastsam_core.recipe import Recipe
from lastsam_jobs.settings import Settings
from tests.factories import write_tiny_npz


@pytest.mark.parametrize("data", ["digits", "cifar10"])
@pytest.mark.parametrize("checkpoint", [None, Path("net.th")])
def test_its_recipes_can_be_run(data: str, checkpoint: Path | None, settings_factory: Callable[..., Settings]) -> None:
    plan = demo._plan(data, checkpoint, settings_factory(device="cpu"))
    train, refine = Recipe.model_validate(plan.train), Recipe.model_validate(plan.refine)
    assert (train.method.name, refine.method.name) == ("sgd", "asam")
    assert train.data.name == refine.data.name == data


def test_prepared_cifar10_is_used(tmp_path: Path) -> None:
    write_tiny_npz(tmp_path).rename(tmp_path / "cifar10.npz")
    text = StringIO()
    assert demo._data(tmp_path, Console(file=text)) == "cifar10"
    assert "CIFAR-10, prepared in" in text.getvalue()


def test_digits_where_nothing_can_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.CIFAR10.url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    text = StringIO()
    assert demo._data(tmp_path, Console(file=text)) == "digits"
    assert "digits" in text.getvalue()


def test_its_service_starts_and_ends(tmp_path: Path) -> None:
    with demo._service(tmp_path, tmp_path / "data") as client:
        assert client.ready()["status"] == "ok"
        assert client.jobs() == []
        with pytest.raises(Exception, match="Another `lastsam up`"), demo._service(tmp_path, tmp_path / "data"):
            pass
