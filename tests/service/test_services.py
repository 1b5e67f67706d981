"""A database that hangs."""

from __future__ import annotations

import threading
import time
from functools import partial

import anyio
import pytest

from lastsam_jobs.database import clock
from service import services
from service.problems import DatabaseDown
from service.services import bounded, in_thread
from tests.service.conftest import Api


def test_what_takes_too_long_is_left_behind() -> None:
    release = threading.Event()
    begun = time.monotonic()
    try:
        with pytest.raises(DatabaseDown):
            anyio.run(partial(in_thread, release.wait, seconds=0.1))
        assert time.monotonic() - begun < 5
    finally:
        release.set()


def test_results_and_errors_come_through() -> None:
    @bounded
    def divide(a: int, b: int) -> float:
        return a / b

    async def both() -> float:
        with pytest.raises(ZeroDivisionError):
            await divide(1, b=0)
        return await divide(1, b=2)

    assert anyio.run(both) == 0.5


def test_a_locked_database_is_a_503_in_time(api: Api, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services.in_thread, "__kwdefaults__", {"seconds": 0.5})
    with api.here.database.write() as session:
        clock(session)  # SQLite has one writer, and from here on this is it
        answer = api.post(f"/jobs/{job_id}/pause")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert api.get(f"/jobs/{job_id}").status_code == 200
