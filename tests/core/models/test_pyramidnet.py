from __future__ import annotations

import pytest
import torch

from lastsam_core.models import create_model
from lastsam_core.models.pyramidnet import pyramidnet
from lastsam_core.models.shake import ShakeDrop
from tests.core.models.oracle import some_images
from tests.core.models.randomise import randomise


def test_272_layers_are_kept_with_falling_probability() -> None:
    with torch.device("meta"):
        model = create_model("pyramidnet272-a200-shakedrop")
    keep = [module.keep for module in model.modules() if isinstance(module, ShakeDrop)]

    assert len(keep) == 90
    assert keep[0] == pytest.approx(1 - 0.5 / 90)
    assert keep[-1] == 0.5
    steps = torch.tensor(keep).diff()
    torch.testing.assert_close(steps, torch.full((89,), -0.5 / 90))


def test_in_evaluation_shakedrop_scales_each_branch() -> None:
    plain, shaken = randomise(pyramidnet(11, 6)), pyramidnet(11, 6, shakedrop=True).eval()
    state = dict(plain.state_dict())
    shaken.load_state_dict(state)
    images = some_images()
    with torch.no_grad():
        out = shaken(images)
        assert not torch.allclose(out, plain(images))
        for number, keep in enumerate((1 - 0.5 / 3, 1 - 1 / 3, 0.5), 1):
            for name in ("weight", "bias"):
                state[f"layer{number}.0.bn4.{name}"] *= keep
        plain.load_state_dict(state)
        torch.testing.assert_close(out, plain(images))


def test_with_shakedrop_images_do_not_share_their_noise() -> None:
    torch.manual_seed(0)
    model = pyramidnet(20, 6, shakedrop=True)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()

    one, other = model(some_images(1).expand(2, -1, -1, -1))

    assert not torch.allclose(one, other)


def test_only_depths_of_the_family_exist() -> None:
    with pytest.raises(ValueError, match="9n \\+ 2"):
        pyramidnet(111, 270)
