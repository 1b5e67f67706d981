"""Nothing that a stranger wrote steers the terminal."""

from __future__ import annotations

import json
import sys
import unicodedata

import pytest

from lastsam.printable import clean, printable, safe_json

STEERING = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
MARK = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, accented é, 東京, 🙂", "plain, accented é, 東京, 🙂"),
        ("\x1b[2J\x1b]0;title\x07", f"{MARK}[2J{MARK}]0;title{MARK}"),
        ("\x9b31mred", f"{MARK}31mred"),
        ("a\rb\nc\td", "a b c d"),
        ("exe\N{RIGHT-TO-LEFT OVERRIDE}gpj", f"exe{MARK}gpj"),
        ("non\N{NO-BREAK SPACE}breaking", "non\N{NO-BREAK SPACE}breaking"),
        (b"bytes".decode() + "\ud800", f"bytes{MARK}"),
        ("[red]not markup[/red] :smile:", "[red]not markup[/red] :smile:"),
        (7, "7"),
    ],
)
def test_what_is_shown_of_a_text(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_no_character_that_steers_gets_through() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert not {unicodedata.category(c) for c in printable(every)} & STEERING
    assert len(printable(every)) == len(every)


def test_every_text_of_a_json_value_is_cleaned() -> None:
    given = {"a\x1b": ["\x1b", {"b": ("\x07", 1, None, True, 0.5)}]}
    assert clean(given) == {f"a{MARK}": [MARK, {"b": [MARK, 1, None, True, 0.5]}]}


def test_json_means_the_same_and_holds_nothing_that_steers() -> None:
    given = {"name": "é\x1b[2J\x9b1m\x7f\u202e\U000e0001\ud800", "東京": ["\u2028"]}
    text = safe_json(json.dumps(given, indent=2, ensure_ascii=False))
    assert json.loads(text) == given
    assert not {unicodedata.category(c) for c in text.replace("\n", "")} & STEERING
    assert "東京" in text
