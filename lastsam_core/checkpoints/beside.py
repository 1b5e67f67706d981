"""What lies in a checkpoint file beside the weights: how far training was, its optimizer's state, averaged copies.

Only looked up here, at the places where people put it; nothing of it is believed yet (optimizer.py, canonical.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lastsam_core.checkpoints.locate import EMA_NAMES, Located, state_dicts, within
from lastsam_core.errors import CheckpointError

__all__ = ["Beside", "look_beside"]

EPOCH_NAMES = ("epoch", "current_epoch", "last_epoch", "epochs_run", "start_epoch")
OPTIMIZER_NAMES = (
    "optimizer", "optimizer_state_dict", "optimizer_state", "optim", "optim_state_dict", "optim_state", "opt",
    "opt_state_dict", "base_optimizer", "optimizers", "optimizer_states",
)  # fmt: skip
MAX_EPOCH = 10**7
MAX_AVERAGES = 4


@dataclass(frozen=True, kw_only=True)
class Beside:
    """What else the saved object holds, as the file describes it."""

    epoch: int | None = None
    """What it says of how far its training was."""
    optimizer: dict[Any, Any] | None = None
    """Something with the keys of torch.optim.Optimizer.state_dict: state, param_groups."""
    averages: tuple[Located, ...] = ()
    """State dicts under a name for averaged weights, the likeliest first."""
    storages: Mapping[str, memoryview] = field(default_factory=dict)
    """Storage key -> its bytes."""


def look_beside(value: object, path: tuple[str, ...], storages: Mapping[str, memoryview]) -> Beside:
    """What lies beside the weights that `locate` found at `path` within the saved object."""
    levels = list(_levels(value, path))
    epochs, optimizers = map(_epoch, levels), map(_optimizer, levels)
    return Beside(
        epoch=next((epoch for epoch in epochs if epoch is not None), None),
        optimizer=next((optimizer for optimizer in optimizers if optimizer is not None), None),
        averages=tuple(_averages(value, path)),
        storages=storages,
    )


def _levels(value: object, path: tuple[str, ...]) -> Iterator[dict[Any, Any]]:
    """The dictionaries that lead to the weights, and theirs, outermost first."""
    for key in (*path, None):
        if isinstance(value, dict):
            yield value
            value = value.get(key)


def _epoch(level: dict[Any, Any]) -> int | None:
    for name in EPOCH_NAMES:
        if type(found := level.get(name)) is int and 0 <= found <= MAX_EPOCH:
            return found
    return None


def _optimizer(level: dict[Any, Any]) -> dict[Any, Any] | None:
    for name in OPTIMIZER_NAMES:
        found = level.get(name)
        if isinstance(found, list) and found:  # Lightning keeps one for each optimizer
            found = found[0]
        if isinstance(found, dict) and "state" in found and "param_groups" in found:
            return found
    return None


def _averages(value: object, path: tuple[str, ...]) -> Iterator[Located]:
    if not isinstance(value, dict):
        return
    named = [other for other in state_dicts(value) if other != path and EMA_NAMES & set(other)]
    for other in named[:MAX_AVERAGES]:
        try:
            yield within(value, other)
        except CheckpointError:
            continue
