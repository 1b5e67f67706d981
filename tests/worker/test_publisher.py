"""What reports become in the database, without a trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lastsam_jobs import leases
from lastsam_jobs.leases import Claim, claim_next
from lastsam_jobs.states import Status
from worker.job_folder import JobFolder
from worker.publisher import Publisher


@pytest.fixture
def claim(bench: Any) -> Claim:
    """Of a job that runs."""
    bench.submit({"epochs": 7})
    with bench.database.write() as session:
        found = claim_next(session, worker="w1", lease_seconds=60)
        assert found is not None
        leases.move(session, found, Status.RUNNING, message="Runs.")
    return found


@pytest.mark.parametrize(
    ("reports", "progress"),
    [
        ([], {"epoch": 3, "total_epochs": 7}),
        ([{"epoch": 4, "total_epochs": 7, "step": 2, "fraction": 0.5}], {"epoch": 4, "total_epochs": 7, "step": 2}),
    ],
)
def test_a_job_that_succeeded_says_how_far_it_came(
    bench: Any, claim: Claim, tmp_path: Path, reports: list[dict[str, Any]], progress: dict[str, Any]
) -> None:
    weights = tmp_path / "weights.original"
    weights.write_bytes(b"weights")
    publisher = Publisher(bench.database, bench.store, claim, JobFolder(bench.settings, claim))
    publisher.take([{"type": "progress", **report} for report in reports])
    result = {"verdict": "Better.", "epoch": 3}
    publisher.take([{"type": "done", "result": result, "files": {"weights:original": str(weights)}}])
    publisher.publish()
    job = bench.job(claim.job_id)
    assert job.status == Status.SUCCEEDED
    assert job.progress == progress | {"fraction": 1.0, "eta_seconds": 0.0}


def test_what_an_earlier_claim_reported_is_kept(bench: Any, claim: Claim, tmp_path: Path) -> None:
    weights = tmp_path / "weights.original"
    weights.write_bytes(b"weights")
    folder = JobFolder(bench.settings, claim)
    Publisher(bench.database, bench.store, claim, folder).take([{"type": "progress", "epoch": 5, "total_epochs": 7}])
    later = Publisher(bench.database, bench.store, claim, folder)
    later.take([{"type": "done", "result": {"verdict": "Better."}, "files": {"weights:original": str(weights)}}])
    later.publish()
    assert bench.job(claim.job_id).progress["epoch"] == 5
