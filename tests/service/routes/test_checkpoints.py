"""Checkpoints on their own, over HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lastsam_jobs import repository
from tests.factories import whole_checkpoint_file
from tests.service.conftest import NOTHING, SPEC, Api, stored

RAW = {"Content-Type": "application/octet-stream"}


def test_a_raw_upload_is_recognised_once(api: Api, net: bytes) -> None:
    first = api.post("/checkpoints", content=net, headers={**RAW, "X-Filename": "../../my net.th"})
    made = first.json()
    assert first.status_code == 201, made
    assert first.headers["location"] == f"/checkpoints/{made['id']}"
    assert (made["filename"], made["size"]) == ("my net.th", len(net))
    assert made["sha256"] == hashlib.sha256(net).hexdigest()
    assert (made["arch"], made["num_classes"]) == ("resnet20-a", 10)
    assert made["recognised"]["wrapper"] == ["state_dict"]
    assert made["recognised"]["prefix"] == "module."
    assert made["recognised"]["companions"] == ["best_prec1", "epoch"]
    again = api.post("/checkpoints", files={"checkpoint": ("other.th", net)})
    assert (again.status_code, again.json()) == (200, made)
    assert api.get(f"/checkpoints/{made['id']}").json() == made
    assert api.get("/checkpoints").json() == {"object": "list", "data": [made], "has_more": False}
    assert stored(api.here) == {"checkpoints": 1, "jobs": 0, "artifacts": 2, "files": 2}


def test_what_lies_beside_the_weights_is_shown_and_can_be_asked_for(api: Api, net: bytes, tmp_path: Path) -> None:
    bare = api.post("/checkpoints", content=net, headers=RAW).json()
    whole = api.post("/checkpoints", content=whole_checkpoint_file(tmp_path / "c").read_bytes(), headers=RAW).json()
    shown = whole["recognised"]
    assert shown["optimizer"] == {"usable": True, "reason": "", "kind": "sgd", "lr": 0.05}
    assert (shown["epoch"], shown["ema"], shown["alternatives"]) == (3, True, [])
    assert (bare["recognised"]["optimizer"], bare["recognised"]["ema"]) == (None, False)
    for part in ({"model": {"weights": "ema"}}, {"optimizer": {"state": "checkpoint"}}):
        order = {"spec": SPEC | part}
        assert api.post("/jobs", json={**order, "checkpoint_id": whole["id"]}).status_code == 202
        refused = api.post("/jobs", json={**order, "checkpoint_id": bare["id"]})
        assert (refused.status_code, refused.json()["code"]) == (422, "checkpoint_lacks")
        assert api.submit(net, order["spec"]).json()["code"] == "checkpoint_lacks"


def test_a_row_of_an_older_version_is_shown(api: Api, net: bytes) -> None:
    id = api.post("/checkpoints", content=net, headers=RAW).json()["id"]
    with api.here.database.write() as session:
        row = repository.checkpoint(session, id)
        row.layout = {k: v for k, v in row.layout.items() if k not in ("epoch", "optimizer", "ema", "alternatives")}
    shown = api.get(f"/checkpoints/{id}").json()["recognised"]
    assert (shown["epoch"], shown["optimizer"], shown["ema"], shown["alternatives"]) == (None, None, False, [])
    assert api.post("/jobs", json={"checkpoint_id": id, "spec": SPEC}).status_code == 202


def test_what_was_uploaded_comes_back(api: Api, net: bytes) -> None:
    url = api.post("/checkpoints", content=net, headers=RAW).json()["urls"]["content"]
    whole = api.get(url)
    assert whole.content == net
    part = api.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, net[10:20])
    assert api.get(url, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304


def test_an_architecture_may_be_named(api: Api, net: bytes) -> None:
    wrong = api.post("/checkpoints?arch=resnet56-a", content=net, headers=RAW)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "architecture_mismatch")
    unknown = api.post("/checkpoints?arch=vgg", content=net, headers=RAW)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_architecture")
    classes = api.post("/checkpoints?num_classes=11", content=net, headers=RAW)
    assert (classes.status_code, classes.json()["code"]) == (422, "architecture_mismatch")
    assert stored(api.here) == NOTHING
    assert api.post("/checkpoints?arch=resnet20-a&num_classes=10", content=net, headers=RAW).status_code == 201


def test_a_checkpoint_in_use_stays_and_an_unused_one_goes_without_trace(api: Api, net: bytes) -> None:
    id = api.post("/checkpoints", content=net, headers=RAW).json()["id"]
    job = api.post("/jobs", json={"checkpoint_id": id, "spec": SPEC}).json()["id"]
    used = api.delete(f"/checkpoints/{id}")
    assert (used.status_code, used.json()["code"]) == (409, "in_use")
    api.post(f"/jobs/{job}/cancel")
    assert api.delete(f"/jobs/{job}").status_code == 204
    assert api.delete(f"/checkpoints/{id}").status_code == 204
    assert stored(api.here) == NOTHING
    assert api.get(f"/checkpoints/{id}").status_code == 404
    assert api.get(f"/checkpoints/{id}/content").status_code == 404


def test_paging(api: Api, net: bytes) -> None:
    id = api.post("/checkpoints", content=net, headers=RAW).json()["id"]
    assert api.get("/checkpoints", params={"after": id}).json()["data"] == []
    assert api.get("/checkpoints", params={"after": "job_01JD00000000000000000000AB"}).status_code == 422


def test_nothing_beside_the_file_is_taken(api: Api, net: bytes) -> None:
    answer = api.post("/checkpoints", files={"checkpoint": ("n", net)}, data={"spec": "{}"})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert api.post("/checkpoints", content=b"", headers=RAW).status_code == 422
    assert api.post("/checkpoints", content=b"{}", headers={"Content-Type": "application/json"}).status_code == 415
    assert stored(api.here) == NOTHING


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "arch", "container"),
    [
        ("resnet20-a-imagenetnorm-91.73.th", "resnet20-a", None),
        ("resnet56-a-imagenetnorm-93.39.th", "resnet56-a", None),
        ("resnet20-b-legacy-epoch1-59.46.t7", "resnet20-b", "legacy"),
    ],
)
def test_other_peoples_checkpoints_are_recognised(
    api: Api, real_checkpoint: Callable[[str], Path], name: str, arch: str, container: str | None
) -> None:
    answer = api.post("/checkpoints", content=real_checkpoint(name).read_bytes(), headers={**RAW, "X-Filename": name})
    assert answer.status_code == 201, answer.text
    assert (answer.json()["arch"], answer.json()["filename"]) == (arch, name)
    assert container in (None, answer.json()["recognised"]["container"])
