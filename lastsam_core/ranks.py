"""Several processes that train one model: what a step must agree on across them.

Under DistributedDataParallel every rank sees its own part of the batch. Its backward averages gradients unless told to
be quiet; what must not be averaged by it, or is no `.grad`, is averaged here. One process alone is the trivial case.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch.distributed as dist
from torch import Tensor, nn
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors
from torch.nn.parallel import DistributedDataParallel

__all__ = ["Ranks"]


class Ranks:
    """The ranks that share `model`: those of its process group where it is a DistributedDataParallel, else one."""

    def __init__(self, model: nn.Module) -> None:
        self._ddp = model if isinstance(model, DistributedDataParallel) else None
        self._group = None if self._ddp is None else self._ddp.process_group
        self.count = 1 if self._ddp is None else dist.get_world_size(self._group)
        self.own = 0 if self._ddp is None else dist.get_rank(self._group)

    def quiet(self, on: bool = True) -> AbstractContextManager[None]:
        """Backwards inside leave this rank's own gradients."""
        return self._ddp.no_sync() if on and self._ddp is not None else nullcontext()

    def average(self, tensors: Sequence[Tensor | None]) -> None:
        """Each tensor becomes its mean over the ranks, in place; all ranks call it with tensors of the same shapes."""
        present = [tensor for tensor in tensors if tensor is not None]
        if self.count == 1 or not present:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in present):
            own = [tensor for tensor in present if tensor.dtype == dtype]
            flat = _flatten_dense_tensors(own)
            dist.all_reduce(flat, group=self._group)
            flat.div_(self.count)
            for tensor, mean in zip(own, _unflatten_dense_tensors(flat, own), strict=True):
                tensor.copy_(mean)

    def mean(self, values: Tensor) -> Tensor:
        """The mean of a small tensor over the ranks; NaN or infinite everywhere if it is so anywhere."""
        if self.count > 1:
            values = values.clone()
            dist.all_reduce(values, group=self._group)
            values /= self.count
        return values
