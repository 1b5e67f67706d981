"""Following a job of the real service, and a run of this process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lastsam import Client
from lastsam.watching import reports_to, watch
from lastsam_jobs.states import Status
from tests.lastsam.conftest import Service


class Notes:
    """A view that keeps what it is shown, and does something at each new status."""

    def __init__(self, then: Callable[[str], None] = lambda _: None) -> None:
        self.lines: list[str] = []
        self.states: list[str] = []
        self.figures: list[tuple[Any, Any]] = []
        self._then = then

    def say(self, line: str) -> None:
        self.lines.append(line)

    def status(self, text: str) -> None:
        self.states.append(text)
        self._then(text)

    def progress(self, figures: Mapping[str, Any], accuracy: float | None = None) -> None:
        self.figures.append((figures.get("epoch"), accuracy))


def test_a_job_from_the_queue_to_its_receipt(client: Client, service: Service, job_id: str) -> None:
    row = {"loss": 0.5, "accuracy": 0.75, "lr": 0.1}

    def worker(state: str) -> None:
        if state.startswith("queued"):
            service.event(job_id, "job.running", "The trainer has started.")
            service.set(job_id, status=Status.RUNNING, stage="baseline")
        elif state == "baseline":
            service.epoch(job_id, epoch=1, **row)
            service.event(job_id, "job.stage", "Stage: training.", {"stage": "training"})
            service.set(job_id, stage="training", progress={"epoch": 2, "total_epochs": 2, "fraction": 0.5})
        else:
            service.finish(job_id, b"weights")

    view = Notes(worker)
    job = watch(client, job_id, view, poll=0.01)
    assert job["status"] == "succeeded"
    assert view.states[0].startswith("queued, ")
    assert view.states[1:] == ["baseline", "training"]
    assert view.figures == [(2, 0.75)]
    assert [line.split("  ", 1)[1] for line in view.lines] == [
        "Accepted and queued.",
        "The trainer has started.",
        "epoch 1/2: loss 0.5000, train accuracy 75.00 %, lr 0.1",
        "Succeeded.",
    ]


def test_a_paused_job_is_not_waited_for(client: Client, job_id: str) -> None:
    view = Notes(lambda _: client.pause(job_id) and None)
    assert watch(client, job_id, view, poll=0.01)["status"] == "paused"
    assert view.lines[-1].endswith("Asked to pause.")


def test_reports_of_a_run_in_this_process() -> None:
    view = Notes()
    report = reports_to(view)
    for message in (
        {"type": "stage", "stage": "training"},
        {"type": "device", "name": "cpu"},
        {"type": "baseline", "test": {"accuracy": 0.5}},
        {"type": "progress", "epoch": 1},
        {"type": "epoch", "epoch": 1, "loss": 1.0, "accuracy": 0.25, "lr": 0.1},
        {"type": "progress", "epoch": 2},
        {"type": "note", "message": "A note."},
    ):
        report(message)
    assert view.states == ["training"]
    assert view.figures == [(1, None), (2, 0.25)]
    epoch = "epoch 1: loss 1.0000, train accuracy 25.00 %, lr 0.1"
    assert view.lines == ["baseline: 50.00 % test accuracy", epoch, "A note."]
