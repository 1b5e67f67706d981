from __future__ import annotations

import pytest

from lastsam_jobs.ids import is_id, new_id


def test_ids_say_what_they_name_and_differ() -> None:
    made = {new_id("job") for _ in range(1000)}
    assert len(made) == 1000
    assert all(is_id(id, "job") and not is_id(id, "ckpt") for id in made)


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = new_id("job")
    monkeypatch.setattr("time.time_ns", lambda now=__import__("time").time_ns: now() + 5_000_000)
    assert earlier < new_id("job")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "job_",
        "job_01",
        "job_01ARZ3NDEKTSV4RRFFQ69G5FAI",  # I is no letter of Crockford's alphabet
        "job_01ARZ3NDEKTSV4RRFFQ69G5FAV/../x",
        "../job_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "job_01ARZ3NDEKTSV4RRFFQ69G5FAV\n",
        "JOB_01ARZ3NDEKTSV4RRFFQ69G5FAV",
    ],
)
def test_nothing_else_is_an_id(text: str) -> None:
    assert not is_id(text, "job")
