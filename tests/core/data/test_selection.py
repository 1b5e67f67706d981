from __future__ import annotations

import numpy as np
import pytest

from lastsam_core.data import holdout_id, split
from lastsam_core.errors import BadDataset
from lastsam_core.recipe import Data


def both(a: np.ndarray, b: np.ndarray) -> set[int]:
    return set(a.tolist()) & set(b.tolist())


def test_where_nothing_is_chosen_nothing_is_split(dataset) -> None:
    for selection in ("auto", "none"):
        found = split(Data(selection=selection), chooses=False, provenance=None, dataset=dataset())
        assert found.kind == "none"
        assert np.array_equal(found.train_index, np.arange(200))
        assert np.array_equal(found.report_index, np.arange(90))
        assert found.select_index is None
        assert found.select_from is None
        assert found.holdout_id is None


def test_an_uploaded_checkpoint_is_chosen_for_on_half_of_the_test_set(dataset) -> None:
    data = dataset()
    found = split(Data(), chooses=True, provenance=None, dataset=data)
    assert (found.kind, found.select_from, found.clean) == ("test_half", "test", True)
    assert found.select_index is not None
    assert np.array_equal(found.train_index, np.arange(200))
    assert sorted([*found.select_index, *found.report_index]) == list(range(90))  # disjoint, nothing lost
    halves = [np.bincount(data.y_test[index]) for index in (found.select_index, found.report_index)]
    assert np.abs(halves[0] - halves[1]).max() <= 1


def test_images_that_were_kept_from_the_checkpoint_choose(dataset) -> None:
    data = dataset()
    made = split(Data(selection="train_holdout"), chooses=False, provenance=None, dataset=data)
    assert made.holdout_id is not None
    found = split(Data(), chooses=True, provenance=made.holdout_id, dataset=data)
    assert (found.kind, found.select_from, found.clean) == ("train_holdout", "train", True)
    assert found.select_index is not None
    assert not both(found.select_index, found.train_index)
    assert len(found.select_index) + len(found.train_index) == 200
    assert np.bincount(data.y_train[found.select_index]).tolist() == [5] * 4
    assert np.array_equal(found.report_index, np.arange(90))
    assert found.holdout_id == made.holdout_id == holdout_id(data, found.select_index)


def test_other_images_than_those_kept_out_do_not_choose(dataset) -> None:
    data = dataset()
    made = split(Data(selection="train_holdout"), chooses=False, provenance=None, dataset=data).holdout_id
    for recipe, other in ((Data(holdout=0.2), data), (Data(), dataset(train=201)), (Data(), dataset(test=91))):
        found = split(recipe, chooses=True, provenance=made, dataset=other)
        assert found.kind == "test_half"
        assert "not those" in found.note


def test_a_holdout_without_provenance_is_called_seen_data(dataset) -> None:
    data = dataset()
    found = split(Data(selection="train_holdout"), chooses=True, provenance=None, dataset=data)
    assert not found.clean
    assert "Seen data" in found.note
    known = split(Data(selection="train_holdout"), chooses=True, provenance=found.holdout_id, dataset=data)
    assert known.clean
    assert "Seen data" not in known.note


def test_the_half_asked_for_is_given_whatever_the_provenance(dataset) -> None:
    data = dataset()
    made = split(Data(selection="train_holdout"), chooses=False, provenance=None, dataset=data).holdout_id
    found = split(Data(selection="test_half"), chooses=True, provenance=made, dataset=data)
    assert found.kind == "test_half"


def test_the_half_of_a_dataset_never_changes(dataset) -> None:
    # Figures of different jobs, and of different versions, are comparable only on the same images.
    found = split(Data(), chooses=True, provenance=None, dataset=dataset(test=12, classes=2))
    assert found.select_index is not None
    assert found.select_index.tolist() == [2, 3, 6, 7, 8, 9]


def test_nothing_to_choose_with_is_refused(dataset) -> None:
    with pytest.raises(ValueError, match="no images to choose with"):
        split(Data(selection="none"), chooses=True, provenance=None, dataset=dataset())
    with pytest.raises(BadDataset, match=r"too small for a holdout of 0\.001"):
        split(Data(selection="train_holdout", holdout=0.001), chooses=True, provenance=None, dataset=dataset())
    with pytest.raises(BadDataset, match="too small for half of the test set"):
        split(Data(), chooses=True, provenance=None, dataset=dataset(test=4))
