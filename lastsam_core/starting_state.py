"""An optimizer that goes on where the checkpoint's own one stopped: its buffers are those that lay in the file.

With them, training that is cut in two equals training in one go; without, the first steps of a phase are those of a
cold optimizer, which is what LastSAM's papers do (`optimizer.state` "fresh").
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lastsam_core.checkpoints import Layout, OptimizerState
from lastsam_core.checkpoints.offers import check_offer
from lastsam_core.errors import CheckpointError
from lastsam_core.recipe import Recipe

__all__ = ["start_from", "wanted_state"]


def wanted_state(recipe: Recipe, layout: Layout, found: OptimizerState | None) -> OptimizerState | None:
    """The state that the recipe's optimizer starts with, None for a fresh one.

    CheckpointError where the recipe asks for the checkpoint's and it has none that fits.
    """
    if recipe.optimizer.state == "fresh":
        return None
    check_offer(recipe, layout)
    if found is None:
        raise CheckpointError("The optimizer's state was not loaded with the weights.")
    return found


def start_from(optimizer: torch.optim.Optimizer, model: nn.Module, state: OptimizerState) -> None:
    """Give the optimizer the buffers of `state`, each in its parameter's dtype, device and memory layout.

    optimizer: torch's SGD with momentum, Adam or AdamW over the model's parameters, or a SharpnessAware around one,
    before its first step. A parameter without buffers gets SGD's zero momentum, which is what the first step would
    make of it; Adam begins such a parameter afresh. ValueError for buffers of parameters that the model has not.
    """
    parameters = dict(model.named_parameters())
    unknown = state.buffers.keys() - parameters.keys()
    if unknown:
        raise ValueError(f"the state is of another model: it has {min(unknown)}")
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in parameters.items():
        group = groups.get(id(parameter))
        if group is None:
            continue
        buffers = state.buffers.get(name, {})
        if state.kind == "sgd":
            held = buffers.get("momentum_buffer")
            # The fused kernel takes a buffer for all parameters or for none.
            made = torch.zeros_like(parameter) if held is None else _like(parameter, held)
            optimizer.state[parameter]["momentum_buffer"] = made.detach()
        elif buffers:
            # torch counts on the host unless the step itself runs on the device.
            on_device = group.get("fused") or group.get("capturable")
            optimizer.state[parameter].update(
                {
                    "step": buffers["step"].to(parameter.device if on_device else "cpu", torch.float32).clone(),
                    "exp_avg": _like(parameter, buffers["exp_avg"]),
                    "exp_avg_sq": _like(parameter, buffers["exp_avg_sq"]),
                }
            )


def _like(parameter: Tensor, held: Tensor) -> Tensor:
    return torch.empty_like(parameter, requires_grad=False).copy_(held)
