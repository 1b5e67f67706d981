"""Which images train, which choose, and which report: the images that report never choose.

Where nothing is chosen, the whole training set trains and the whole test set reports. Where something is (the best
epoch, the gate, a sweep's winner), a selection set chooses. Held-out training images would do, but an uploaded
checkpoint has usually been trained on all of them; so `auto` holds out training images only where the checkpoint's
provenance says that exactly these were kept from it, and otherwise splits the test set: one stratified half selects,
the other reports. Both splits are functions of the dataset alone, not of the job's seed, or each job would look at
other test images.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lastsam_core.data.chance import stratified
from lastsam_core.data.datasets import Dataset
from lastsam_core.errors import BadDataset
from lastsam_core.recipe import Data

__all__ = ["Split", "holdout_id", "split"]

Kind = Literal["none", "train_holdout", "test_half"]
Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Split:
    """Sorted indices into a dataset's two parts."""

    kind: Kind
    train_index: Index  # into the training part: the images the phase may train on
    select_index: Index | None  # the images that choose; None where none do
    select_from: Literal["train", "test"] | None  # the part that select_index points into
    report_index: Index  # into the test part: the images the result is reported on
    holdout_id: str | None  # train_holdout: the id of the images kept out, for the provenance of what is trained here
    clean: bool  # False where the checkpoint may have been trained on the images that choose
    note: str  # a sentence for the receipt


def split(data: Data, *, chooses: bool, provenance: str | None, dataset: Dataset) -> Split:
    """The split that a recipe's `data` asks for.

    chooses: whether anything will be chosen (`Recipe.chooses`, or a sweep). provenance: the `holdout_id` that the
    checkpoint says was kept from it, if any. An explicit `selection` is honoured even where nothing is chosen: that is
    how a checkpoint comes by clean held-out images. ValueError for `none` where something is chosen; BadDataset where
    the dataset is too small for the split.
    """
    kind = data.selection
    if kind == "none" and chooses:
        raise ValueError('selection "none" leaves no images to choose with')
    if kind == "none" or (kind == "auto" and not chooses):
        return _undivided(dataset)
    if kind == "test_half":
        return _test_half(dataset, "The recipe asked for it.")
    if kind == "train_holdout":
        return _train_holdout(dataset, data.holdout, provenance)
    if provenance is not None:
        held_out = _train_holdout(dataset, data.holdout, provenance)
        if held_out.clean:
            return held_out
        return _test_half(dataset, "The images kept from the checkpoint are not those that this recipe holds out.")
    return _test_half(dataset, "The checkpoint may have been trained on any training image.")


def holdout_id(dataset: Dataset, index: Index) -> str:
    """16 hex digits that name exactly these training images of exactly this dataset."""
    digest = hashlib.sha256(dataset.fingerprint.encode())
    digest.update(np.sort(index).astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def _undivided(dataset: Dataset) -> Split:
    return Split(
        kind="none",
        train_index=np.arange(len(dataset.y_train)),
        select_index=None,
        select_from=None,
        report_index=np.arange(len(dataset.y_test)),
        holdout_id=None,
        clean=True,
        note="Nothing is chosen by an accuracy: no training image is held out, and all test images report.",
    )


def _test_half(dataset: Dataset, why: str) -> Split:
    select = stratified(dataset.y_test, 0.5, 0, "test_half")
    report = np.setdiff1d(np.arange(len(dataset.y_test)), select)
    _enough(dataset, "half of the test set", select, report)
    return Split(
        kind="test_half",
        train_index=np.arange(len(dataset.y_train)),
        select_index=select,
        select_from="test",
        report_index=report,
        holdout_id=None,
        clean=True,
        note=f"{why} A fixed, stratified half of the test images ({len(select)}) chooses, the other ({len(report)}) "
        "reports.",
    )


def _train_holdout(dataset: Dataset, fraction: float, provenance: str | None) -> Split:
    select = stratified(dataset.y_train, fraction, 0, "train_holdout")
    train = np.setdiff1d(np.arange(len(dataset.y_train)), select)
    _enough(dataset, f"a holdout of {fraction:g}", select, train)
    kept_out = holdout_id(dataset, select)
    clean = provenance == kept_out
    seen = (
        f"These {len(select)} training images were kept from the checkpoint and choose; all test images report."
        if clean
        else f"Seen data: nothing says that the {len(select)} held-out training images were kept from the checkpoint, "
        "so its accuracy on them is likely too high and the choice is biased toward it; all test images report."
    )
    return Split(
        kind="train_holdout",
        train_index=train,
        select_index=select,
        select_from="train",
        report_index=np.arange(len(dataset.y_test)),
        holdout_id=kept_out,
        clean=clean,
        note=seen,
    )


def _enough(dataset: Dataset, what: str, *parts: Index) -> None:
    if any(len(part) == 0 for part in parts):
        raise BadDataset(
            f"dataset {dataset.name!r} is too small for {what}: one side would have no image",
            hint="Use a larger dataset, or choose nothing (deliver.which last, deliver.gate report).",
        )
