from __future__ import annotations

from lastsam_jobs import errors
from lastsam_jobs.errors import JobsError

CLASSES = [vars(errors)[name] for name in errors.__all__]


def test_each_class_is_a_sentence_with_a_status_and_a_code_of_its_own() -> None:
    assert all(cls.__doc__.rstrip().endswith(".") and 400 <= cls.status < 600 for cls in CLASSES)
    codes = [cls.code for cls in CLASSES]
    assert len(set(codes)) == len(codes)
    assert JobsError in CLASSES


def test_an_error_carries_message_hint_and_extras() -> None:
    error = errors.InvalidTransition("Job x is failed.", hint="Retry it.", allowed=["retry"])
    assert (str(error), error.message, error.hint) == ("Job x is failed.", "Job x is failed.", "Retry it.")
    assert error.extra == {"allowed": ["retry"]}
