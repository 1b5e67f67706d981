"""The optimizer's state beside the weights, matched to the model's parameters: torch's own format, read without torch.

{"state": {index: {"momentum_buffer": T, ...}}, "param_groups": [{"params": [index, ...], "lr": ...}, ...]}: indices
stand for parameters in the order in which the groups list them (torch.optim.Optimizer.state_dict). That order is the
model's own where there is one group, so it is held against the file's order of learnable tensors; every shape has to
agree. Whatever does not is not used, which is no reason to refuse the weights.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lastsam_core.checkpoints.conventions import PREFIXES
from lastsam_core.checkpoints.layout import OptimizerFound, TensorEntry
from lastsam_core.checkpoints.tensors import FLOATS, ITEM_SIZES, RawTensor, TensorRef, UnsupportedTensor, materialise
from lastsam_core.checkpoints.values import all_finite, any_negative
from lastsam_core.errors import CheckpointError

__all__ = ["ADAM", "BUFFERS", "SGD", "read_optimizer"]

Kind = Literal["sgd", "adam"]

SGD = {"momentum": "momentum_buffer"}
ADAM = {"exp_avg": "exp_avg", "exp_avg_sq": "exp_avg_sq", "step": "step"}
BUFFERS: dict[Kind, dict[str, str]] = {"sgd": SGD, "adam": ADAM}
"""Prefix in the canonical file -> torch's name of the buffer."""

MAX_STEP = 2**53
NUMBERS = {"float32": "<f", "float64": "<d", "int64": "<q", "int32": "<i"}


class _Unusable(Exception):
    """The state is not one that a phase can start with; the text says why."""


@dataclass(frozen=True, kw_only=True)
class _Saved:
    groups: list[dict[Any, Any]]
    indices: list[int]
    entries: list[dict[Any, Any]]
    """The state of each index, empty where it has none."""


def read_optimizer(
    saved: dict[Any, Any], learnable: Sequence[TensorEntry], storages: Mapping[str, memoryview], room: int
) -> tuple[OptimizerFound, dict[str, RawTensor]]:
    """What the state is, and its buffers as `momentum.NAME`, or `exp_avg.NAME`, `exp_avg_sq.NAME` and `step.NAME`.

    learnable: the model's parameters in the file's order. room: bytes that the buffers may have together. Never
    refuses: what cannot be used is said in `reason`, with no buffers.
    """
    try:
        state = _checked(saved, len(learnable))
        kind = _kind(state.entries)
        owners = _owners(state, learnable, kind)
        tensors = _buffers(state, owners, kind, storages, room)
    except _Unusable as error:
        return OptimizerFound(usable=False, reason=str(error)), {}
    except CheckpointError as error:
        return OptimizerFound(usable=False, reason=error.message.rstrip(".")), {}
    return OptimizerFound(usable=True, kind=kind, lr=_rate(state.groups[0].get("lr"), storages)), tensors


def _checked(saved: dict[Any, Any], count: int) -> _Saved:
    state, groups = saved["state"], saved["param_groups"]
    if not isinstance(state, dict) or not isinstance(groups, list) or not groups:
        raise _Unusable("it is not in torch.optim's format")
    indices: list[int] = []
    for group in groups:
        held = group.get("params") if isinstance(group, dict) else None
        if not isinstance(held, list) or not held:
            raise _Unusable("its parameter groups are damaged")
        # Before they are put together: a million groups may name one list.
        if len(indices) + len(held) > count:
            raise _Unusable(f"it is of more parameters than the {count} of the weights")
        indices += held
    if any(type(index) is not int for index in indices) or len(set(indices)) != len(indices):
        raise _Unusable("its parameters are not numbered")
    if len(indices) != count:
        raise _Unusable(f"it is of {len(indices)} parameters, the weights have {count}")
    entries = [state.get(index) for index in indices]
    return _Saved(
        groups=groups, indices=indices, entries=[entry if isinstance(entry, dict) else {} for entry in entries]
    )


def _kind(entries: Sequence[dict[Any, Any]]) -> Kind:
    if any("exp_avg_sq" in entry for entry in entries):
        return "adam"
    held = [entry for entry in entries if isinstance(entry.get("momentum_buffer"), (TensorRef, UnsupportedTensor))]
    if any("square_avg" in entry for entry in held):
        raise _Unusable("it is neither SGD's nor Adam's")
    if not held:
        raise _Unusable("it holds no momentum: it is another optimizer's, or had not made a step")
    return "sgd"


