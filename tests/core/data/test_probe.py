"""Which normalisation a checkpoint with an untrained head was trained with: told by what its features still hold."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from lastsam_core.data import EvalBatches, find_normalization, load_dataset, resident
from lastsam_core.data.normalization import KNOWN
from lastsam_core.data.probe import probed

DIGITS = load_dataset("digits", Path("/nowhere"))


def saturating(seed: int) -> nn.Sequential:
    """Keeps of its inputs what lies between 0 and 1: all of what is scaled so, half of what is centred."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.AvgPool2d(8), nn.Hardtanh(0.02, 1.0), nn.Flatten(), nn.Dropout(), nn.Linear(48, 10))


def test_the_scale_that_keeps_the_most_wins_whatever_the_head() -> None:
    found = [find_normalization(model, DIGITS, n=600, head=model[4]) for model in map(saturating, (0, 1))]
    assert found[0] == found[1]
    assert found[0].name == "none"
    assert found[0].how.endswith("of a linear classifier on the features")
    best, worst = found[0].candidates[0], found[0].candidates[-1]
    assert best.accuracy > 0.8
    assert worst.nll > best.nll + 0.1


def test_half_of_the_images_judge_and_the_model_is_left_as_it_was() -> None:
    model = saturating(0)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, y = resident(DIGITS.x_train[:400], DIGITS.y_train[:400])
    batches = EvalBatches(x, y, channels=KNOWN["none"], batch_size=150)
    loss, accuracy = probed(model, model[4], batches)
    assert (loss, accuracy) == probed(model, model[4], batches)
    assert model.training
    assert not model[4]._forward_pre_hooks
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    # Labels that nobody can tell by the image: what was learned by heart does not count.
    y = y[torch.randperm(400, generator=torch.Generator().manual_seed(0))]
    _, luck = probed(model, model[4], EvalBatches(x, y, channels=KNOWN["none"]))
    assert luck < 0.25
    assert accuracy > 0.7
