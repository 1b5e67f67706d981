"""From text to a translator that translates what it never saw; resumed runs; BLEU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lastsam_core.errors import SnapshotError
from lastsam_core.models.transformer import TransformerShape
from lastsam_core.tasks.translation import (
    ParallelText,
    Vocabulary,
    refine_translation,
    score_bleu,
    train_translation,
    translation_recipe,
)
from lastsam_core.tasks.translation.bleu import bleu_of
from tests.core.tasks.translation.conftest import TINY
from tests.core.tasks.translation.numbers import train_and_test
from tests.factories import digest_of


def test_asam_learns_to_name_numbers_it_never_saw_and_a_refinement_goes_on() -> None:
    text, test = train_and_test()
    assert not set(text.source) & set(test.source)
    vocabulary = Vocabulary.learn(text.source + text.target, 100)
    shape = TransformerShape(layers=1, dim=48, ffn=96, heads=4, dropout=0.0)
    recipe = translation_recipe(method="asam", epochs=12, max_tokens=1024, lr=3e-3)
    untrained, _ = train_translation(
        translation_recipe(method="none", epochs=1, max_tokens=1024, lr=1e-8), text, shape=shape, vocabulary=vocabulary
    )
    reports: list[dict[str, Any]] = []
    translator, made = train_translation(
        recipe, text, shape=shape, vocabulary=vocabulary, valid=test, warmup=30, report=reports.append
    )
    first, last = made["epochs"][0], made["epochs"][-1]
    assert last["loss"] < first["loss"] / 3
    assert last["perturbed_loss"] > last["loss"]
    assert last["valid"]["accuracy"] > 0.9
    assert last["valid"]["n"] == sum(len(row) + 1 for row in vocabulary.encode(test.target))
    assert made["gradient_passes"] == 2 * 12 * 10
    assert [row["epoch"] for row in reports if row["type"] == "epoch"] == list(range(1, 13))
    before, after = score_bleu(untrained, test, beam=1), score_bleu(translator, test)
    assert before["bleu"] < 5
    assert after["bleu"] > 60
    assert after["n"] == len(after["hypotheses"]) == len(test)
    assert "tok:13a" in after["signature"]

    refined = refine_translation(
        translator, translation_recipe(epochs=2, max_tokens=1024, lr=2e-3, enter_at=2 / 3), text, valid=test
    )
    assert refined["epochs"][-1]["valid"]["nll"] < last["valid"]["nll"]
    assert refined["epochs"][-1]["lr"] < 2e-3 / 4


def test_the_learning_rate_rises_and_then_falls_as_the_inverse_root(text: ParallelText, vocabulary: Vocabulary) -> None:
    recipe = translation_recipe(method="none", epochs=9, max_tokens=2048, lr=1e-3)
    _, made = train_translation(recipe, text, shape=TINY, vocabulary=vocabulary, warmup=4)
    rates = [row["lr"] for row in made["epochs"]]  # a step an epoch
    assert rates == pytest.approx([1e-3 * min(t / 4, (4 / t) ** 0.5) for t in range(1, 10)])


def test_an_interrupted_run_goes_on_from_its_snapshot_with_the_same_bits(
    text: ParallelText, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    recipe = translation_recipe(epochs=3, max_tokens=512, lr=1e-3)
    shape = TransformerShape(layers=1, dim=16, ffn=16, heads=2, dropout=0.2)
    settings: dict[str, Any] = {"shape": shape, "vocabulary": vocabulary, "warmup": 5}
    whole, expected = train_translation(recipe, text, **settings)

    def stop(message: dict[str, Any]) -> None:
        if message["type"] == "epoch" and message["epoch"] == 3:
            raise KeyboardInterrupt

    snapshot = tmp_path / "snapshot"
    with pytest.raises(KeyboardInterrupt):
        train_translation(recipe, text, **settings, snapshot=snapshot, report=stop)
    again, made = train_translation(recipe, text, **settings, snapshot=snapshot)
    assert digest_of(again.model.state_dict()) == digest_of(whole.model.state_dict())
    assert [row["loss"] for row in made["epochs"]] == [row["loss"] for row in expected["epochs"]]
    assert made["gradient_passes"] == expected["gradient_passes"]

    for other in ({"warmup": None}, {"shape": TINY}):
        with pytest.raises(SnapshotError, match="belongs to another run"):
            train_translation(recipe, text, **{**settings, **other}, snapshot=snapshot)
    with pytest.raises(SnapshotError, match="belongs to another run"):
        train_translation(translation_recipe(epochs=4), text, **settings, snapshot=snapshot)


def test_the_recipe_is_adam_with_the_transformers_betas() -> None:
    recipe = translation_recipe()
    assert (recipe.method.name, recipe.method.rho, recipe.method.eta) == ("asam", 0.2, 0.01)
    assert (recipe.optimizer.name, recipe.optimizer.betas) == ("adam", (0.9, 0.98))
    assert translation_recipe(method="sam").method.rho == 0.1
    assert translation_recipe(method="none").passes_per_step == 1
    assert translation_recipe(rho=0.0).method.rho == 0


def test_the_second_order_goes_through_the_attention(text: ParallelText, vocabulary: Vocabulary) -> None:
    recipe = translation_recipe(epochs=1, max_tokens=2048, lr=1e-3)
    weights = set()
    for second_order in (False, True):
        method = recipe.method.model_copy(update={"second_order": second_order})
        made, _ = train_translation(
            recipe.model_copy(update={"method": method}), text, shape=TINY, vocabulary=vocabulary, warmup=None
        )
        weights.add(digest_of(made.model.state_dict()))
    assert len(weights) == 2


def test_bleu_is_sacrebleus() -> None:
    same = ["the cat sat on the mat"]
    assert bleu_of(same, same)["bleu"] == pytest.approx(100)
    assert bleu_of(["The Cat sat on the mat"], same)["bleu"] < 60
    lowered = bleu_of(["The Cat sat on the mat"], same, lowercase=True)
    assert lowered["bleu"] == pytest.approx(100)
    assert "case:lc" in lowered["signature"]
