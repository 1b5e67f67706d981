"""The loop: reports, schedules, interruption and exact resume (formulas.md, test 11)."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
import torch

from lastsam_core.errors import Diverged
from lastsam_core.phase import EpochReport, Phase, Wish
from lastsam_core.recipe import Recipe
from lastsam_core.tasks import Classification
from tests.factories import digest_of, small_net, tiny_batches


def recipe_of(method: str = "asam", **fields: Any) -> Recipe:
    base = {"method": {"name": method}, "epochs": 3, "batch_size": 32, "optimizer": {"lr": 0.05}}
    return Recipe.model_validate(base | fields).resolved()


def task_of(recipe: Recipe) -> Classification:
    return Classification(label_smoothing=recipe.label_smoothing)


def phase_of(recipe: Recipe, *, dropout: float = 0.0, **options: Any) -> Phase:
    return Phase(small_net(dropout=dropout), recipe, tiny_batches(recipe), task_of(recipe), **options)


def final_digest(recipe: Recipe, *, dropout: float = 0.0) -> str:
    phase = phase_of(recipe, dropout=dropout)
    for _ in phase.run():
        pass
    return digest_of(phase.model.state_dict())


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_reports_an_epoch_each_with_means_over_its_images() -> None:
    recipe = recipe_of()
    phase = phase_of(recipe)
    reports = list(phase.run())
    assert [report.epoch for report in reports] == [1, 2, 3]
    assert all(report.units == 96 and report.skipped == 0 for report in reports)
    assert all(report.perturbed_loss > report.loss > 0 for report in reports)
    assert reports[-1].loss < reports[0].loss
    assert phase.optimizer.passes == 2 * 3 * 3
    assert phase.steps_done == phase.total_steps == 9


def test_plain_descent_takes_one_pass_a_step() -> None:
    phase = phase_of(recipe_of("sgd"))
    reports = list(phase.run())
    assert phase.optimizer.passes == 9
    assert all(report.perturbed_loss == report.loss and report.eps_norm == 0 for report in reports)


def test_learning_rate_is_the_papers_at_every_epochs_start_and_moves_between() -> None:
    recipe = recipe_of(epochs=50, optimizer={"lr": 0.1})
    phase = phase_of(recipe)
    model = small_net()
    papers = torch.optim.lr_scheduler.CosineAnnealingLR(torch.optim.SGD(model.parameters(), lr=0.1), T_max=150)
    theirs = [0.05 * (1 + math.cos(math.pi * (100 + epoch) / 150)) for epoch in range(50)]
    assert papers.T_max == 150
    for epoch, expected in enumerate(theirs):
        phase.epoch, phase.step = epoch, 0
        assert phase.lr == pytest.approx(expected, abs=1e-12)
        phase.step = 2
        assert phase.lr < expected
    phase.epoch, phase.step = 50, 0
    assert phase.lr == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize("method", ["sgd", "sam", "asam"])
def test_resume_after_every_step_ends_with_the_same_bits(method: str) -> None:
    recipe = recipe_of(method, epochs=2)
    whole = final_digest(recipe, dropout=0.3)
    for stop_after in range(1, 6):
        steps = 0

        def leave(_: Phase, stop_after: int = stop_after) -> Wish:
            nonlocal steps
            steps += 1
            return Wish.LEAVE if steps == stop_after else Wish.GO_ON

        first = phase_of(recipe, dropout=0.3, between_steps=leave)
        rows = list(first.run())
        assert first.steps_done == stop_after
        state = through_a_file(first.state_dict())
        torch.rand(stop_after)  # another process has other random numbers behind it
        second = Phase(small_net(dropout=0.3, seed=9), recipe, tiny_batches(recipe), task_of(recipe))
        second.load_state_dict(state)
        rows += second.run()
        assert digest_of(second.model.state_dict()) == whole
        assert [row.epoch for row in rows] == [1, 2]
        assert second.optimizer.passes == phase_passes(recipe)


def phase_passes(recipe: Recipe) -> int:
    return recipe.passes_per_step * recipe.epochs * 3


def test_a_resumed_epoch_reports_the_same_means() -> None:
    recipe = recipe_of(epochs=1)
    (whole,) = phase_of(recipe).run()
    first = phase_of(recipe, between_steps=lambda phase: Wish.LEAVE if phase.step == 2 else Wish.GO_ON)
    assert list(first.run()) == []
    second = phase_of(recipe)
    second.load_state_dict(through_a_file(first.state_dict()))
    (resumed,) = second.run()
    without_time = {name: value for name, value in vars(resumed).items() if name != "seconds"}
    assert without_time == {name: value for name, value in vars(whole).items() if name != "seconds"}


def test_state_of_another_recipe_is_refused() -> None:
    state = phase_of(recipe_of()).state_dict()
    with pytest.raises(ValueError, match="another recipe"):
        phase_of(recipe_of(seed=1)).load_state_dict(state)


def test_finish_ends_with_a_report_of_the_part_that_was_done() -> None:
    phase = phase_of(recipe_of(), between_steps=lambda phase: Wish.FINISH if phase.step == 2 else Wish.GO_ON)
    (report,) = phase.run()
    assert isinstance(report, EpochReport)
    assert report.epoch == 1
    assert report.units == 64
    assert phase.steps_done == 2


def test_frozen_statistics_leave_batch_norm_alone() -> None:
    phase = phase_of(recipe_of(batch_norm={"statistics": "frozen"}))
    before = {name: value.clone() for name, value in phase.model.named_buffers()}
    list(phase.run())
    assert all(torch.equal(before[name], value) for name, value in phase.model.named_buffers())


def test_gradient_clipping_bounds_what_the_base_step_sees() -> None:
    recipe = recipe_of("asam", grad_clip=1e-3, optimizer={"lr": 1.0, "momentum": 0, "weight_decay": 0}, epochs=1)
    phase = phase_of(recipe)
    before = torch.cat([p.detach().reshape(-1).clone() for p in phase.model.parameters()])
    next(phase.run())
    after = torch.cat([p.detach().reshape(-1) for p in phase.model.parameters()])
    assert 0 < (after - before).norm().item() <= 3e-3 * 1.01


def test_a_run_without_finite_steps_says_so_names_the_epoch_and_moves_no_weight() -> None:
    phase = phase_of(recipe_of())
    head = phase.model[-1]  # pyright: ignore
    head.bias.data.fill_(math.inf)
    before = digest_of(phase.model.state_dict())
    with pytest.raises(Diverged, match=r"epoch 1: 3 of 3 steps") as caught:
        list(phase.run())
    assert "lr" in (caught.value.hint or "")
    assert digest_of(phase.model.state_dict()) == before


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_other_base_optimizers_learn_too(name: str) -> None:
    phase = phase_of(recipe_of(optimizer={"name": name, "lr": 0.01}, epochs=4))
    reports = list(phase.run())
    assert reports[-1].loss < reports[0].loss


def test_bf16_trains_fp32_weights() -> None:
    phase = phase_of(recipe_of(precision="bf16"))
    list(phase.run())
    assert {p.dtype for p in phase.model.parameters()} == {torch.float32}


METHODS: dict[str, dict[str, Any]] = {
    "m": {"method": {"m": 8}},
    "steps": {"method": {"name": "sam", "ascent_steps": 3}},
    "random": {"method": {"direction": "random"}},
    "orthogonal": {"method": {"name": "sam", "rho": 0.05, "orthogonal": True}},
    "second order": {"method": {"name": "sam", "second_order": True}},
    "penalty": {"method": {"penalty": 0.5}},
    "micro batch": {"micro_batch": 8},
    "fp16": {"precision": "fp16"},
    "bf16": {"precision": "bf16"},
    "adam": {"optimizer": {"name": "adam", "lr": 0.01}},
    "adamw": {"optimizer": {"name": "adamw", "lr": 0.01}},
    "clipped": {"grad_clip": 0.5},
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_and_resumes_with_the_same_bits(name: str) -> None:
    fields: dict[str, Any] = {"epochs": 2, "batch_size": 32, "optimizer": {"lr": 0.05}}
    recipe = Recipe.model_validate(fields | METHODS[name])
    phase = phase_of(recipe, dropout=0.2)
    reports = list(phase.run())
    expected = digest_of(phase.model.state_dict())
    assert all(math.isfinite(report.loss) and report.skipped <= 1 for report in reports)
    assert phase.optimizer.passes == recipe.resolved().passes_per_step * phase.total_steps - report_skips(reports)

    asked = iter([Wish.GO_ON, Wish.LEAVE])
    first = phase_of(recipe, dropout=0.2, between_steps=lambda _: next(asked))
    list(first.run())
    kept = io.BytesIO()
    torch.save(first.state_dict(), kept)
    kept.seek(0)
    second = phase_of(recipe, dropout=0.2)
    second.load_state_dict(torch.load(kept, weights_only=True))
    assert second.steps_done == 2
    list(second.run())
    assert digest_of(second.model.state_dict()) == expected


def report_skips(reports: list[EpochReport]) -> int:
    """On the CPU a step whose first pass is not finite has no second one."""
    return sum(report.skipped for report in reports)


def test_a_micro_batch_changes_memory_and_nothing_else() -> None:
    whole, cut = phase_of(recipe_of("sam")), phase_of(recipe_of("sam", micro_batch=12))
    for phase in (whole, cut):
        phase.model.eval()
        phase._train_mode = lambda: None  # pyright: ignore  # BatchNorm would see other batches
    expected, found = list(whole.run()), list(cut.run())
    assert [report.units for report in found] == [report.units for report in expected]
    for a, b in zip(expected, found, strict=True):
        assert b.loss == pytest.approx(a.loss, rel=1e-4)
        assert b.accuracy == pytest.approx(a.accuracy, abs=0.02)


def test_a_scale_that_falls_below_one_is_divergence() -> None:
    phase = phase_of(recipe_of("sam", precision="fp16", epochs=20))
    assert phase.optimizer.scaler is not None
    with torch.no_grad():
        next(phase.model.parameters()).fill_(torch.nan)
    with pytest.raises(Diverged, match="epoch"):
        list(phase.run())


def test_every_field_of_the_recipe_arrives() -> None:
    """A recipe with nothing at its default reaches the optimizer whole."""
    fields = {"rho": 0.2, "eta": 0.03, "p": 3.0, "normalize": "filter", "normalize_bias": True, "scope": "norm"}
    spec = {"method": {"name": "asam", "ascent_steps": 2, "penalty": 0.5, "m": 8, **fields}, "seed": 5}
    optimizer = phase_of(Recipe.model_validate(spec | {"batch_norm": {"second_pass": "update"}})).optimizer
    for name, value in {**fields, "method": "asam", "ascent_steps": 2}.items():
        assert getattr(optimizer.perturbation, name) == value
    assert (optimizer.objective.penalty, optimizer.objective.m_sharpness) == (0.5, True)
    assert (optimizer.second_pass, optimizer.seed) == ("update", 5)
    assert (
        phase_of(Recipe.model_validate({"method": {"dialect": "davda54"}})).optimizer.perturbation.dialect == "davda54"
    )
    for name in ("orthogonal", "second_order"):
        assert getattr(phase_of(Recipe.model_validate({"method": {name: True}})).optimizer.objective, name)
    assert (
        phase_of(Recipe.model_validate({"method": {"direction": "random"}})).optimizer.perturbation.direction
        == "random"
    )
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    for name, kind in kinds.items():
        spec = {"name": name, "lr": 0.3, "weight_decay": 0.01, "betas": (0.8, 0.9)}
        base = phase_of(Recipe.model_validate({"optimizer": spec})).optimizer.base
        assert type(base) is kind
        assert base.defaults["weight_decay"] == 0.01
        assert name == "sgd" or tuple(base.defaults["betas"]) == (0.8, 0.9)
    nesterov = phase_of(Recipe.model_validate({"optimizer": {"momentum": 0.8, "nesterov": True}})).optimizer.base
    assert (nesterov.defaults["momentum"], nesterov.defaults["nesterov"]) == (0.8, True)


@pytest.mark.parametrize(
    ("fields", "forwards"),
    [({}, [32, 32]), ({"micro_batch": 12}, [12, 12, 8] * 2), ({"method": {"m": 12}}, [12, 12, 12, 12, 8, 8])],
)
def test_a_batch_goes_through_in_the_parts_that_the_recipe_says(fields: dict[str, Any], forwards: list[int]) -> None:
    seen: list[int] = []
    phase = phase_of(Recipe.model_validate({"batch_size": 32} | fields), between_steps=lambda _: Wish.LEAVE)
    phase.model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    list(phase.run())
    assert seen == forwards
