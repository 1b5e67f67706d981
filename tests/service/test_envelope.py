"""Headers of every response."""

from __future__ import annotations

import pytest

from tests.service.conftest import Api


@pytest.mark.parametrize("path", ["/healthz", "/jobs", "/jobs/job_x", "/nowhere", "/openapi.json"])
def test_every_response_is_marked(api: Api, path: str) -> None:
    answer = api.get(path)
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-cache, private"


@pytest.mark.parametrize(("given", "kept"), [("abc-1.2_3", True), ("a b", False), ("x" * 101, False), ("", False)])
def test_a_sane_request_id_is_kept(api: Api, given: str, kept: bool) -> None:
    assert (api.get("/healthz", headers={"X-Request-Id": given}).headers["x-request-id"] == given) is kept
