"""The translator's loss, against plain loops; parts, the phase, the second pass."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lastsam_core.models.transformer import PAD, Transformer
from lastsam_core.phase import Phase, Wish
from lastsam_core.tasks.translation import Translation, TranslationBatches, Translator, translation_recipe
from tests.core.tasks.translation.conftest import TINY
from tests.factories import digest_of

Make = Callable[..., TranslationBatches]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_mean_over_target_tokens_of_the_smoothed_cross_entropy(
    translator: Translator, make_batches: Make, smoothing: float
) -> None:
    model, batch = translator.model.double(), make_batches().batch(0, 0)
    assert (batch.target == PAD).any()
    scored = Translation(label_smoothing=smoothing).score(model, batch)
    scores = model(batch.source, batch.target[:, :-1]).detach().log_softmax(dim=2)
    losses, right = [], 0
    for row, length in enumerate(batch.lengths):
        for place in range(length):
            true = int(batch.target[row, place + 1])
            p = scores[row, place]
            losses.append(-(1 - smoothing) * float(p[true]) - smoothing * float(p.mean()))
            right += int(p.argmax()) == true
    assert float(scored.loss.detach()) == pytest.approx(math.fsum(losses) / len(losses), abs=1e-12)
    assert int(scored.right) == right
    assert Translation().units(batch) == len(losses)
    assert scored.loss.requires_grad
    assert not scored.right.requires_grad


@pytest.mark.parametrize("size", [1, 4, 99])
def test_the_parts_are_the_batch(translator: Translator, make_batches: Make, size: int) -> None:
    task, model, batch = Translation(), translator.model.double(), make_batches().batch(0, 0)
    parts = task.parts(batch, size)
    assert [len(part.lengths) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert torch.equal(torch.cat([part.source for part in parts]), batch.source)
    whole, units = task.score(model, batch), task.units(batch)
    scored = [(task.score(model, part), task.units(part)) for part in parts]
    assert sum(n for _, n in scored) == units
    assert sum(float(s.loss.detach()) * n for s, n in scored) / units == pytest.approx(
        float(whole.loss.detach()), abs=1e-12
    )
    assert sum(int(s.right) for s, _ in scored) == int(whole.right)
    (together,) = torch.autograd.grad(whole.loss, [model.target_embedding.weight])
    (apart,) = torch.autograd.grad(
        torch.stack([s.loss * n / units for s, n in scored]).sum(), [model.target_embedding.weight]
    )
    torch.testing.assert_close(apart, together, atol=1e-12, rtol=1e-10)


def phase_of(batches: TranslationBatches, size: int, *, method: Any = "asam", **fields: Any) -> Phase:
    rho = fields.pop("rho", None)
    recipe = translation_recipe(method=method, rho=rho, epochs=2, max_tokens=512, lr=1e-3)
    torch.manual_seed(0)
    model = Transformer(TINY, source_size=size, target_size=size, dropout=0.3)
    return Phase(model, recipe, batches, Translation(), **fields)


def finished(phase: Phase) -> str:
    for _ in phase.run():
        pass
    return digest_of(phase.model.state_dict())


@pytest.mark.parametrize("method", ["none", "sam", "asam"])
def test_a_phase_continued_from_any_step_ends_with_the_same_bits(make_batches: Make, method: str) -> None:
    batches = make_batches(max_tokens=1024)
    steps = batches.steps_per_epoch
    assert 1 < steps < 6
    whole = finished(phase_of(batches, 90, method=method))
    for stop in range(1, 2 * steps):

        def leave(phase: Phase, stop: int = stop) -> Wish:
            return Wish.LEAVE if phase.steps_done == stop else Wish.GO_ON

        first = phase_of(batches, 90, method=method, between_steps=leave)
        finished(first)
        assert first.steps_done == stop
        kept = io.BytesIO()
        torch.save(first.state_dict(), kept)
        kept.seek(0)
        torch.rand(stop)
        second = phase_of(make_batches(max_tokens=1024), 90, method=method)
        second.load_state_dict(torch.load(kept, weights_only=True))
        assert finished(second) == whole


def test_the_second_pass_sees_the_dropout_of_the_first(make_batches: Make) -> None:
    # A radius too small to move any weight: two passes then do what one does only if their masks agree.
    batches = make_batches(max_tokens=512)
    twice = phase_of(batches, 90, method="sam", rho=1e-30)
    once = phase_of(batches, 90, method="none")
    assert finished(twice) == finished(once)
    assert twice.optimizer.passes == 2 * once.optimizer.passes


def test_bf16_trains(make_batches: Make) -> None:
    recipe = translation_recipe(epochs=2, max_tokens=512, lr=3e-3, precision="bf16")
    torch.manual_seed(0)
    model = Transformer(TINY, source_size=90, target_size=90)
    reports = list(Phase(model, recipe, make_batches(max_tokens=512), Translation()).run())
    assert reports[1].loss < reports[0].loss
    assert all(p.dtype == torch.float32 for p in model.parameters())


def stepped(batches: TranslationBatches, **changes: Any) -> Phase:
    """One step in float64, without dropout."""
    recipe = translation_recipe(max_tokens=512, lr=1e-3).model_copy(update=changes)
    torch.manual_seed(0)
    model = Transformer(TINY, source_size=90, target_size=90).double()
    phase = Phase(model, recipe, batches, Translation(), between_steps=lambda _: Wish.LEAVE)
    assert list(phase.run()) == []
    return phase


def test_a_step_in_parts_is_the_step_of_the_whole_batch(make_batches: Make) -> None:
    whole, parts = (stepped(make_batches(max_tokens=512), micro_batch=size) for size in (None, 7))
    for name, weight in whole.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], weight, atol=1e-9, rtol=0)


def test_m_sharpness_gives_each_m_pairs_a_perturbation_of_their_own(make_batches: Make) -> None:
    method = translation_recipe().method
    whole, own = (
        stepped(make_batches(max_tokens=512), method=method.model_copy(update={"m": size})) for size in (None, 7)
    )
    assert whole.mean_loss == pytest.approx(own.mean_loss, abs=1e-12)
    assert not torch.allclose(
        next(iter(own.model.parameters())), next(iter(whole.model.parameters())), atol=1e-7, rtol=0
    )
