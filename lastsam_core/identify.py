"""Which function a checkpoint's weights belong to, where their shapes leave several: the images decide.

A wide ResNet whose shortcut starts before or after the activation has the same tensors, but only one of the two makes
sense of them. Each candidate is tried with each usual normalisation on *training* images (data/normalization.py), and
the one of the lowest loss is taken; the test set stays out of the choice.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from lastsam_core.checkpoints import OptimizerState, as_architecture, load_into
from lastsam_core.data import Dataset, FoundNormalization, find_normalization
from lastsam_core.delivery import Source
from lastsam_core.heads import head_note, head_of, with_new_head
from lastsam_core.models import create_model
from lastsam_core.recipe import Recipe

__all__ = ["SAMPLE", "Identified", "identify", "in_architecture", "taken_as"]

SAMPLE = 2000
"""Training images that decide."""
_NEAR = 0.02


@dataclass(frozen=True, kw_only=True)
class Identified:
    """What the checkpoint was taken for."""

    source: Source
    """The checkpoint as that architecture."""
    normalization: FoundNormalization
    """How its inputs are scaled."""
    tried: list[dict[str, Any]]
    """{arch, accuracy, nll} of each architecture on the sample, the best first; empty where nothing had to be tried."""
    notes: tuple[str, ...]
    """Sentences for the receipt."""


def identify(
    source: Source,
    recipe: Recipe,
    dataset: Dataset,
    *,
    device: torch.device,
    check: Callable[[], None] = lambda: None,
) -> Identified:
    """Architecture and normalisation of the checkpoint, as the recipe gives them or as the images tell.

    Costs a forward pass over 2,000 images for each architecture that fits and each normalisation. The models of the
    candidates are moved to the device one after the other. Where the recipe asks for a new head, features are judged
    instead of predictions, and the source comes back with that head. check: called before each batch; it may raise.
    ArchitectureMismatch where the recipe names an architecture that the tensors do not fit.
    """
    given = None if recipe.data.normalization == "auto" else recipe.data.normalization
    names = [source.layout.arch, *source.layout.alternatives]
    if recipe.model.arch != "auto":
        names = [recipe.model.arch]
    if len(names) == 1 and given is not None:
        scaled = FoundNormalization(name="given", mean=given.mean, std=given.std, how="given in the recipe")
        taken = taken_as(source, names[0], recipe, dataset)
        return Identified(source=taken, normalization=scaled, tried=[], notes=_of_head(source, recipe, dataset))
    fresh = recipe.model.head == "new"
    found: list[tuple[Source, FoundNormalization]] = []
    for name in names:
        candidate = in_architecture(source, name)
        model = candidate.model.to(device)
        head = head_of(model, name) if fresh else None
        scaled = find_normalization(model, dataset, given=given, n=SAMPLE, head=head, check=check)
        found.append((candidate, scaled))
        model.cpu()
    found.sort(key=lambda pair: _loss(pair[1]))
    best, normalization = found[0]
    return Identified(
        source=taken_as(best, best.layout.arch, recipe, dataset),
        normalization=normalization,
        tried=[_judged(candidate, scaled) for candidate, scaled in found],
        notes=_of_head(source, recipe, dataset) + _notes(found, dataset, judged=not fresh),
    )


def taken_as(source: Source, arch: str, recipe: Recipe, dataset: Dataset) -> Source:
    """The same checkpoint as that architecture, with a new head for the dataset's classes where the recipe asks."""
    found = in_architecture(source, arch)
    return with_new_head(found, len(dataset.classes), recipe.seed) if recipe.model.head == "new" else found


def in_architecture(source: Source, arch: str) -> Source:
    """The same checkpoint as another architecture that has its tensors; the very same object where it is that already.

    ArchitectureMismatch where the tensors do not fit, UnknownArchitecture where there is none of that name.
    """
    if arch == source.layout.arch:
        return source
    layout = as_architecture(source.layout, arch)
    renamed = {old.canonical: new.canonical for old, new in zip(source.layout.tensors, layout.tensors, strict=True)}
    state = source.model.state_dict()
    model = create_model(arch, num_classes=layout.num_classes)
    load_into(model, {new: state[old] for old, new in renamed.items()})
    kept = source.optimizer
    if kept is not None:
        buffers = {renamed[name]: held for name, held in kept.buffers.items()}
        kept = OptimizerState(kind=kept.kind, buffers=buffers)
    return replace(source, model=model.eval(), layout=layout, optimizer=kept)


def _loss(scaled: FoundNormalization) -> float:
    nll = scaled.candidates[0].nll
    return nll if math.isfinite(nll) else math.inf


def _judged(candidate: Source, scaled: FoundNormalization) -> dict[str, Any]:
    best = scaled.candidates[0]
    nll = best.nll if math.isfinite(best.nll) else None
    return {"arch": candidate.layout.arch, "accuracy": best.accuracy, "nll": nll, "normalization": best.name}


def _of_head(source: Source, recipe: Recipe, dataset: Dataset) -> tuple[str, ...]:
    if recipe.model.head == "keep":
        return ()
    return (head_note(source.layout, len(dataset.classes), gated=recipe.deliver.gate == "never_worse"),)


def _notes(found: list[tuple[Source, FoundNormalization]], dataset: Dataset, *, judged: bool) -> tuple[str, ...]:
    notes = []
    names = [candidate.layout.arch for candidate, _ in found]
    accuracy = found[0][1].candidates[0].accuracy
    if len(found) > 1:
        notes.append(
            f"The tensors fit {len(names)} architectures; {names[0]} has the lowest loss on training images "
            f"(the others: {', '.join(names[1:])})."
        )
    n = min(SAMPLE, len(dataset.y_train))
    chance = float(np.bincount(dataset.y_train).max()) / len(dataset.y_train)
    if judged and accuracy - chance < max(_NEAR, 3 * math.sqrt(chance * (1 - chance) / n)):
        notes.append(
            f"Recognised by its shapes, but its accuracy on training images is {100 * accuracy:.1f} % (chance: "
            f"{100 * chance:.1f} %): probably another function or normalisation than any that is known here."
        )
    return tuple(notes)
