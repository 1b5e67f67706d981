"""What a job leaves behind, over HTTP."""

from __future__ import annotations

import csv
import hashlib
import io
import json

import pytest

from lastsam_jobs import repository
from lastsam_jobs.database import clock
from lastsam_jobs.states import Status
from lastsam_jobs.tables import Metric
from tests.service.conftest import Api


def test_events_continue_after_a_number(api: Api, job_id: str) -> None:
    for action in ("pause", "resume", "cancel"):
        api.post(f"/jobs/{job_id}/{action}")
    events = api.get(f"/jobs/{job_id}/events").json()
    assert [event["type"] for event in events["data"]] == ["job.created", "job.paused", "job.queued", "job.cancelled"]
    assert [event["number"] for event in events["data"]] == [1, 2, 3, 4]
    page = api.get(f"/jobs/{job_id}/events", params={"after": 1, "limit": 2}).json()
    assert ([event["number"] for event in page["data"]], page["has_more"]) == ([2, 3], True)
    assert api.get(f"/jobs/{job_id}/events", params={"after": -1}).status_code == 422


def test_metrics_are_json_or_flat_csv(api: Api, job_id: str) -> None:
    with api.here.database.write() as session:
        for epoch in (2, 1):
            values = {"epoch": epoch, "loss": 0.5 / epoch, "test": {"accuracy": 0.25, "n": 8} if epoch == 2 else None}
            session.add(Metric(job_id=job_id, epoch=epoch, values=values, created_at=clock(session)))
    rows = api.get(f"/jobs/{job_id}/metrics").json()["data"]
    assert [(row["epoch"], row["loss"]) for row in rows] == [(1, 0.5), (2, 0.25)]
    answer = api.get(f"/jobs/{job_id}/metrics", params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["test_accuracy"] for row in table] == ["", "0.25"]
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert api.get(f"/jobs/{job_id}/metrics", params={"format": "xml"}).status_code == 422


@pytest.mark.parametrize(("format", "suffix"), [("original", ".th"), ("safetensors", ".safetensors"), ("pt", ".pt")])
def test_weights_come_in_three_formats_with_their_digest(api: Api, job_id: str, format: str, suffix: str) -> None:
    url = f"/jobs/{job_id}/weights?format={format}"
    early = api.get(url)
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    content = format.encode() * 100
    api.finish(job_id, **{f"weights_{format}": content})
    answer = api.get(url)
    assert answer.content == content
    assert answer.headers["etag"] == f'"{hashlib.sha256(content).hexdigest()}"'
    assert answer.headers["content-disposition"] == f'attachment; filename="net-lastsam{suffix}"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = api.request("HEAD", url)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(content)))


def test_the_default_format_is_the_uploaded_one_and_others_are_refused(api: Api, job_id: str) -> None:
    api.finish(job_id, weights_original=b"as uploaded")
    assert api.get(f"/jobs/{job_id}/weights").content == b"as uploaded"
    assert api.get(f"/jobs/{job_id}/weights?format=onnx").status_code == 422
    never_made = api.get(f"/jobs/{job_id}/weights?format=pt")
    assert (never_made.status_code, never_made.json()["code"]) == (404, "not_found")


def test_a_loss_that_is_no_number_is_null(api: Api, job_id: str) -> None:
    with api.here.database.write() as session:
        session.add(Metric(job_id=job_id, epoch=1, values={"loss": float("nan")}, created_at=clock(session)))
        repository.job(session, job_id).progress = {"loss": float("inf")}
    assert api.get(f"/jobs/{job_id}/metrics").json()["data"] == [{"epoch": 1, "loss": None}]
    assert api.get(f"/jobs/{job_id}").json()["progress"] == {"loss": None}
    assert api.get("/jobs").json()["data"][0]["progress"] == {"loss": None}
    assert api.post(f"/jobs/{job_id}/pause").json()["progress"] == {"loss": None}


def test_the_receipt_is_json(api: Api, job_id: str) -> None:
    receipt = {"version": 1, "job_id": job_id}
    api.finish(job_id, receipt=json.dumps(receipt).encode())
    answer = api.get(f"/jobs/{job_id}/receipt")
    assert answer.json() == receipt
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == f'inline; filename="{job_id}-receipt.json"'


def test_a_failed_job_says_that_it_left_nothing(api: Api, job_id: str) -> None:
    api.finish(job_id, Status.FAILED)
    answer = api.get(f"/jobs/{job_id}/weights")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_ready")
    assert "ended without" in answer.json()["hint"]
