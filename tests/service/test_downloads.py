"""Ranges, ETags and names of files: RFC 9110 sections 13 and 14, RFC 6266."""

from __future__ import annotations

import hashlib

import pytest

from service.downloads import content_disposition, etag_matches
from tests.service.conftest import Api

CONTENT = bytes(range(100))
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


@pytest.fixture
def url(api: Api, job_id: str) -> str:
    api.finish(job_id, weights_original=CONTENT)
    return f"/jobs/{job_id}/weights"


@pytest.mark.parametrize(
    ("headers", "status", "span"),
    [
        ({}, 200, (0, 100)),
        ({"Range": "bytes=0-0"}, 206, (0, 1)),
        ({"Range": "bytes=10-19"}, 206, (10, 20)),
        ({"Range": "bytes=90-"}, 206, (90, 100)),
        ({"Range": "bytes=90-1000"}, 206, (90, 100)),
        ({"Range": "bytes=-7"}, 206, (93, 100)),
        ({"Range": "bytes=-1000"}, 206, (0, 100)),
        ({"Range": "bytes=10-19", "If-Range": ETAG}, 206, (10, 20)),
        ({"Range": "bytes=10-19", "If-Range": '"other"'}, 200, (0, 100)),
        # To be ignored: several ranges, malformed ones, other units.
        ({"Range": "bytes=0-1,5-6"}, 200, (0, 100)),
        ({"Range": "bytes=9-1"}, 200, (0, 100)),
        ({"Range": "bytes=-"}, 200, (0, 100)),
        ({"Range": "lines=1-2"}, 200, (0, 100)),
    ],
)
def test_ranges(api: Api, url: str, headers: dict[str, str], status: int, span: tuple[int, int]) -> None:
    answer = api.get(url, headers=headers)
    begin, end = span
    assert (answer.status_code, answer.content) == (status, CONTENT[begin:end])
    assert answer.headers["content-length"] == str(end - begin)
    assert answer.headers["etag"] == ETAG
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers.get("content-range") == (f"bytes {begin}-{end - 1}/100" if status == 206 else None)


@pytest.mark.parametrize("range", ["bytes=100-", "bytes=200-300", "bytes=-0"])
def test_a_range_past_the_end(api: Api, url: str, range: str) -> None:
    answer = api.get(url, headers={"Range": range})
    assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */100"


def test_an_unchanged_file_is_not_sent_again(api: Api, url: str) -> None:
    for header in (ETAG, f'"x", W/{ETAG}', "*"):
        assert api.get(url, headers={"If-None-Match": header}).status_code == 304
    assert api.get(url, headers={"If-None-Match": '"x"'}).status_code == 200


def test_lost_bytes_are_said_to_be_lost(api: Api, url: str) -> None:
    api.here.store.delete(ETAG.strip('"'))
    answer = api.get(url)
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a-b_1.pt", 'attachment; filename="a-b_1.pt"'),
        ('a".pt', "attachment; filename=\"a_.pt\"; filename*=UTF-8''a%22.pt"),
        ("é.pt", "attachment; filename=\"_.pt\"; filename*=UTF-8''%C3%A9.pt"),
        (".bashrc", "attachment; filename=\"bashrc\"; filename*=UTF-8''.bashrc"),
        ("a\r\nb", "attachment; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"),
    ],
)
def test_names_in_headers(name: str, header: str) -> None:
    assert content_disposition("attachment", name) == header


def test_no_header_matches_nothing() -> None:
    assert not etag_matches(None, ETAG)
