"""What every instrument stands on: a model that is left as it was found, and losses over a fixed set of images.

Inside, the model is in evaluation mode: with fixed BatchNorm statistics and without dropout the mean loss over a set S
is a function of the weights alone, L_S(w), and does not depend on how S is cut into batches. Instruments take
gradients with torch.autograd.grad, which leaves `.grad` alone, and draw from generators of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lastsam_core.evaluation import evaluating
from lastsam_core.perturbation import Leaf, leaves_of

__all__ = ["Batch", "Batches", "Criterion", "in_chunks", "losses", "mean_loss", "normal", "trainable", "undisturbed"]

Batch = tuple[Tensor, Tensor]
Batches = Sequence[Batch] | Iterable[Batch] | Callable[[], Iterable[Batch]]
"""(x, y) pairs that can be gone through again and again, or a callable that gives them anew."""
Criterion = Callable[[Any, Tensor], Tensor]
"""criterion(model(x), y): the mean over the batch."""


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and weights and buffers that may be overwritten in place.

    Afterwards, also after an error, all of them and each module's mode are bit for bit what they were. Costs a copy of
    the model's tensors.
    """
    tensors = [*model.parameters(), *model.buffers()]
    kept = [tensor.detach().clone() for tensor in tensors]
    with evaluating(model):
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, copy in zip(tensors, kept, strict=True):
                    tensor.copy_(copy)


def trainable(model: nn.Module) -> list[Leaf]:
    """The parameters that require gradients, tied ones once; ValueError where there are none."""
    leaves = [leaf for leaf in leaves_of(model) if leaf.parameter.requires_grad]
    if not leaves:
        raise ValueError("no parameter of the model requires gradients, so there are no directions to look in")
    return leaves


def losses(model: nn.Module, batches: Batches, criterion: Criterion) -> Iterator[tuple[Tensor, int]]:
    """The mean loss of each batch, 0-dim, and its number of images; ValueError in the end where there were none."""
    device = next(model.parameters()).device
    count = 0
    for x, y in batches() if callable(batches) else batches:
        count += len(y)
        yield criterion(model(x.to(device)), y.to(device)), len(y)
    if not count:
        raise ValueError("the set to measure on has no images; a generator can be gone through only once")


def mean_loss(model: nn.Module, batches: Batches, criterion: Criterion) -> float:
    """L_S at the model's present weights, in its present mode."""
    with torch.no_grad():
        parts = [(loss.double() * n, n) for loss, n in losses(model, batches, criterion)]
    return float(sum(part for part, _ in parts)) / sum(n for _, n in parts)


def in_chunks(batches: Batches, size: int) -> Iterator[Batch]:
    """The same images in the same order, cut into parts of `size`; the last may be shorter, none is empty."""
    xs: list[Tensor] = []
    ys: list[Tensor] = []
    waiting = 0
    for x, y in batches() if callable(batches) else batches:
        while len(y):
            take = min(size - waiting, len(y))
            xs.append(x[:take])
            ys.append(y[:take])
            x, y, waiting = x[take:], y[take:], waiting + take
            if waiting == size:
                yield torch.cat(xs), torch.cat(ys)
                xs, ys, waiting = [], [], 0
    if waiting:
        yield torch.cat(xs), torch.cat(ys)


def normal(tensors: Iterable[Tensor], seed: int) -> list[Tensor]:
    """Standard normal numbers in the shapes of `tensors`, drawn on the CPU: the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(t.shape, generator=generator, dtype=t.dtype).to(t.device) for t in tensors]
