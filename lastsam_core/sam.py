"""SharpnessAware: any torch optimizer, fed with the gradient at the worst nearby weights instead of the gradient here.

One step is Foret et al. 2021, alg. 1 (SAM) or Kwon et al. 2021, alg. 1 (ASAM): gradient g at w; eps from g
(perturbation.py); gradient g_s at w + eps; back to w; the base optimizer steps at w with g_s. So weight decay is taken
at the unperturbed weights and momentum sees g_s only. reference.py says the same in slow, plain loops.
"""

# pyright: reportPrivateImportUsage=false
# torch._foreach_* (multi-tensor kernels) have no public names; torch.optim is built on them.

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lastsam_core.perturbation import Leaf, Perturbation, epsilon, global_norm, leaves_of
from lastsam_core.second_pass import RandomState, Statistics, frozen_statistics, replay

__all__ = ["SharpnessAware", "StepStats"]

Closure = Callable[[], Any]
_STATE_KEY = "sharpness_aware"


@dataclass(frozen=True, kw_only=True)
class StepStats:
    """What the last step saw; 0-dim tensors on the device, so that reading none of them waits for it."""

    loss: Tensor
    """L_B(w), the unperturbed loss."""
    perturbed_loss: Tensor
    """L_B(w + eps); equals `loss` where the step took one pass."""
    grad_norm: Tensor
    """||g||_2 over all parameters of the optimizer."""
    eps_norm: Tensor
    """||eps||_2."""
    cosine: Tensor
    """Cosine of the angle between g and g_s; NaN where one of them is zero."""


