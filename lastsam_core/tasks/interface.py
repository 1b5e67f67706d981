"""The two things that a phase asks for: batches by their place in the run, and a task that scores them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

__all__ = ["Batches", "Scored", "Task"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Scored:
    """A forward pass over a batch, or over a part of one."""

    loss: Tensor
    """0-dim, with its graph: the mean over the batch's units, nats."""
    right: Tensor
    """0-dim: how many units were predicted right; on the device, so that nothing waits."""


class Task(Protocol):
    """Turns batches into losses. A unit is what the loss is a mean over: an image, a target token."""

    def score(self, model: nn.Module, batch: Any) -> Scored:
        """The training loss of `model`, in its present mode, on the batch."""
        ...

    def units(self, batch: Any) -> int:
        """How many units the batch has, known to the host."""
        ...

    def parts(self, batch: Any, size: int) -> list[Any]:
        """The batch cut, in order, into parts of about `size` examples; none is empty, only the last may differ."""
        ...


class Batches(Protocol):
    """Batches as a pure function of (epoch, step), so that a run can go on anywhere."""

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch."""
        ...

    def batch(self, epoch: int, step: int) -> Any:
        """Batch `step` (0-based) of epoch `epoch`, on the model's device."""
        ...
