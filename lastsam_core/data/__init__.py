"""Datasets, and how their images become batches, selections and normalised inputs.

Names are loaded when first asked for (PEP 562): the catalogue of datasets is read by processes that have no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lastsam_core.data.batches import EvalBatches, TrainBatches, normalized, resident
    from lastsam_core.data.catalogue import DatasetInfo, available
    from lastsam_core.data.datasets import Dataset, dataset_for, load_dataset
    from lastsam_core.data.normalization import FoundNormalization, find_normalization
    from lastsam_core.data.selection import Split, holdout_id, split
    from lastsam_core.data.training import report_batches, select_batches, train_batches

__all__ = [
    "Dataset",
    "DatasetInfo",
    "EvalBatches",
    "FoundNormalization",
    "Split",
    "TrainBatches",
    "available",
    "dataset_for",
    "find_normalization",
    "holdout_id",
    "load_dataset",
    "normalized",
    "report_batches",
    "resident",
    "select_batches",
    "split",
    "train_batches",
]

_HOME = {
    "Dataset": "datasets",
    "DatasetInfo": "catalogue",
    "EvalBatches": "batches",
    "FoundNormalization": "normalization",
    "Split": "selection",
    "TrainBatches": "batches",
    "available": "catalogue",
    "dataset_for": "datasets",
    "find_normalization": "normalization",
    "holdout_id": "selection",
    "load_dataset": "datasets",
    "normalized": "batches",
    "report_batches": "training",
    "resident": "batches",
    "select_batches": "training",
    "split": "selection",
    "train_batches": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
