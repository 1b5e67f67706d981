"""Each kind of error as a sentence, a fix and an exit status."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from lastsam.cli.common import CommandError, explained
from lastsam.errors import LastsamError, NoService
from lastsam_core.errors import Diverged, UnknownDataset
from lastsam_jobs.errors import NotFound


def _refusal(status: int) -> LastsamError:
    return LastsamError("No.", code="x", status=status, hint="Do this.")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CommandError("No.", hint="Do this."), 2),
        (CommandError("No.", hint="Do this.", status=1), 1),
        (NoService("No.", hint="Do this."), 3),
        (_refusal(401), 2),
        (_refusal(404), 2),
        (_refusal(422), 2),
        (_refusal(409), 1),
        (_refusal(500), 1),
        (_refusal(503), 3),
        (UnknownDataset("No.", hint="Do this."), 2),
        (Diverged("No.", hint="Do this."), 1),
        (NotFound("No.", hint="Do this."), 2),
    ],
)
def test_known_errors(error: Exception, status: int) -> None:
    assert explained(error) == (["error: No.", "  Do this."], status)


def test_errors_of_the_machine() -> None:
    assert explained(FileNotFoundError(2, "No such file or directory", "x.pt")) == (
        ["error: x.pt: No such file or directory"],
        2,
    )
    lines, status = explained(OperationalError("SELECT 1", {}, Exception("unable to open database file")))
    assert status == 1
    assert "unable to open database file" in lines[0]
    assert "SELECT" not in lines[0]
    lines, status = explained(ImportError("No module named 'torch'", name="torch"))
    assert (lines[0], status) == ("error: this command needs a package that is not installed: torch", 2)


def test_a_fault_of_ours_is_called_one() -> None:
    lines, status = explained(ZeroDivisionError("division by zero"))
    assert (lines[0], status) == ("error: ZeroDivisionError: division by zero", 1)
    assert "LASTSAM_DEBUG=1" in lines[1]
