"""Compares what an architecture here computes with what another implementation does, as recognition maps them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lastsam_core.checkpoints import Recognition, recognise
from lastsam_core.models import create_model
from tests.core.models.randomise import randomise


def recognised(theirs: nn.Module, arch: str = "auto") -> Recognition:
    return recognise({key: tuple(value.shape) for key, value in theirs.state_dict().items()}, arch)


def assert_same_function(theirs: nn.Module, arch: str = "auto", *, side: int = 32) -> Recognition:
    """On one image in double precision, with weights far from their initial values."""
    theirs = randomise(theirs).double()
    state = theirs.state_dict()
    found = recognised(theirs, arch)
    ours = create_model(found.arch, num_classes=found.num_classes).double().eval()
    ours.load_state_dict({name: state[key] for name, key in found.mapping.items()})
    assert_agree(ours, theirs, side=side)
    return found


def assert_agree(ours: nn.Module, theirs: nn.Module, *, side: int = 32) -> None:
    """The outputs of two networks in evaluation mode, relative to the largest of them."""
    x = some_images(1, side).double()
    with torch.no_grad():
        expected = theirs(x)
        scale = expected.abs().max()
        torch.testing.assert_close(ours(x) / scale, expected / scale, atol=1e-9, rtol=0)


def some_images(count: int = 2, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))
