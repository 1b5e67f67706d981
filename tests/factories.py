"""Small real things for tests: nets, images, datasets, checkpoints."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lastsam_core.data.batches import TrainBatches
from lastsam_core.data.datasets import Dataset
from lastsam_core.models import create_model
from lastsam_core.recipe import Channels, Recipe

GREY = Channels(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))

# Said in the recipe, since trying every known normalisation takes longer than training on so little.
TINY = {"name": "tiny", "normalization": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}

# A job that a trainer finishes in a few seconds on two cores.
SMALL = {
    "epochs": 2,
    "batch_size": 32,
    "data": TINY | {"train_limit": 96},
    "optimizer": {"lr": 0.01},
    "flatness": {"sharpness": False},
}


def small_net(*, dropout: float = 0.0, classes: int = 4, seed: int = 0) -> nn.Module:
    """Convolution, BatchNorm, optional dropout, head; for images [N, 3, 8, 8]."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(24, classes),
    )


def tiny_dataset(*, train: int = 96, test: int = 40, size: int = 8, classes: int = 4, seed: int = 0) -> Dataset:
    """Images whose brightness pattern tells their class, so that a net can learn something."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 200, (classes, size, size, 3))

    def part(n: int) -> tuple[Any, Any]:
        labels = np.arange(n) % classes
        noise = rng.integers(0, 56, (n, size, size, 3))
        return (patterns[labels] + noise).astype(np.uint8), labels.astype(np.int64)

    x_train, y_train = part(train)
    x_test, y_test = part(test)
    return Dataset(
        name="tiny",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        classes=tuple(str(i) for i in range(classes)),
    )


def write_tiny_npz(folder: Path, **options: Any) -> Path:
    """`tiny.npz` of 32-pixel images in `folder`, as an operator would drop it in."""
    dataset = tiny_dataset(**({"size": 32, "classes": 10, "train": 200, "test": 100} | options))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tiny.npz"
    np.savez(
        path,
        x_train=dataset.x_train,
        y_train=dataset.y_train,
        x_test=dataset.x_test,
        y_test=dataset.y_test,
        classes=np.array(dataset.classes),
    )
    return path


def tiny_batches(recipe: Recipe, dataset: Dataset | None = None) -> TrainBatches:
    """All training images of the tiny dataset, batched by the recipe."""
    dataset = dataset or tiny_dataset()
    images = torch.from_numpy(dataset.x_train).permute(0, 3, 1, 2)
    return TrainBatches(
        images,
        torch.from_numpy(dataset.y_train),
        channels=GREY,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        augment=recipe.data.augment,
    )


def checkpoint_file(
    path: Path, *, arch: str = "resnet20-a", wrapper: str | None = "state_dict", seed: int = 0, zipped: bool = True
) -> Path:
    """A checkpoint of random weights, saved as people save them."""
    torch.manual_seed(seed)
    state = {f"module.{name}": value for name, value in create_model(arch).state_dict().items()}
    value = {wrapper: state, "best_prec1": 12.5, "epoch": 3} if wrapper else state
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def whole_checkpoint_file(path: Path, *, seed: int = 0) -> Path:
    """Weights, an average of them, SGD's momentum and the epoch: what a training script keeps to go on from."""
    torch.manual_seed(seed)
    model = create_model("resnet20-a")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) / 100
    optimizer.step()
    average = {name: value * 2 for name, value in model.state_dict().items()}
    value = {"epoch": 3, "state_dict": model.state_dict(), "state_dict_ema": average}
    torch.save({**value, "optimizer": optimizer.state_dict()}, path)
    return path


def digest_of(state: dict[str, torch.Tensor]) -> str:
    """sha256 over all tensors, in order."""
    digest = hashlib.sha256()
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
