"""Bodies as they come over the wire: bounded, hashed, and gone without trace when they do not end well."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lastsam_jobs.artifacts import ArtifactStore
from lastsam_jobs.settings import Settings
from tests.service.conftest import NOTHING, SPEC, Api, stored

RAW = {"Content-Type": "application/octet-stream"}


def digest(content: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


@pytest.mark.parametrize("header", ["Content-Digest", "Repr-Digest"])
def test_an_announced_digest_is_checked(api: Api, net: bytes, header: str) -> None:
    wrong = api.post("/checkpoints", content=net, headers={**RAW, header: digest(b"other")})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "digest_mismatch")
    malformed = api.post("/checkpoints", content=net, headers={**RAW, header: "sha-256=:AAAA:"})
    assert malformed.status_code == 400
    assert stored(api.here) == NOTHING
    right = api.post("/checkpoints", content=net, headers={**RAW, header: f"md5=:AAAA:, {digest(net)}"})
    assert right.status_code == 201


def test_a_part_may_announce_its_digest(api: Api, net: bytes) -> None:
    def send(content: bytes) -> int:
        file = ("net.th", net, "application/octet-stream", {"Content-Digest": digest(content)})
        return api.post("/checkpoints", files={"checkpoint": file}).status_code

    assert send(b"other") == 422
    assert stored(api.here) == NOTHING
    assert send(net) == 201


def test_too_large_is_refused_before_and_while_it_arrives(new_api: Callable[..., Api], net: bytes) -> None:
    api = new_api(max_upload_bytes=len(net) - 1)

    async def chunked() -> Any:
        for begin in range(0, len(net), 65536):
            yield net[begin : begin + 65536]

    for answer in (
        api.post("/checkpoints", content=net, headers=RAW),
        api.post("/checkpoints", content=chunked(), headers=RAW),
        api.submit(net),
    ):
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert answer.json()["hint"]
    assert stored(api.here) == NOTHING


def test_a_full_disk_is_said_and_nothing_stays(api: Api, net: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ArtifactStore, "free_bytes", lambda self: len(net) // 2)
    early = api.post("/checkpoints", content=net, headers=RAW)
    assert (early.status_code, early.json()["code"]) == (507, "storage_full")
    monkeypatch.undo()

    # A disk cannot be filled in a test; the call that would fail on it can.
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lastsam_jobs.artifacts.os.fsync", full)
    for answer in (api.post("/checkpoints", content=net, headers=RAW), api.submit(net)):
        assert (answer.status_code, answer.json()["code"]) == (507, "storage_full")
    monkeypatch.undo()
    assert stored(api.here) == NOTHING


def test_other_types_of_body_are_not_read(api: Api) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x"):
        answer = api.post("/jobs", content=b"x", headers={"Content-Type": kind})
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type"), kind
        assert "curl" in answer.json()["hint"]


def test_a_json_body_is_bounded(api: Api) -> None:
    big = {"spec": {}, "metadata": {"x": "y" * 3 * 2**20}}

    async def chunked() -> Any:
        yield json.dumps(big).encode()

    kind = {"Content-Type": "application/json"}
    for answer in (api.post("/jobs", json=big), api.post("/jobs", content=chunked(), headers=kind)):
        assert answer.status_code == 413
        assert "65536 bytes of metadata" in answer.json()["hint"]
        assert "LASTSAM_MAX_UPLOAD_BYTES" not in answer.json()["hint"]


@pytest.mark.parametrize("length", ["many", "-1", "1.5", "9" * 30, "\u00b2".encode("latin-1")])
def test_a_length_that_is_none_is_refused(api: Api, length: str | bytes) -> None:
    answer = api.post("/jobs", content=b"{}", headers={"Content-Type": "application/json", "Content-Length": length})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert answer.json()["hint"]


def test_text_that_is_no_utf8_is_refused(api: Api) -> None:
    answer = api.post("/jobs", content=b'{"name": "\xff"}', headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["hint"]) == (400, "JSON is sent as UTF-8 (RFC 8259).")


@pytest.mark.parametrize("boundary", ["x" * 300, "x" * 70_000])
def test_a_boundary_that_is_too_long_is_refused(api: Api, boundary: str) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = api.post("/jobs", content=f"--{boundary}--\r\n", headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    assert "RFC 2046" in answer.json()["hint"]


# --- a real server, bytes on the wire


@pytest.fixture
def left(settings_factory: Callable[..., Settings]) -> Callable[[], list[Path]]:
    """Files in the artifact store and the work folder, without starting anything."""
    settings = settings_factory()
    assert settings.artifacts_dir is not None
    assert settings.work_dir is not None
    folders = (settings.artifacts_dir, settings.work_dir)
    return lambda: [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def head(path: str, length: int, *more: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Length: {length}", *more]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def multipart(net: bytes) -> tuple[str, bytes]:
    file = b'--b\r\nContent-Disposition: form-data; name="checkpoint"; filename="n.th"\r\n\r\n' + net
    spec = b'\r\n--b\r\nContent-Disposition: form-data; name="spec"\r\n\r\n' + json.dumps(SPEC).encode()
    return "Content-Type: multipart/form-data; boundary=b", file + spec + b"\r\n--b--\r\n"


def test_a_client_that_goes_away_leaves_nothing(
    server: Callable[..., tuple[str, int]], left: Callable[[], list[Path]], net: bytes
) -> None:
    address = server()
    kind, body = multipart(net)
    for offset in (1, 50, 90, 100_000, len(net) // 2, len(body) - 30, len(body) - 1):
        with socket.create_connection(address) as connection:
            connection.sendall(head("/jobs", len(body), kind) + body[:offset])
            time.sleep(0.05)
    deadline = time.monotonic() + 20
    while left() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left() == []
    url = f"http://{address[0]}:{address[1]}"
    assert httpx.get(f"{url}/jobs").json()["data"] == httpx.get(f"{url}/checkpoints").json()["data"] == []
    # And the same body, whole, is fine.
    with socket.create_connection(address) as connection:
        connection.settimeout(60)
        connection.sendall(head("/jobs", len(body), kind) + body)
        assert connection.recv(12) == b"HTTP/1.1 202"


def test_strangers_are_answered_before_they_send(
    server: Callable[..., tuple[str, int]], left: Callable[[], list[Path]]
) -> None:
    address = server(require_keys=True)
    for more in (["Content-Type: application/octet-stream"], ["Expect: 100-continue", multipart(b"")[0]]):
        with socket.create_connection(address) as connection:
            connection.settimeout(20)
            connection.sendall(head("/jobs", 2**30, *more))
            assert connection.recv(12) == b"HTTP/1.1 401"
    assert left() == []


def test_what_is_announced_too_large_is_answered_before_it_is_sent(server: Callable[..., tuple[str, int]]) -> None:
    address = server(max_upload_bytes=2**20)
    with socket.create_connection(address) as connection:
        connection.settimeout(20)
        connection.sendall(head("/checkpoints", 2**30, "Content-Type: application/octet-stream"))
        assert connection.recv(12) == b"HTTP/1.1 413"


def test_a_chunked_upload_and_a_ranged_download(server: Callable[..., tuple[str, int]], net: bytes) -> None:
    host, port = server()

    def pieces() -> Iterator[bytes]:
        for begin in range(0, len(net), 10_000):
            yield net[begin : begin + 10_000]

    with httpx.Client(base_url=f"http://{host}:{port}", timeout=60) as client:
        made = client.post("/checkpoints", content=pieces(), headers=RAW).json()
        url = made["urls"]["content"]
        whole = client.get(url)
        assert whole.content == net
        assert whole.headers["repr-digest"] == digest(net)
        half = client.get(url, headers={"Range": f"bytes={len(net) // 2}-", "If-Range": whole.headers["etag"]})
        assert (half.status_code, half.content) == (206, net[len(net) // 2 :])
        assert client.head(url).headers["content-length"] == str(len(net))
