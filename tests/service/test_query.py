"""Query parameters: those that exist, and nothing else."""

from __future__ import annotations

import pytest

from tests.service.conftest import Api


@pytest.mark.parametrize(
    ("path", "name", "known"),
    [
        ("/jobs?stat=queued", "stat", "Known: after, limit, q, status, tag."),
        ("/jobs?limit=3&Limit=4", "Limit", "Known: after, limit, q, status, tag."),
        ("/checkpoints?q=x", "q", "Known: after, limit."),
        ("/architectures?x", "x", "This takes none."),
        ("/architectures?name=resnet", "name", "This takes none."),
        ("/jobs?%1b%5b2J=1", "\ufffd[2J", "Known: after, limit, q, status, tag."),
    ],
)
def test_what_a_route_does_not_know_is_refused(api: Api, path: str, name: str, known: str) -> None:
    answer = api.get(path)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (400, "bad_request")
    assert problem["detail"] == f"There is no query parameter {name!r} here."
    assert problem["hint"] == known
    assert [error["in"] for error in problem["errors"]] == ["query"]


def test_what_a_route_knows_is_taken(api: Api, job_id: str) -> None:
    for path in (
        f"/jobs?status=queued&status=running&tag=a&q=b&limit=3&after={job_id}",
        f"/jobs/{job_id}/events?after=0&limit=5",
        f"/jobs/{job_id}/metrics?format=csv",
        "/healthz?cache=no",
    ):
        assert api.get(path).status_code == 200, path


def test_a_post_does_not_take_its_fields_from_the_query(api: Api) -> None:
    answer = api.post("/jobs?epochs=3", json={})
    assert (answer.status_code, answer.json()["hint"]) == (400, "This takes none.")
    assert api.post("/checkpoints?arhc=x", content=b"x").json()["hint"] == "Known: arch, num_classes."
