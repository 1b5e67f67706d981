"""How long a step takes: plain SGD, ours and pytorch_optimizer's SAM and ASAM, alternating in one run on one batch.

ResNet-20, batch 128, random images. Ratios within a round are what counts: the machine's speed drifts between rounds.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.report import write
from lastsam_core import SharpnessAware, create_model

ROUNDS = 15
BATCH = 128


def main() -> None:
    torch.manual_seed(0)
    model = create_model("resnet20-a").to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, 3, 32, 32).to(memory_format=torch.channels_last)
    y = torch.randint(10, (BATCH,))
    steps = {
        "sgd": ours(copy.deepcopy(model), x, y, "sgd"),
        "ours_sam": ours(copy.deepcopy(model), x, y, "sam"),
        "ours_asam": ours(copy.deepcopy(model), x, y, "asam"),
        "ours_asam_bf16": ours(copy.deepcopy(model), x, y, "asam", autocast=torch.bfloat16),
        "port_asam": port(copy.deepcopy(model), x, y),
        "port_asam_default_layout": port(
            copy.deepcopy(model).to(memory_format=torch.contiguous_format), x.contiguous(), y
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for round in range(ROUNDS + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if round >= 2:
                seconds[name].append(time.perf_counter() - began)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = (
        ("ours_asam", "sgd"),
        ("ours_sam", "sgd"),
        ("port_asam", "ours_asam"),
        ("port_asam_default_layout", "ours_asam"),
        ("port_asam_default_layout", "ours_asam_bf16"),
    )
    ratios = {f"{a}/{b}": spread([p / q for p, q in zip(seconds[a], seconds[b], strict=True)]) for a, b in pairs}
    for name, value in medians.items():
        print(f"{name:28} {value * 1000:8.1f} ms")
    for name, value in ratios.items():
        print(f"{name:42} {value['median']:.2f}  ({value['min']:.2f} - {value['max']:.2f})")
    write("step", {"batch": BATCH, "rounds": ROUNDS, "median_seconds": medians, "ratios": ratios})


def spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ours(
    model: nn.Module, x: torch.Tensor, y: torch.Tensor, method: Any, *, autocast: torch.dtype | None = None
) -> Callable[[], None]:
    base = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, fused=True)
    optimizer = SharpnessAware(base, model=model, method=method, rho=0.5 if method == "asam" else 0.05)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    def step() -> None:
        optimizer.step(closure)
        optimizer.zero_grad()

    return step


def port(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], None]:
    """A plain loop over the common port, as its documentation shows it."""
    from pytorch_optimizer import SAM

    optimizer = SAM(
        model.parameters(), torch.optim.SGD, rho=2.0, adaptive=True, lr=0.01, momentum=0.9, weight_decay=5e-4
    )

    def step() -> None:
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.first_step(zero_grad=True)
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.second_step(zero_grad=True)

    return step
