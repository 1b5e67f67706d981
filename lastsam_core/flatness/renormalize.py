"""BatchNorm statistics for weights that were never trained with them: a point between two networks has none of its own.

Interpolated running statistics belong to neither end, and the barrier they show is theirs, not the weights' (Izmailov
et al. 2018 for averages; Jordan et al. 2023 for paths). A network that was trained on augmented images needs statistics
of augmented images.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lastsam_core.flatness.surroundings import Batches

__all__ = ["renormalize"]


def renormalize(model: nn.Module, batches: Batches) -> None:
    """Set every BatchNorm's running mean and variance to the mean over `batches` of the batches' own, by their sizes.

    One pass without gradients, with every other layer (dropout) in the mode it is in. Modes and momentums are put
    back; the statistics stay. Nothing is run where the model keeps none. ValueError for a set without images.
    """
    layers = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.running_mean is not None]
    if not layers:
        return
    device = next(model.parameters()).device
    seen = 0
    with _collecting(layers), torch.no_grad():
        for x, y in batches() if callable(batches) else batches:
            seen += len(y)
            for layer in layers:
                # Running mean after this batch: (1 - n/seen) old + n/seen new. The first one overwrites everything.
                layer.momentum = len(y) / seen
            model(x.to(device))
    if not seen:
        raise ValueError("the set to take statistics from has no images")


@contextmanager
def _collecting(layers: list[_BatchNorm]) -> Iterator[None]:
    kept = [(layer.training, layer.momentum) for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.training = True
    try:
        yield
    finally:
        for layer, (training, momentum) in zip(layers, kept, strict=True):
            layer.training, layer.momentum = training, momentum