class SharpnessAware(Optimizer):
    """SAM and ASAM around a torch optimizer; it shares the base's parameter groups, state and defaults.

    step(closure) calls the closure once a pass (`passes` counts them). Each pass starts without gradients; the closure
    does zero_grad, forward and backward and returns the loss. The gradients that stood before the step are put aside
    until it succeeds: call zero_grad() after a step to save that memory. What must happen to g_s before the base uses
    it (clipping) belongs in `base.register_step_pre_hook`; learning-rate schedulers take this optimizer or the base.

    Args:
        base: any torch optimizer instance whose parameters are the model's; not LBFGS, which runs its own closures.
        model: where names, normalisation layers and filters are read off; DDP or compiled wrappers are fine.
        method: "asam", "sam", or "sgd" (no perturbation). "sgd" or rho = 0 take one pass and do what the base does.
        rho, eta, p, normalize, normalize_bias, dialect, scope: see `perturbation.Perturbation`.
        second_pass: "frozen": the perturbed pass leaves running statistics alone; "update": it may change them.
        guard: skip a step (counted in `skipped`) whose losses or gradient norms are not finite; weights, running
            statistics and the base's state are then bit-identical to before. Costs one wait for the device a step.

    Raises:
        ValueError: a setting out of range, a parameter that is not the model's, scope "norm" without such layers.
        TypeError: a base that is no torch optimizer, or LBFGS.
    """

    def __init__(
        self,
        base: Optimizer,
        *,
        model: nn.Module,
        method: Literal["asam", "sam", "sgd"] = "asam",
        rho: float = 0.5,
        eta: float = 0.01,
        p: float = 2.0,
        normalize: Literal["element", "filter"] = "element",
        normalize_bias: bool = False,
        dialect: Literal["paper", "davda54"] = "paper",
        scope: Literal["all", "norm"] = "all",
        second_pass: Literal["frozen", "update"] = "frozen",
        guard: bool = True,
    ) -> None:
        if not isinstance(base, Optimizer) or isinstance(base, torch.optim.LBFGS | SharpnessAware):
            raise TypeError(f"base must be a torch optimizer that takes plain steps, got {type(base).__name__}")
        if method not in ("asam", "sam", "sgd"):
            raise ValueError(f"method must be one of asam, sam, sgd, got {method!r}")
        if second_pass not in ("frozen", "update"):
            raise ValueError(f"second_pass must be frozen or update, got {second_pass!r}")
        self.base = base
        self.model = model
        self.method = method
        self.perturbation = Perturbation(
            method="sam" if method == "sgd" else method,
            rho=0.0 if method == "sgd" else rho,
            eta=eta,
            p=p,
            normalize=normalize,
            normalize_bias=normalize_bias,
            dialect=dialect,
            scope=scope,
        )
        self.second_pass = second_pass
        self.guard = guard
        self.passes = 0
        self.skipped = 0
        self.stats: StepStats | None = None
        self._saved: dict[int, Tensor] = {}
        self._leaves: list[Leaf] = []
        self._find_leaves()
        # Optimizer.__init__ would give us groups and state of our own; this sets up its hooks and nothing else.
        Optimizer.__setstate__(self, {})
        for hooks in ("state_dict_pre", "state_dict_post", "load_state_dict_pre", "load_state_dict_post"):
            setattr(self, f"_optimizer_{hooks}_hooks", getattr(base, f"_optimizer_{hooks}_hooks"))

    # Always the base's own objects, also after base.load_state_dict() has replaced them.
    @property
    def param_groups(self) -> list[dict[str, Any]]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.param_groups

    @property
    def state(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.state

    @property
    def defaults(self) -> dict[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.base.defaults

    @property
    def passes_per_step(self) -> int:
        """Gradient passes a step: 1 without a perturbation, else 2."""
        return 1 if self.perturbation.rho == 0 else 2

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Give the base one more group, of parameters of the model."""
        self.base.add_param_group(param_group)
        self._find_leaves()

    def step(self, closure: Closure | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One descent step; returns the unperturbed loss, detached.

        An error in either pass leaves weights, gradients, running statistics and random numbers as they were.
        """
        if closure is None:
            raise TypeError("SharpnessAware.step needs a closure that does zero_grad, forward and backward")
        if len(self._leaves) != sum(len(group["params"]) for group in self.param_groups):
            self._find_leaves()
        with torch.no_grad():
            return self._step(closure)

    def _step(self, closure: Closure) -> Tensor:
        parameters = [leaf.parameter for leaf in self._leaves]
        statistics, start = Statistics(self.model), RandomState.now()
        with _undone_on_error(parameters, statistics, start):
            loss = self._pass(closure)
            gradients = [p.grad for p in parameters]
            grad_norm = _norm(gradients)
            # On the CPU looking is free, and sooner is better: some losses raise an error at non-finite weights.
            if self.passes_per_step == 1 or (loss.device.type == "cpu" and not self._healthy(loss, grad_norm)):
                perturbed_loss, eps_norm, cosine = loss, torch.zeros_like(grad_norm), torch.ones_like(grad_norm)
                descent_norm = grad_norm
            else:
                with self._perturbed(gradients) as eps_norm:
                    for p in parameters:
                        p.grad = None
                    frozen = frozen_statistics(self.model) if self.second_pass == "frozen" else nullcontext()
                    with replay(start), frozen:
                        perturbed_loss = self._pass(closure)
                descent = [p.grad for p in parameters]
                descent_norm = _norm(descent)
                cosine = _inner(gradients, descent) / (grad_norm * descent_norm)
        self.stats = StepStats(
            loss=loss, perturbed_loss=perturbed_loss, grad_norm=grad_norm, eps_norm=eps_norm, cosine=cosine
        )
        if self._healthy(loss, perturbed_loss, grad_norm, descent_norm):
            self.base.step()
        else:
            statistics.restore()
            self.skipped += 1
        return loss

    def _pass(self, closure: Closure) -> Tensor:
        # Inside an autocast region the casts of the weights are cached; the other pass must not see them.
        torch.clear_autocast_cache()
        with torch.enable_grad():
            loss = torch.as_tensor(closure()).detach()
        torch.clear_autocast_cache()
        self.passes += 1
        return loss

    @contextmanager
    def _perturbed(self, gradients: Sequence[Tensor | None]) -> Iterator[Tensor]:
        """Weights at w + eps inside, at w bit for bit outside; yields ||eps||."""
        moved = [
            (i, leaf, g)
            for i, (leaf, g) in enumerate(zip(self._leaves, gradients, strict=True))
            if g is not None and (leaf.in_norm or self.perturbation.scope == "all")
        ]
        eps = epsilon(self.perturbation, [leaf for _, leaf, _ in moved], [g for _, _, g in moved])
        weights = [leaf.parameter for _, leaf, _ in moved]
        saved = [self._buffer(i, leaf.parameter) for i, leaf, _ in moved]
        eps_norm = _norm(eps)
        if weights:
            # A copy, since (w + eps) - eps is not w in floating point.
            torch._foreach_copy_(saved, weights)
        try:
            if weights:
                torch._foreach_add_(weights, eps)
            del eps
            yield eps_norm
        finally:
            if weights:
                torch._foreach_copy_(weights, saved)

    def _buffer(self, i: int, like: Tensor) -> Tensor:
        kept = self._saved.get(i)
        if kept is None or kept.shape != like.shape or kept.dtype != like.dtype or kept.device != like.device:
            self._saved[i] = kept = torch.empty_like(like, requires_grad=False)
        return kept

    def _healthy(self, *values: Tensor) -> bool:
        # The only place where the host waits for the device. A fused base could take the answer as `found_inf`
        # and skip by itself, as it does for torch's GradScaler.
        if not self.guard:
            return True
        return bool(torch.stack([value.to(values[0].device, torch.float64) for value in values]).isfinite().all())

    def _find_leaves(self) -> None:
        parameters = [p for group in self.param_groups for p in group["params"]]
        self._leaves = leaves_of(self.model, among=parameters)
        if len(self._leaves) != len(parameters):
            raise ValueError("the base optimizer holds parameters that are not the model's")
        if self.perturbation.scope == "norm" and not any(leaf.in_norm for leaf in self._leaves):
            raise ValueError('scope "norm" needs normalisation layers among the optimized parameters; there are none')

    def _settings(self) -> dict[str, Any]:
        return asdict(self.perturbation) | {"method": self.method, "second_pass": self.second_pass}

    def state_dict(self) -> dict[str, Any]:
        """The base's state_dict with one more key: the settings, `passes` and `skipped`. References, not copies.

        Nothing of this optimizer depends on where the random numbers stand; whoever resumes puts those back.
        """
        own = {"settings": self._settings(), "passes": self.passes, "skipped": self.skipped}
        return {**self.base.state_dict(), _STATE_KEY: own}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Continue from `state_dict`, bit for bit.

        Raises:
            ValueError: it was not saved by this class, or with other settings.
        """
        own = state_dict.get(_STATE_KEY)
        if own is None:
            raise ValueError("not the state of a SharpnessAware optimizer; load a plain optimizer's state into .base")
        differing = {
            name: (own["settings"].get(name), value)
            for name, value in self._settings().items()
            if own["settings"].get(name) != value
        }
        if differing:
            said = ", ".join(f"{name} was {old!r} and is {new!r}" for name, (old, new) in differing.items())
            raise ValueError(f"the state was saved with other settings: {said}")
        self.base.load_state_dict({key: value for key, value in state_dict.items() if key != _STATE_KEY})
        self.passes, self.skipped = own["passes"], own["skipped"]
        self._find_leaves()


@contextmanager
def _undone_on_error(parameters: Sequence[Tensor], statistics: Statistics, start: RandomState) -> Iterator[None]:
    before = [p.grad for p in parameters]
    for p in parameters:
        p.grad = None
    try:
        yield
    except BaseException:
        for p, grad in zip(parameters, before, strict=True):
            p.grad = grad
        statistics.restore()
        start.restore()
        raise


def _norm(tensors: Sequence[Tensor | None]) -> Tensor:
    present = [tensor for tensor in tensors if tensor is not None]
    return global_norm(present) if present else torch.zeros(())


def _inner(left: Sequence[Tensor | None], right: Sequence[Tensor | None]) -> Tensor:
    pairs = [(a, b) for a, b in zip(left, right, strict=True) if a is not None and b is not None]
    if not pairs:
        return torch.zeros(())
    products = [torch.dot(a.reshape(-1), b.reshape(-1)) for a, b in pairs]
    return torch.stack([product.to(products[0].device) for product in products]).sum()
