"""Whether a checkpoint file has what a recipe asks of it beside the weights.

Torch-free, so that a job can be refused before it is made.
"""

from __future__ import annotations

from lastsam_core.checkpoints.layout import Layout
from lastsam_core.errors import CheckpointError
from lastsam_core.recipe import Recipe

__all__ = ["check_offer"]

_KEEP = 'Set optimizer.state to "fresh", or send the whole file: torch.save({"model": ..., "optimizer": ...}, path).'


def check_offer(recipe: Recipe, layout: Layout) -> None:
    """CheckpointError, with what to do, where averaged weights or an optimizer's state are asked for and not there."""
    if recipe.model.weights == "ema" and recipe.optimizer.state == "checkpoint":
        raise CheckpointError(
            "The optimizer's state in the file belongs to the weights, not to their average.",
            hint='Set optimizer.state to "fresh" or model.weights to "auto".',
        )
    if recipe.model.weights == "ema" and layout.ema is None:
        raise CheckpointError(
            "The checkpoint holds no averaged weights that can be used (`lastsam inspect` says what lies beside).",
            hint='Set model.weights to "auto".',
        )
    if recipe.optimizer.state == "fresh":
        return
    found, wanted = layout.optimizer, recipe.optimizer
    if found is None:
        raise CheckpointError("The checkpoint holds no optimizer's state to start with.", hint=_KEEP)
    if not found.usable:
        raise CheckpointError(f"The checkpoint's optimizer state cannot be started with: {found.reason}.", hint=_KEEP)
    if (found.kind == "sgd") != (wanted.name == "sgd"):
        raise CheckpointError(
            f"The checkpoint's optimizer state is {'SGD' if found.kind == 'sgd' else 'Adam'}'s, the recipe's optimizer "
            f"is {wanted.name}.",
            hint='Set optimizer.name to what trained the checkpoint, or optimizer.state to "fresh".',
        )
    if wanted.name == "sgd" and wanted.momentum == 0:
        raise CheckpointError(
            "The checkpoint's momentum is of no use to SGD without momentum.",
            hint='Set optimizer.momentum, or optimizer.state to "fresh".',
        )
