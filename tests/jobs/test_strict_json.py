"""JSON that says one thing to everyone who reads it."""

from __future__ import annotations

import pytest

from lastsam_jobs.strict_json import loads


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"a": [1, -2.5e3, true, null, "x"]}', {"a": [1, -2500.0, True, None, "x"]}), ("7", 7), ("{}", {})],
)
def test_what_json_says(text: str, value: object) -> None:
    assert loads(text) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"a": 1, "a": 1}', 'the name "a" stands twice in one object'),
        ('{"x": [{"a\\u001b": 1, "b": 2, "a\\u001b": 3}]}', r'the name "a\\u001b" stands twice'),
        ("[" * 200_000, "nested too deep"),
        ("9" * 5000, "a number has 5000 digits"),
        ("{", "Expecting"),
        ("", "Expecting value"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        loads(text)
