"""The demonstration's choices; the whole of it runs in tests/e2e and as `make demo`."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from lastsam import Client, demo
from lastsam_core.recipe import Recipe
from lastsam_jobs.settings import Settings
from tests.factories import write_tiny_npz
from tests.lastsam.conftest import Service
from tests.lastsam.samples import RECEIPT


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


def running(service: Service, job_id: str) -> None:
    """As a worker has it; without a lease the service's keeper would take it back."""
    service.set(job_id, status="running", lease_until=datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.parametrize(("ends", "expected"), [(False, ["stop", "cancel"]), (True, ["stop"])])
def test_a_job_that_takes_too_long_is_stopped_and_then_cancelled(
    client: Client, service: Service, job_id: str, monkeypatch: pytest.MonkeyPatch, ends: bool, expected: list[str]
) -> None:
    monkeypatch.setattr(demo, "_STOP_SECONDS", 0.2)
    monkeypatch.setattr(demo, "_CANCEL_SECONDS", 1.0)
    running(service, job_id)
    with demo._bounded(client, job_id, time.monotonic()) as done:
        assert client.job(job_id)["status"] == "running"
        for job in client.follow(job_id, poll=0.05):
            if job["status"] == ("stopping" if ends else "cancelling"):
                break
    assert done == expected
    time.sleep(1.2 if ends else 0)
    assert client.job(job_id)["status"] == ("stopping" if ends else "cancelling")


def test_a_job_in_time_is_left_alone(client: Client, service: Service, job_id: str) -> None:
    began = time.monotonic()
    running(service, job_id)
    with demo._bounded(client, job_id, began) as done:
        pass
    assert time.monotonic() - began < 5
    assert (done, client.job(job_id)["status"]) == ([], "running")


def test_what_was_cut_short_is_said() -> None:
    plan = demo._Plan(data="digits", train={}, refine={"epochs": 5})
    said = demo._cut_short(RECEIPT | {"cost": {"epochs": 1.25}}, plan)
    assert "stopped after 25.00 % of its steps" in said


def test_its_service_starts_and_ends(tmp_path: Path) -> None:
    with demo._service(tmp_path, tmp_path / "data") as client:
        assert client.ready()["status"] == "ok"
        assert client.jobs() == []
        with pytest.raises(Exception, match="Another `lastsam up`"), demo._service(tmp_path, tmp_path / "data"):
            pass
