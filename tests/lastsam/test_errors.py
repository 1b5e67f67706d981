"""Answers of other servers than ours are errors too, and say so."""

from __future__ import annotations

import httpx
import pytest

from lastsam.errors import refusal


@pytest.mark.parametrize("body", [b"<html>Not Found</html>", b"[]", b'{"message": "?"}', b""])
def test_a_stranger_is_recognised(body: bytes) -> None:
    response = httpx.Response(404, content=body, request=httpx.Request("GET", "http://other.test/jobs?key=1"))
    error = refusal(response)
    assert str(error) == "http://other.test/jobs answered 404 Not Found, and not in LastSAM's words."
    assert (error.code, error.status) == ("unexpected_answer", 404)
    assert error.hint is not None
    assert "LASTSAM_URL" in error.hint


def test_a_problem_keeps_all_that_it_says() -> None:
    problem = {"code": "invalid_transition", "detail": "No.", "allowed": ["cancel"], "request_id": "req_1"}
    error = refusal(httpx.Response(409, json=problem))
    assert (str(error), error.allowed, error.request_id, error.hint) == ("No.", ["cancel"], "req_1", None)
