from __future__ import annotations

import pytest
import torch

from lastsam_core.models import create_model
from lastsam_core.models.resnext import resnext
from tests.core.models.oracle import some_images
from tests.core.models.randomise import randomise


def test_a_stem_of_one_pixel_is_a_stem_of_nine_that_sees_one() -> None:
    small = randomise(create_model("resnext29-32x4d-kuangliu")).double()
    large = create_model("resnext29-32x4d").double().eval()
    state = dict(small.state_dict())
    stem = torch.zeros(64, 3, 3, 3, dtype=torch.float64)
    stem[:, :, 1:2, 1:2] = state["conv1.weight"]
    large.load_state_dict(state | {"conv1.weight": stem})
    images = some_images(1).double()

    with torch.no_grad():
        torch.testing.assert_close(small(images), large(images), atol=1e-9, rtol=1e-9)


def test_only_depths_of_the_family_exist() -> None:
    with pytest.raises(ValueError, match="9n \\+ 2"):
        resnext(28, 32, 4)
