"""What is no id names nothing."""

from __future__ import annotations

import pytest

from service.ids import cursor
from service.problems import RequestInvalid
from tests.service.conftest import Api


@pytest.mark.parametrize(
    "id", ["job_x", "job_01jd00000000000000000000ab", "%00", "..%2f..", "ckpt_01JD00000000000000000000AB"]
)
def test_no_id_no_job(api: Api, id: str) -> None:
    assert api.get(f"/jobs/{id}").status_code == 404


def test_cursors_are_ids_of_their_kind() -> None:
    assert cursor("job_01JD00000000000000000000AB", "job") == "job_01JD00000000000000000000AB"
    assert cursor(None, "job") is None
    for wrong in ("", "job_", "ckpt_01JD00000000000000000000AB"):
        with pytest.raises(RequestInvalid):
            cursor(wrong, "job")
