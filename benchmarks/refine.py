"""What a short phase does to a real checkpoint: ASAM and, with as many epochs, plain SGD.

CIFAR-10 from LASTSAM_DATA_DIR, the checkpoint from LASTSAM_TEST_CHECKPOINTS. One seed: the paired test says what
chance explains among the test images, not among seeds.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import write
from lastsam_core import Recipe, refine

CHECKPOINT = "resnet20-a-imagenetnorm-91.73.th"


def main(*, epochs: int) -> None:
    data_dir = Path(os.environ["LASTSAM_DATA_DIR"])
    checkpoint = Path(os.environ["LASTSAM_TEST_CHECKPOINTS"]) / CHECKPOINT
    rows: dict[str, Any] = {}
    for name in ("asam", "sgd"):
        recipe = Recipe.model_validate(
            {"epochs": epochs, "precision": "bf16", "method": {"name": name}, "flatness": {"samples": 512}}
        )
        with tempfile.TemporaryDirectory() as out:
            receipt = refine(checkpoint, recipe, data_dir=data_dir, out_dir=Path(out))
        rows[name] = {key: receipt[key] for key in ("verdict", "before", "after", "mcnemar", "cost")}
        print(f"{name}: {receipt['verdict']}")
    write("refine", {"checkpoint": CHECKPOINT, "epochs": epochs, "seeds": 1, "runs": rows})
