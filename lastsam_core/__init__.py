"""lastsam_core: sharpness-aware refinement of trained checkpoints; the torch library behind LastSAM.

Everything is loaded when it is first asked for (PEP 562): processes that only need the recipe never load torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lastsam_core.checkpoints.load import load_checkpoint
    from lastsam_core.checkpoints.write import save_checkpoint
    from lastsam_core.evaluation import evaluate
    from lastsam_core.flatness import hessian_spectrum, loss_barrier, loss_landscape, sharpness
    from lastsam_core.models.registry import create_model
    from lastsam_core.recipe import Recipe
    from lastsam_core.refining import refine
    from lastsam_core.sam import SharpnessAware
    from lastsam_core.training import train

__all__ = [
    "Recipe",
    "SharpnessAware",
    "create_model",
    "evaluate",
    "hessian_spectrum",
    "load_checkpoint",
    "loss_barrier",
    "loss_landscape",
    "refine",
    "save_checkpoint",
    "sharpness",
    "train",
]

_HOME = {
    "Recipe": "recipe",
    "SharpnessAware": "sam",
    "create_model": "models.registry",
    "evaluate": "evaluation",
    "hessian_spectrum": "flatness",
    "load_checkpoint": "checkpoints.load",
    "loss_barrier": "flatness",
    "loss_landscape": "flatness",
    "refine": "refining",
    "save_checkpoint": "checkpoints.write",
    "sharpness": "flatness",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value
