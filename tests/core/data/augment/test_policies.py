"""The published policies, the strengths of torchvision, and groups that do to each image what it was drawn for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms.autoaugment import AutoAugment, AutoAugmentPolicy, RandAugment

from lastsam_core.data.augment.geometric import GEOMETRIC, source, warped
from lastsam_core.data.augment.pixel_ops import BY_TABLE, color, looked_up, sharpness, table
from lastsam_core.data.augment.policies import OPERATIONS, POLICIES, RANDOM, Operations, strength_of


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", POLICIES)
def test_the_policies_are_the_published_ones(name: str) -> None:
    theirs = AutoAugment(AutoAugmentPolicy(name)).policies
    expected = tuple((*first[:2], first[2] or 0, *second[:2], second[2] or 0) for first, second in theirs)
    assert POLICIES[name] == expected


@pytest.mark.parametrize(("bins", "transform"), [(10, AutoAugment()), (31, RandAugment())])
def test_the_strengths_are_torchvisions(bins: int, transform: torch.nn.Module) -> None:
    space = transform._augmentation_space(bins, (24, 32))
    assert set(space) == set(OPERATIONS) - {"Identity" if bins == 10 else "Invert"}
    for name, (magnitudes, _) in space.items():
        for at in range(bins if magnitudes.ndim else 0):
            assert strength_of(name, at, bins, 24, 32) == pytest.approx(magnitudes[at].item(), rel=1e-5, abs=1e-4)


def test_pairs_probabilities_and_signs_of_autoaugment() -> None:
    n = 50_000
    found = Operations.auto("cifar10", n, 32, 32, chance())
    rotated = found.which == OPERATIONS.index("Rotate")
    torch.testing.assert_close(
        found.strength[rotated].abs(), torch.full((int(rotated.sum()),), 60 / 9, dtype=torch.float64)
    )
    assert rotated.sum() == pytest.approx(n / 25 * 0.7, abs=5 * (n / 25 * 0.7) ** 0.5)
    assert (found.strength[rotated] < 0).double().mean() == pytest.approx(0.5, abs=0.07)
    solarized = found.which == OPERATIONS.index("Solarize")
    assert (found.strength[solarized] > 0).all()
    # Rotate comes with TranslateX, and with nothing else.
    partner = found.which[:, 1][rotated[:, 0]]
    assert set(partner.tolist()) == {0, OPERATIONS.index("TranslateX")}
    assert (partner > 0).double().mean() == pytest.approx(0.3, abs=0.07)


def test_randaugment_draws_all_operations_alike() -> None:
    n = 14_000
    found = Operations.random(n, 32, 32, chance())
    counts = torch.bincount(found.which.view(-1), minlength=len(OPERATIONS))
    expected = 2 * n / len(RANDOM)
    assert counts[OPERATIONS.index("Invert")] == 0
    assert (counts[counts > 0] - expected).abs().max() < 5 * expected**0.5
    bright = found.strength[found.which == OPERATIONS.index("Brightness")]
    torch.testing.assert_close(bright.abs(), torch.full_like(bright, 0.27))


def one_by_one(x: Tensor, operations: Operations) -> Tensor:
    """The slow twin: an image at a time."""
    done = []
    for image, names, strengths in zip(x, operations.which.tolist(), operations.strength, strict=True):
        image = image[None]
        for at, strength in zip(names, strengths, strict=True):
            name, given = OPERATIONS[at], strength[None]
            if name in GEOMETRIC:
                image = warped(image, source(name, given, *image.shape[1:3]))
            elif name in BY_TABLE:
                image = looked_up(image, table(name, image, given))
            elif name != "Identity":
                image = (color if name == "Color" else sharpness)(image, given)
        done.append(image)
    return torch.cat(done)


@pytest.mark.parametrize("kind", ["cifar10", "svhn", "random"])
def test_a_batch_is_what_its_images_are_one_by_one(kind: str) -> None:
    n = 120
    x = torch.randint(256, (n, 12, 10, 3), generator=chance(1), dtype=torch.uint8)
    made = Operations.random(n, 12, 10, chance()) if kind == "random" else Operations.auto(kind, n, 12, 10, chance())
    places = torch.randperm(n, generator=chance(2))
    found = made(x[places].clone(), places)
    assert torch.equal(found, one_by_one(x, made)[places])
    assert not torch.equal(found, x[places])


def test_an_unknown_policy_is_no_policy() -> None:
    with pytest.raises(KeyError):
        Operations.auto("mnist", 3, 8, 8, chance())
