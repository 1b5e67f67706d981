"""A new last layer on trained weights: fine-tuning on other classes than the checkpoint's (Foret et al. 2021, C.2).

The new layer is drawn at random from the recipe's seed; everything before it stays as uploaded, and so does the file's
layout but for the shapes of that layer. What such a model predicts before training is chance, and is called so.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import nn

from lastsam_core.checkpoints import Layout, OptimizerState
from lastsam_core.data.chance import seed_for
from lastsam_core.delivery import Source
from lastsam_core.models import create_model, head_weight, tensor_shapes

__all__ = ["head_note", "head_of", "with_new_head"]


def with_new_head(source: Source, classes: int, seed: int) -> Source:
    """The same checkpoint with a fresh head of `classes` outputs: a new model, and the layout that it will have."""
    layout = source.layout
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "head"))
        model = create_model(layout.arch, num_classes=classes)
    head = _head_keys(layout.arch, classes)
    fresh = model.state_dict()
    kept = source.model.state_dict()
    model.load_state_dict({key: fresh[key] if key in head else kept[key] for key in fresh})
    model.train(source.model.training)
    kept_state = source.optimizer
    if kept_state is not None:  # the new layer has none
        buffers = {name: held for name, held in kept_state.buffers.items() if name not in head}
        kept_state = OptimizerState(kind=kept_state.kind, buffers=buffers)
    return replace(source, model=model, layout=_relaid(layout, head, classes), optimizer=kept_state)


def head_of(model: nn.Module, arch: str) -> nn.Module:
    """The last layer of a model of that architecture."""
    return model.get_submodule(head_weight(arch).rpartition(".")[0])


def head_note(uploaded: Layout, classes: int, *, gated: bool) -> str:
    """What the receipt has to say about it."""
    note = (
        f"The head is new: the checkpoint's {uploaded.num_classes} outputs gave way to {classes}, drawn at random. "
        "What stands under before is that untrained head, so it is chance and no measure of the uploaded checkpoint."
    )
    return (
        f"{note} The gate compared with it too, and says no more than that the result beats chance." if gated else note
    )


def _head_keys(arch: str, classes: int) -> set[str]:
    """What changes its shape with the number of classes."""
    here, other = tensor_shapes(arch, classes), tensor_shapes(arch, classes + 1)
    return {key for key in here if here[key] != other[key]}


def _relaid(layout: Layout, head: set[str], classes: int) -> Layout:
    shapes = tensor_shapes(layout.arch, classes)
    entries = tuple(
        entry.model_copy(update={"shape": shapes[entry.canonical]}) if entry.canonical in head else entry
        for entry in layout.tensors
    )
    return layout.model_copy(update={"num_classes": classes, "tensors": entries})
