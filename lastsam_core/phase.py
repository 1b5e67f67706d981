"""The loop: epochs of sharpness-aware (or plain) steps over one model, as a generator of epoch reports.

A run is a function of (recipe, weights, images): data order, augmentation and the model's own noise are functions of
(seed, epoch, step), so a phase that continues from `state_dict()`, taken between any two steps, ends with the bits of
one that was never interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lastsam_core.data.chance import seed_for
from lastsam_core.errors import Diverged
from lastsam_core.recipe import Recipe
from lastsam_core.sam import SharpnessAware, StepStats
from lastsam_core.schedules import learning_rate
from lastsam_core.tasks import Batches, Task

__all__ = ["EpochReport", "Phase", "Wish", "make_base_optimizer"]

# A phase whose steps are skipped this often has no finite gradients to follow.
_SKIPPED_SHARE = 0.1

AUTOCAST = {"fp32": None, "tf32": None, "bf16": torch.bfloat16, "fp16": torch.float16}

# A scaler starts at 2^16: a scale below one means that gradients overflow without its help.
_SMALLEST_SCALE = 1.0


class Wish(Enum):
    """What the caller of a phase wants of it, asked for between two steps."""

    GO_ON = "go on"
    """The next step."""
    FINISH = "finish"
    """End here as if all epochs had been run."""
    LEAVE = "leave"
    """End here; the phase will be continued from its state."""


@dataclass(frozen=True, kw_only=True)
class EpochReport:
    """One epoch of training; means over its units (losses, accuracy) or its steps (norms, cosine).

    A unit is what the task's loss is a mean over: an image, a target token.
    """

    epoch: int
    """Counts from 1."""
    lr: float
    """Of the last step."""
    loss: float
    """Of the unperturbed pass, with label smoothing, nats."""
    perturbed_loss: float
    """At w + eps; equals `loss` without a perturbation."""
    accuracy: float
    """On the augmented training units as they went by, a fraction."""
    grad_norm: float
    eps_norm: float
    cosine: float | None
    """Of the angle between the gradients of the two passes; None where one of them vanished."""
    skipped: int
    """Steps left out because something was not finite."""
    units: int
    seconds: float

    @property
    def units_per_second(self) -> float:
        """Training units a second, all passes together."""
        return self.units / self.seconds if self.seconds > 0 else 0.0


class Phase:
    """Trains `model` in place by the recipe; `epoch` and `step` say how far it is.

    model: on its device; batches: of the same device, for the task. between_steps: called after each step, before the
    next one.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        batches: Batches,
        task: Task,
        *,
        between_steps: Callable[[Phase], Wish] = lambda _: Wish.GO_ON,
    ) -> None:
        self.model = model
        self.recipe = recipe.resolved()
        self.batches = batches
        self.task = task
        self.epoch = 0
        self.step = 0
        self.wish = Wish.GO_ON
        self.device = next(model.parameters()).device
        base = make_base_optimizer(model, self.recipe)
        method = self.recipe.method
        assert method.rho is not None
        self.optimizer = SharpnessAware(
            base,
            model=model,
            method=method.name,
            rho=method.rho,
            eta=method.eta,
            p=self.recipe.p,
            normalize=method.normalize,
            normalize_bias=method.normalize_bias,
            dialect=method.dialect,
            scope=method.scope,
            ascent_steps=method.ascent_steps,
            direction=method.direction,
            orthogonal=method.orthogonal,
            penalty=method.penalty,
            second_order=method.second_order,
            m_sharpness=method.m is not None,
            second_pass=self.recipe.batch_norm.second_pass,
            scaler=torch.amp.GradScaler(self.device.type) if self.recipe.precision == "fp16" else None,
            seed=self.recipe.seed,
        )
        if self.recipe.grad_clip is not None:
            base.register_step_pre_hook(self._clip)
        self._between_steps = between_steps
        self._autocast = AUTOCAST[self.recipe.precision]
        self._meter = _Meter(self.device)

    @property
    def total_steps(self) -> int:
        """Steps of the whole phase."""
        return self.recipe.epochs * self.batches.steps_per_epoch

    @property
    def steps_done(self) -> int:
        """Steps behind, over all epochs."""
        return self.epoch * self.batches.steps_per_epoch + self.step

    @property
    def lr(self) -> float:
        """The learning rate of the step at hand; at the start of epoch t it is the papers' lr(t)."""
        schedule, peak = self.recipe.schedule, self.recipe.optimizer.lr
        return learning_rate(schedule, peak, min(self.steps_done, self.total_steps), self.total_steps)

    @property
    def mean_loss(self) -> float | None:
        """Of the epoch so far; reading it waits for the device."""
        return self._meter.mean_loss()

    def run(self) -> Iterator[EpochReport]:
        """Train on from where the phase is; a report an epoch, a shorter last one where it was asked to finish.

        Raises:
            Diverged: the mean loss of an epoch is not finite, or too many of its steps had to be skipped.
        """
        while self.epoch < self.recipe.epochs and self.wish is Wish.GO_ON:
            self._train_mode()
            began = time.perf_counter()
            while self.step < self.batches.steps_per_epoch and self.wish is Wish.GO_ON:
                self._one_step()
                if self.step < self.batches.steps_per_epoch:
                    self._meter.seconds += time.perf_counter() - began
                    self.wish = self._between_steps(self)
                    began = time.perf_counter()
            if self.wish is Wish.LEAVE:
                return
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self._meter.seconds += time.perf_counter() - began
            if self.step:
                yield self._end_epoch()
                self.wish = self._between_steps(self) if self.wish is Wish.GO_ON else self.wish

    def state_dict(self) -> dict[str, Any]:
        """Everything a new Phase of the same recipe and images needs to continue; references, not copies."""
        return {
            "recipe": self.recipe.digest(),
            "epoch": self.epoch,
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "meter": self._meter.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state`; ValueError where it belongs to another recipe."""
        if state["recipe"] != self.recipe.digest():
            raise ValueError("the state belongs to a phase with another recipe")
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self._meter.load_state_dict(state["meter"])
        self.epoch, self.step = state["epoch"], state["step"]

    def _one_step(self) -> None:
        # By step and not by epoch: a phase of one epoch ends at the schedule's end too (docs/decisions/0004).
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        batch = self.batches.batch(self.epoch, self.step)
        # Dropout and the like: the same numbers at this step in every run, resumed or not.
        torch.manual_seed(seed_for(self.recipe.seed, "noise", self.epoch, self.step))
        size = self.recipe.method.m or self.recipe.micro_batch
        parts = [batch] if size is None else self.task.parts(batch, size)
        units = [self.task.units(part) for part in parts]
        right: list[Tensor] = []

        def closure_of(part: Any, index: int) -> Callable[[], Tensor]:
            def closure() -> Tensor:
                self.optimizer.zero_grad()
                with torch.autocast(self.device.type, dtype=self._autocast, enabled=self._autocast is not None):
                    scored = self.task.score(self.model, part)
                if len(right) == index:
                    right.append(scored.right)
                self.optimizer.backward(scored.loss)
                return scored.loss

            return closure

        skipped = self.optimizer.skipped
        closures = [closure_of(part, index) for index, part in enumerate(parts)]
        self.optimizer.step(closures, [n / sum(units) for n in units])
        self.optimizer.zero_grad()
        if self.optimizer.skipped > skipped:
            self._meter.skipped += 1
        else:
            assert self.optimizer.stats is not None
            self._meter.add(self.optimizer.stats, torch.stack(right).sum(), sum(units))
        self.step += 1
        if self._too_many_skipped():
            self._diverged()

    def _too_many_skipped(self) -> bool:
        scaler = self.optimizer.scaler
        if scaler is not None:  # skipping is how it finds the scale
            return self._meter.skipped > 0 and scaler.get_scale() < _SMALLEST_SCALE
        return self._meter.skipped > max(3, _SKIPPED_SHARE * self.batches.steps_per_epoch)

    def _end_epoch(self) -> EpochReport:
        if not self._meter.units:
            self._diverged()
        report = self._meter.report(epoch=self.epoch + 1, lr=self.optimizer.param_groups[0]["lr"])
        if not math.isfinite(report.loss):
            self._diverged()
        if self.step == self.batches.steps_per_epoch:
            self.epoch, self.step = self.epoch + 1, 0
        self._meter = _Meter(self.device)
        return report

    def _diverged(self) -> NoReturn:
        raise Diverged(
            f"Training diverged in epoch {self.epoch + 1}: {self._meter.skipped} of {self.step} steps had a loss or a "
            "gradient that is not finite.",
            hint="Lower optimizer.lr or method.rho.",
        )

    def _train_mode(self) -> None:
        self.model.train()
        if self.recipe.batch_norm.statistics == "frozen":
            for module in self.model.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()

    def _clip(self, optimizer: torch.optim.Optimizer, *_: object) -> None:
        assert self.recipe.grad_clip is not None
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, self.recipe.grad_clip)


def make_base_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's base optimizer over all of the model's parameters, fused: the fastest on both kinds of device."""
    spec = recipe.optimizer
    if spec.name == "sgd":
        return torch.optim.SGD(
            model.parameters(),
            lr=spec.lr,
            momentum=spec.momentum,
            nesterov=spec.nesterov,
            weight_decay=spec.weight_decay,
            fused=True,
        )
    kind = torch.optim.Adam if spec.name == "adam" else torch.optim.AdamW
    return kind(model.parameters(), lr=spec.lr, betas=spec.betas, weight_decay=spec.weight_decay, fused=True)


class _Meter:
    """Sums of an epoch, kept on the device in float64 so that no step waits and a resumed epoch adds up alike."""

    _SUMS = ("loss", "perturbed_loss", "right", "grad_norm", "eps_norm", "cosine", "cosines")
    _COUNTS = ("steps", "skipped", "units", "seconds")

    def __init__(self, device: torch.device) -> None:
        self.steps = 0
        self.skipped = 0
        self.units = 0
        self.seconds = 0.0
        self._sums = torch.zeros(len(self._SUMS), dtype=torch.float64, device=device)

    def add(self, stats: StepStats, right: Tensor, n: int) -> None:
        known = stats.cosine.isfinite()
        row = (
            stats.loss * n,
            stats.perturbed_loss * n,
            right,
            stats.grad_norm,
            stats.eps_norm,
            torch.where(known, stats.cosine, 0.0),
            known,
        )
        self._sums += torch.stack([value.to(torch.float64) for value in row])
        self.steps += 1
        self.units += n

    def mean_loss(self) -> float | None:
        return self._sums[0].item() / self.units if self.units else None

    def report(self, *, epoch: int, lr: float) -> EpochReport:
        sums = dict(zip(self._SUMS, self._sums.tolist(), strict=True))
        return EpochReport(
            epoch=epoch,
            lr=lr,
            loss=sums["loss"] / self.units,
            perturbed_loss=sums["perturbed_loss"] / self.units,
            accuracy=sums["right"] / self.units,
            grad_norm=sums["grad_norm"] / self.steps,
            eps_norm=sums["eps_norm"] / self.steps,
            cosine=sums["cosine"] / sums["cosines"] if sums["cosines"] else None,
            skipped=self.skipped,
            units=self.units,
            seconds=self.seconds,
        )

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._COUNTS} | {"sums": self._sums}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in self._COUNTS:
            setattr(self, name, state[name])
        self._sums.copy_(state["sums"])
