"""The instruments of a refinement: the images that report and choose, and the sharpness before and after.

Before and after are measured alike: the same images, in fp32, in evaluation mode.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lastsam_core.data import Dataset, EvalBatches, Split, report_batches, resident, select_batches
from lastsam_core.data.chance import order
from lastsam_core.data.noise import limited
from lastsam_core.environment import full_precision
from lastsam_core.evaluation import Evaluation, evaluate
from lastsam_core.flatness import sharpness
from lastsam_core.recipe import Channels, Recipe

__all__ = ["Instruments"]

Batch = tuple[Tensor, Tensor]


class Instruments:
    """Evaluates one model on the images that a split names.

    check: called between batches; it may raise to interrupt a long measurement. `looks` counts evaluations of the
    selection and of the reporting images.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        dataset: Dataset,
        split: Split,
        channels: Channels,
        *,
        device: torch.device,
        check: Callable[[], None],
    ) -> None:
        self.looks = {"selection": 0, "report": 0}
        self._model = model
        self._flatness = recipe.flatness
        self._check = check
        self._report = report_batches(dataset, split, channels, device)
        self._select = select_batches(dataset, split, channels, device)
        # A fixed sample of the images that train.
        trained = limited(split.train_index, recipe.data.train_limit, recipe.seed)
        places = order(len(trained), 0, "sharpness")[: recipe.flatness.samples]
        index = np.sort(trained[places])
        images, labels = resident(dataset.x_train, dataset.y_train, index, device)
        self._sample = EvalBatches(images, labels, channels=channels, batch_size=256)

    def report(self) -> Evaluation:
        """On the images that report."""
        self.looks["report"] += 1
        with full_precision():
            return evaluate(self._model, self._watched(self._report))

    def select(self) -> Evaluation | None:
        """On the images that choose; None where none do."""
        if self._select is None:
            return None
        self.looks["selection"] += 1
        with full_precision():
            return evaluate(self._model, self._watched(self._select))

    def sharpness(self) -> dict[str, Any] | None:
        """SAM and adaptive sharpness as JSON; None where the recipe does not ask."""
        if not self._flatness.sharpness:
            return None
        criterion = nn.CrossEntropyLoss()
        found: dict[str, Any] = {}
        for kind, rho in (("sam", self._flatness.rho), ("adaptive", self._flatness.adaptive_rho)):
            with full_precision():
                measured = sharpness(
                    self._model,
                    lambda: self._watched(self._sample),
                    criterion,
                    rho=rho,
                    adaptive=kind == "adaptive",
                    steps=self._flatness.ascent_steps,
                )
            figures = {name: value for name, value in asdict(measured).items() if name != "kind"}
            found[kind] = {name: value if math.isfinite(value) else None for name, value in figures.items()} | {
                "samples": len(self._sample.labels)
            }
        return found

    def _watched(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        for batch in batches:
            self._check()
            yield batch
