"""How well a linear classifier does on a network's features: what says how inputs were scaled when the head is new.

The features are what the head would take in. Half of the images fit the classifier, the other half judge it; scales
and shifts of the features do not matter, only what they still tell apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from lastsam_core.evaluation import evaluating

__all__ = ["probed"]

DECAY = 1e-2  # of the classifier's weights; features have unit variance
ITERATIONS = 50


def probed(model: nn.Module, head: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
    """(mean negative log-likelihood in nats, accuracy) on every second image; the model is left as it was.

    head: a module of `model`, whose input, flattened to [B, F], is taken for the features.
    """
    caught: list[Tensor] = []
    labels: list[Tensor] = []
    hook = head.register_forward_pre_hook(lambda _, given: caught.append(given[0].detach().flatten(1).double().cpu()))
    try:
        with evaluating(model), torch.no_grad():
            for x, y in batches:
                model(x)
                labels.append(y.cpu())
    finally:
        hook.remove()
    features, y = torch.cat(caught), torch.cat(labels)
    fit, judge = slice(0, None, 2), slice(1, None, 2)
    mean, std = features[fit].mean(dim=0), features[fit].std(dim=0).clamp(min=1e-12)
    features = (features - mean) / std
    logits = _classifier(features[fit], y[fit], int(y.max()) + 1)(features[judge])
    loss = nn.functional.cross_entropy(logits, y[judge])
    return loss.item(), (logits.argmax(dim=1) == y[judge]).double().mean().item()


def _classifier(features: Tensor, y: Tensor, classes: int) -> nn.Module:
    linear = nn.Linear(features.shape[1], classes, dtype=torch.float64)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(linear(features), y) + DECAY * linear.weight.square().sum() / 2
        loss.backward()
        return loss

    optimizer.step(closure)
    return linear.requires_grad_(False)
