"""Presets are recipes, each with a sentence."""

from __future__ import annotations

import pytest

from lastsam_core.presets import PRESETS, preset


def test_presets_are_recipes_with_a_sentence() -> None:
    for name, (sentence, _) in PRESETS.items():
        assert sentence.endswith(".")
        assert preset(name).resolved()


def test_a_preset_that_is_not_there() -> None:
    with pytest.raises(KeyError):
        preset("best")
