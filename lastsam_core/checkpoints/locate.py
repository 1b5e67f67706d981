"""Where in the saved object the weights are: bare, or under a key such as "state_dict", up to three levels deep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from lastsam_core.checkpoints.inert import OrderedMapping
from lastsam_core.checkpoints.tensors import SAVE_HINT, TensorRef, UnsupportedTensor
from lastsam_core.errors import CheckpointError, NotACheckpoint

__all__ = ["Kind", "Located", "locate"]

Kind = Literal["dict", "OrderedDict"]

# What people call the weights, the likelier name first: of several state dicts the first is meant.
NAMES = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "net_state_dict", "params", "weights",
    "module", "backbone", "encoder", "ema", "model_ema", "ema_state_dict", "state_dict_ema", "swa_model",
)  # fmt: skip
MAX_DEPTH = 3
MAX_TENSORS = 20_000
MAX_COMPANIONS = 50


@dataclass(frozen=True, kw_only=True)
class Located:
    """The weights within the saved object."""

    wrapper: tuple[str, ...]
    """The keys that lead to them; empty for a bare state dict."""
    kinds: tuple[Kind, ...]
    """What each wrapping dictionary was, and last the state dict itself."""
    tensors: dict[str, TensorRef | UnsupportedTensor]
    """Key -> tensor, in the file's order."""
    companions: tuple[str, ...]
    """What else lies beside them (optimizer, epoch, ...), dotted."""
    holdout_id: str | None
    """What `lastsam train` wrote beside them: which training images were kept from them (data/selection.py)."""


def locate(value: object) -> Located:
    """The most likely state dict; NotACheckpoint where the object holds none."""
    if not isinstance(value, dict):
        raise NotACheckpoint(f"The file holds {_what(value)}, not a state dict.", hint=SAVE_HINT)
    found = sorted(
        _candidates(value, (), set()), key=lambda path: [NAMES.index(k) if k in NAMES else len(NAMES) for k in path]
    )
    if not found:
        raise _nothing_found(value)
    path = found[0]
    kinds: list[Kind] = []
    companions: list[str] = []
    here: dict[Any, Any] = value
    for depth, key in enumerate(path):
        kinds.append(_kind(here))
        companions += [".".join((*path[:depth], _plain(other))) for other in here if other != key]
        here = here[key]
    if len(here) > MAX_TENSORS:
        raise CheckpointError(f"The file holds {len(here)} tensors; {MAX_TENSORS} are allowed.", hint=SAVE_HINT)
    for name in here:
        if not name.isprintable() or not 0 < len(name) <= 512:
            raise CheckpointError(f"The tensor name {name[:50]!a} is not plain text.", hint=SAVE_HINT)
    return Located(
        wrapper=path,
        kinds=(*kinds, _kind(here)),
        tensors=dict(here),
        companions=tuple(companions[:MAX_COMPANIONS]),
        holdout_id=_holdout_id(value) if path else None,
    )


def _candidates(mapping: dict[Any, Any], path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[str, ...]]:
    """Each dictionary is looked at once, so that a file of dictionaries that share each other takes linear time."""
    if id(mapping) in seen:
        return
    seen.add(id(mapping))
    if mapping and all(isinstance(k, str) and _is_tensor(v) for k, v in mapping.items()):
        yield path
    elif len(path) < MAX_DEPTH and "param_groups" not in mapping:  # an optimizer's state is no candidate
        for key, value in mapping.items():
            if isinstance(value, dict) and isinstance(key, str) and key.isprintable() and 0 < len(key) <= 100:
                yield from _candidates(value, (*path, key), seen)


def _holdout_id(value: dict[Any, Any]) -> str | None:
    note = value.get("lastsam")
    named = note.get("holdout_id") if isinstance(note, dict) else None
    return named if isinstance(named, str) and re.fullmatch(r"[0-9a-f]{16}", named) else None


def _is_tensor(value: object) -> bool:
    return isinstance(value, (TensorRef, UnsupportedTensor))


def _kind(mapping: dict[Any, Any]) -> Kind:
    return "OrderedDict" if isinstance(mapping, OrderedMapping) else "dict"


def _nothing_found(value: dict[Any, Any]) -> CheckpointError:
    names = ", ".join(_plain(key) for key in list(value)[:8]) or "nothing"
    tensors = sum(map(_is_tensor, value.values()))
    if tensors:
        return NotACheckpoint(
            f"The file mixes {tensors} tensors with other things in one dictionary (it holds: {names}).", hint=SAVE_HINT
        )
    return NotACheckpoint(f"No state dict was found in the file (it holds: {names}).", hint=SAVE_HINT)


def _plain(key: object) -> str:
    text = key if isinstance(key, str) else repr(key)[:60]
    return text[:60] if text.isprintable() else ascii(text[:60])


def _what(value: object) -> str:
    if _is_tensor(value):
        return "a single tensor"
    return f"a {type(value).__name__}" if isinstance(value, (list, tuple, int, float, str)) else "another object"
