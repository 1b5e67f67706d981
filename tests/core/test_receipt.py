"""The verdict does not flatter."""

from __future__ import annotations

from typing import Any

import pytest

from lastsam_core.receipt import verdict


def side(accuracy: float, sharpness: float | None = None) -> dict[str, Any]:
    found = None if sharpness is None else {kind: {"ascent": sharpness} for kind in ("sam", "adaptive")}
    return {"test": {"accuracy": accuracy, "n": 10_000}, "sharpness": found}


@pytest.mark.parametrize(
    ("before", "after", "p", "words"),
    [
        (0.9173, 0.9295, 0.001, ["+1.22 points", "better, beyond chance"]),
        (0.9173, 0.9175, 0.8, ["+0.02 points", "no difference beyond chance"]),
        (0.9173, 0.9033, 1e-12, ["-1.40 points", "worse, beyond chance"]),
    ],
)
def test_says_whether_chance_explains_it(before: float, after: float, p: float, words: list[str]) -> None:
    sentence = verdict(before=side(before), after=side(after), mcnemar={"p_value": p}, delivered="refined", steps=10)
    assert all(word in sentence for word in words)


def test_says_flatter_and_sharper() -> None:
    told = verdict(before=side(0.9, 0.5), after=side(0.9, 0.2), mcnemar={"p_value": 1.0}, delivered="refined", steps=1)
    assert "SAM sharpness 0.5 -> 0.2 (flatter)" in told
    told = verdict(before=side(0.9, 0.2), after=side(0.9, 0.5), mcnemar={"p_value": 1.0}, delivered="uploaded", steps=1)
    assert "(sharper)" in told
    assert "uploaded ones are returned" in told


@pytest.mark.parametrize(
    ("delivered", "steps", "says"),
    [
        ("refined", 10, "Test accuracy with the new head 91.00 %"),
        ("uploaded", 10, "did not even support it against chance"),
        ("uploaded", 0, "new, untrained head"),
    ],
)
def test_a_new_head_gains_nothing_over_chance(delivered: str, steps: int, says: str) -> None:
    told = verdict(
        before=side(0.1, 0.5),
        after=side(0.91, 0.2),
        mcnemar={"p_value": 0.0},
        delivered=delivered,
        steps=steps,
        new_head=True,
    )
    assert says in told
    assert not any(word in told for word in ("points", "better", "flatter"))


def test_nothing_trained_is_no_gain() -> None:
    told = verdict(before=side(0.9), after=side(0.9), mcnemar={"p_value": 1.0}, delivered="refined", steps=0)
    assert told == "Nothing was trained: the uploaded weights are returned as they were."
