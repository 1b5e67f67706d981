"""What a recipe asks of a file beside its weights, held against what lies in it."""

from __future__ import annotations

from typing import Any

import pytest

from lastsam_core.checkpoints import Layout
from lastsam_core.checkpoints.offers import check_offer
from lastsam_core.errors import CheckpointError
from lastsam_core.recipe import Recipe

BARE = {"container": "zip", "kinds": ["dict"], "tensors": [], "arch": "resnet20-a", "num_classes": 10, "convention": ""}
SGD = {"usable": True, "kind": "sgd", "lr": 0.1}
ADAM = {"usable": True, "kind": "adam"}
BROKEN = {"usable": False, "reason": "it holds no momentum"}


def recipe(weights: str = "auto", state: str = "fresh", **optimizer: Any) -> Recipe:
    return Recipe.model_validate({"model": {"weights": weights}, "optimizer": {"state": state, **optimizer}})


@pytest.mark.parametrize(
    ("asked", "there"),
    [
        (recipe(), {}),
        (recipe(), {"optimizer": BROKEN}),
        (recipe("ema"), {"ema": BARE}),
        (recipe(state="checkpoint"), {"optimizer": SGD}),
        (recipe(state="checkpoint", name="adam"), {"optimizer": ADAM}),
        (recipe(state="checkpoint", name="adamw"), {"optimizer": ADAM}),
    ],
)
def test_what_is_there_may_be_asked_for(asked: Recipe, there: dict[str, Any]) -> None:
    check_offer(asked, Layout.model_validate({**BARE, **there}))


@pytest.mark.parametrize(
    ("asked", "there", "words"),
    [
        (recipe("ema"), {}, "no averaged weights"),
        (recipe("ema", "checkpoint"), {"ema": BARE, "optimizer": SGD}, "not to their average"),
        (recipe(state="checkpoint"), {}, "no optimizer's state"),
        (recipe(state="checkpoint"), {"optimizer": BROKEN}, "it holds no momentum"),
        (recipe(state="checkpoint"), {"optimizer": ADAM}, "is Adam's, the recipe's optimizer is sgd"),
        (recipe(state="checkpoint", name="adamw"), {"optimizer": SGD}, "is SGD's, the recipe's optimizer is adamw"),
        (recipe(state="checkpoint", momentum=0.0), {"optimizer": SGD}, "without momentum"),
    ],
)
def test_what_is_not_there_is_said_with_a_way_out(asked: Recipe, there: dict[str, Any], words: str) -> None:
    with pytest.raises(CheckpointError, match=words) as caught:
        check_offer(asked, Layout.model_validate({**BARE, **there}))
    assert caught.value.hint
