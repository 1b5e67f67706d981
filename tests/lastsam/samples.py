"""A receipt with round figures, as lastsam_core writes it."""

from __future__ import annotations

from typing import Any


def _side(accuracy: float, nll: float, ece: float, sam: float, adaptive: float) -> dict[str, Any]:
    def sharpness(rho: float, ascent: float) -> dict[str, Any]:
        return {"rho": rho, "base_loss": 0.1, "one_step": 0.5, "ascent": ascent, "random": 0.01, "samples": 1024}

    return {
        "test": {"accuracy": accuracy, "stderr": 0.0028, "n": 10000, "nll": nll, "ece": ece},
        "selection": None,
        "sharpness": {"sam": sharpness(0.05, sam), "adaptive": sharpness(0.5, adaptive)},
    }


RECEIPT: dict[str, Any] = {
    "version": 1,
    "job_id": "job_01JD00000000000000000000AB",
    "created_at": "2026-01-02T03:04:05+00:00",
    "verdict": "Test accuracy 91.73 % -> 92.40 %.",
    "delivered": "refined",
    "checkpoint": {"sha256": "0" * 64, "filename": "net.th", "arch": "resnet20-a", "num_classes": 10},
    "data": {"name": "cifar10", "train_images": 50000},
    "before": _side(0.9173, 0.2876, 0.0302, 1.2345, 2.5),
    "after": _side(0.924, 0.2501, 0.0187, 0.4321, 1.25),
    "mcnemar": {"only_before": 112, "only_after": 179, "p_value": 0.00011},
    "cost": {"gradient_passes": 39100, "steps": 19550, "epochs": 50.0, "seconds": {"total": 3725.4}},
    "notes": ["The snapshot was damaged. Started from the checkpoint again."],
}
