from __future__ import annotations

import numpy as np
import torch

from lastsam_core.data import normalized, report_batches, resident, select_batches, split, train_batches
from lastsam_core.data.noise import noisy_labels
from lastsam_core.recipe import Channels, Recipe

CHANNELS = Channels(mean=(0.5,), std=(0.25,))


def recipe(**data) -> Recipe:
    return Recipe.model_validate({"batch_size": 32, "seed": 6, "data": {"augment": "none", **data}})


def test_only_the_images_that_may_train_do_with_the_labels_that_the_noise_gave_them(dataset) -> None:
    data = dataset()
    asked = recipe(selection="train_holdout", label_noise=0.4, train_limit=100)
    cut = split(asked.data, chooses=True, provenance=None, dataset=data)
    batches = train_batches(data, cut, asked, CHANNELS)
    x, y = (torch.cat(part) for part in zip(*batches.epoch(0), strict=True))
    assert len(y) == 100
    # Random images are all different, so that pixels say which image it is.
    place = {
        image.numpy().tobytes(): i
        for i, image in enumerate(normalized(resident(data.x_train, data.y_train)[0], CHANNELS))
    }
    trained = [place[image.numpy().tobytes()] for image in x]
    assert len(set(trained)) == 100
    assert set(trained) <= set(cut.train_index.tolist())
    assert np.array_equal(y.numpy(), noisy_labels(data.y_train, 0.4, 4, seed=6)[trained])


def test_what_chooses_and_what_reports_has_clean_labels(dataset) -> None:
    data = dataset()
    for selection, source in (("train_holdout", "train"), ("test_half", "test")):
        asked = recipe(selection=selection, label_noise=0.4)
        cut = split(asked.data, chooses=True, provenance=None, dataset=data)
        choosing = select_batches(data, cut, CHANNELS)
        assert choosing is not None
        assert np.array_equal(choosing.labels.numpy(), getattr(data, f"y_{source}")[cut.select_index])
        reporting = report_batches(data, cut, CHANNELS, batch_size=7)
        assert reporting.batch_size == 7
        assert np.array_equal(reporting.images.permute(0, 2, 3, 1).numpy(), data.x_test[cut.report_index])
        assert np.array_equal(reporting.labels.numpy(), data.y_test[cut.report_index])


def test_where_nothing_is_chosen_there_are_no_images_that_choose(dataset) -> None:
    cut = split(recipe().data, chooses=False, provenance=None, dataset=dataset())
    assert select_batches(dataset(), cut, CHANNELS) is None