def _owners(state: _Saved, learnable: Sequence[TensorEntry], kind: Kind) -> list[TensorEntry]:
    """Each index's parameter."""
    wanted = [name for name in BUFFERS[kind].values() if name != "step"]
    for order in _orders(state.groups, learnable):
        if all(
            getattr(entry.get(name), "shape", owner.shape) == owner.shape
            for entry, owner in zip(state.entries, order, strict=True)
            for name in wanted
        ):
            return order
    raise _Unusable("its shapes do not follow the order of the weights")


def _orders(groups: Sequence[dict[Any, Any]], learnable: Sequence[TensorEntry]) -> Iterator[list[TensorEntry]]:
    """The orders in which the groups may list the parameters."""
    named = [names for group in groups if isinstance(names := group.get("param_names"), list)]
    if len(named) == len(groups) and all(len(names) <= len(learnable) for names in named):
        by_name = {_bare(entry.key): entry for entry in learnable}
        names = [_bare(name) for held in named for name in held if isinstance(name, str)]
        if sorted(names) == sorted(by_name) and len(names) == len(learnable):
            yield [by_name[name] for name in names]
        return
    at = {entry.canonical: place for place, entry in enumerate(learnable)}
    pairs = ((name, f"{name.removesuffix('bias')}weight") for name in at if name.endswith("bias"))
    if any(weight in at and at[weight] > at[bias] for bias, weight in pairs):
        return  # sorted or shuffled: torch's layers have their weight before their bias
    yield list(learnable)
    if len(groups) > 1:  # weight decay on matrices and filters only, as timm and many others group them
        flat = [entry for entry in learnable if len(entry.shape) <= 1]
        rest = [entry for entry in learnable if len(entry.shape) > 1]
        yield flat + rest
        yield rest + flat


def _bare(name: str) -> str:
    while prefix := next((known for known in PREFIXES if name.startswith(known)), None):
        name = name.removeprefix(prefix)
    return name


def _buffers(
    state: _Saved, owners: Sequence[TensorEntry], kind: Kind, storages: Mapping[str, memoryview], room: int
) -> dict[str, RawTensor]:
    refs: dict[str, TensorRef | UnsupportedTensor] = {}
    steps: dict[str, RawTensor] = {}
    for entry, owner in zip(state.entries, owners, strict=True):
        held = {prefix: entry.get(name) for prefix, name in BUFFERS[kind].items()}
        if all(value is None for value in held.values()):
            continue
        if kind == "adam":
            steps[f"step.{owner.canonical}"] = _step(held.pop("step"), storages)
        for prefix, value in held.items():
            if not isinstance(value, (TensorRef, UnsupportedTensor)):
                raise _Unusable(f"{prefix} of {owner.canonical} is no tensor")
            refs[f"{prefix}.{owner.canonical}"] = value
    sizes = [ref.numel * ITEM_SIZES.get(ref.dtype, 1) for ref in refs.values() if isinstance(ref, TensorRef)]
    if sum(sizes) > room:
        raise _Unusable("its tensors share their numbers")
    tensors = materialise(refs, storages)
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATS:
            raise _Unusable(f"{name} is stored as {tensor.dtype}")
        if not all_finite(tensor):
            raise _Unusable(f"{name} holds NaN or numbers beyond the range of float32")
        if name.startswith("exp_avg_sq.") and any_negative(tensor):
            raise _Unusable(f"{name} holds negative squares")
    return tensors | steps


def _step(value: object, storages: Mapping[str, memoryview]) -> RawTensor:
    number = _number(value, storages)
    if number is None or not 0 <= number <= MAX_STEP or number != int(number):
        raise _Unusable("its count of steps is damaged")
    return RawTensor(dtype="float32", shape=(), data=memoryview(struct.pack("<f", number)))


def _rate(value: object, storages: Mapping[str, memoryview]) -> float | None:
    try:
        number = _number(value, storages)
    except CheckpointError:
        return None
    return number if number is not None and number >= 0 else None


def _number(value: object, storages: Mapping[str, memoryview]) -> float | None:
    """A finite number, plain or in a tensor of one element."""
    if isinstance(value, TensorRef) and value.numel == 1 and value.dtype in NUMBERS:
        (value,) = struct.unpack(NUMBERS[value.dtype], materialise({"number": value}, storages)["number"].data)
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # Before it becomes a float, which the largest whole numbers of a pickle cannot; NaN fails as well.
    return float(value) if -MAX_STEP <= value <= MAX_STEP else None
