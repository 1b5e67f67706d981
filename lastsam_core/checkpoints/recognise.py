"""Which architecture a set of tensor names and shapes belongs to, and under which naming convention.

Every convention is tried against every architecture's exact list (models/shapes.json); only a complete fit counts.
Where nothing fits, the nearest is named together with the tensors that differ.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lastsam_core.checkpoints.conventions import CONVENTIONS, PREFIXES, canonical_key
from lastsam_core.errors import ArchitectureMismatch, UnknownArchitecture
from lastsam_core.models.registry import ARCHITECTURES, architecture, head_weight, tensor_shapes

__all__ = ["Recognition", "recognise"]

Shape = tuple[int, ...]
MAX_CLASSES = 100_000


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """What a state dict turned out to be."""

    arch: str
    """A name of ARCHITECTURES."""
    num_classes: int
    """Outputs of the head."""
    convention: str
    """A name of conventions.CONVENTIONS."""
    prefix: str
    """What every key starts with."""
    mapping: dict[str, str]
    """Canonical key -> key in the file, prefix included."""
    notes: tuple[str, ...]
    """Sentences worth showing to the user."""


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One architecture under one convention."""

    arch: str
    convention: str
    num_classes: int
    mapping: dict[str, str]
    distance: int
    """How many tensors differ."""


def recognise(shapes: Mapping[str, Shape], arch: str = "auto", num_classes: int | None = None) -> Recognition:
    """What the tensors (key -> shape) are.

    UnknownArchitecture where they fit nothing known; ArchitectureMismatch where they do not fit the `arch` or the
    `num_classes` asked for. BatchNorm's num_batches_tracked may be missing, as before torch 0.4.1.
    """
    if arch != "auto":
        architecture(arch)
    prefix, stripped = _strip(shapes)
    attempts = [attempt for convention in CONVENTIONS for attempt in _attempts(stripped, convention)]
    fitting = [attempt for attempt in attempts if attempt.distance == 0]
    wanted = [attempt for attempt in fitting if arch in ("auto", attempt.arch)]
    if not wanted and arch != "auto":
        raise _mismatch(stripped, arch, attempts, fitting)
    if not wanted:
        raise _unknown(stripped, attempts)
    best = wanted[0]
    if num_classes is not None and num_classes != best.num_classes:
        raise ArchitectureMismatch(
            f"The checkpoint's last layer has {best.num_classes} outputs, {num_classes} were asked for.",
            hint="Leave model.num_classes out; it is read off the checkpoint.",
        )
    mapping = {canonical: prefix + key for canonical, key in best.mapping.items()}
    return Recognition(
        arch=best.arch,
        num_classes=best.num_classes,
        convention=best.convention,
        prefix=prefix,
        mapping=mapping,
        notes=_notes(best),
    )


def _strip(shapes: Mapping[str, Shape]) -> tuple[str, dict[str, Shape]]:
    prefix, rest = "", dict(shapes)
    while found := next((known for known in PREFIXES if rest and all(key.startswith(known) for key in rest)), None):
        prefix += found
        rest = {key.removeprefix(found): shape for key, shape in rest.items()}
    return prefix, rest


def _attempts(shapes: dict[str, Shape], convention: str) -> Iterator[_Attempt]:
    mapping: dict[str, str] = {}
    for key in shapes:
        # Of two keys with one meaning the second keeps its own name, which fits nothing.
        canonical = canonical_key(convention, key)
        mapping[canonical if canonical not in mapping else f"{key} (again)"] = key
    for arch in ARCHITECTURES:
        head = shapes.get(mapping.get(head_weight(arch), ""), ())
        num_classes = head[0] if len(head) == 2 and 2 <= head[0] <= MAX_CLASSES else 10
        distance = sum(1 for _ in _differences(shapes, mapping, arch, num_classes))
        yield _Attempt(arch=arch, convention=convention, num_classes=num_classes, mapping=mapping, distance=distance)


def _differences(
    shapes: Mapping[str, Shape], mapping: Mapping[str, str], arch: str, num_classes: int
) -> Iterator[tuple[str, Shape | None, Shape | None]]:
    """Each tensor that differs: its name, its shape in the file and in the architecture, None where it has none."""
    expected = tensor_shapes(arch, num_classes)
    for canonical, shape in expected.items():
        key = mapping.get(canonical)
        if key is None:
            if not canonical.endswith("num_batches_tracked"):
                yield canonical, None, shape
        elif shapes[key] != shape:
            yield key, shapes[key], shape
    for canonical, key in mapping.items():
        if canonical not in expected:
            yield key, shapes[key], None


def _told(shapes: Mapping[str, Shape], attempt: _Attempt) -> str:
    """The first three differences in words."""
    told = []
    differences = _differences(shapes, attempt.mapping, attempt.arch, attempt.num_classes)
    for name, here, there in itertools.islice(differences, 3):
        if here is None:
            told.append(f"{name} {list(there or ())} is missing")
        elif there is None:
            told.append(f"{name} {list(here)} has no place in it")
        else:
            told.append(f"{name} is {list(here)} instead of {list(there)}")
    more = f"; and {attempt.distance - 3} more" if attempt.distance > 3 else ""
    return "; ".join(told) + more


def _nearest(attempts: list[_Attempt]) -> _Attempt:
    return min(attempts, key=lambda attempt: attempt.distance)


def _mismatch(
    shapes: dict[str, Shape], arch: str, attempts: list[_Attempt], fitting: list[_Attempt]
) -> ArchitectureMismatch:
    nearest = _nearest([attempt for attempt in attempts if attempt.arch == arch])
    hint = f"Known are: {', '.join(ARCHITECTURES)}."
    if fitting:
        hint = f'It is a {fitting[0].arch}: set model.arch to that, or to "auto".'
    return ArchitectureMismatch(f"The checkpoint is no {arch}: {_told(shapes, nearest)}.", hint=hint)


def _unknown(shapes: dict[str, Shape], attempts: list[_Attempt]) -> UnknownArchitecture:
    nearest = _nearest(attempts)
    message = (
        f"These {len(shapes)} tensors fit no architecture known here. Nearest is {nearest.arch} "
        f"({ARCHITECTURES[nearest.arch].title}), from which they differ in {nearest.distance}: "
        f"{_told(shapes, nearest)}."
    )
    # Only meliketoy's wide ResNets have a shortcut in the first stage that is a Sequential without BatchNorm.
    if "layer1.0.shortcut.0.weight" in shapes and "layer1.0.shortcut.1.weight" not in shapes:
        message += " A wide ResNet whose shortcut starts before the activation is another function than ours."
    return UnknownArchitecture(message, hint=f"Known are: {', '.join(ARCHITECTURES)}.")


def _notes(best: _Attempt) -> tuple[str, ...]:
    if any(key.endswith("num_batches_tracked") for key in best.mapping):
        return ()
    return ("BatchNorm's num_batches_tracked is not in the checkpoint; it counts from 0.",)
