"""Where results go: a JSON file a benchmark, with the machine and the versions it ran on."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lastsam_core.environment import describe

RESULTS = Path(__file__).parent / "results"


def machine(device: str = "cpu") -> dict[str, Any]:
    """Device, versions and cores."""
    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    return {**describe(torch.device(device)), "cpu": cpu, "cores": os.cpu_count()}


def write(name: str, result: dict[str, Any], device: str = "cpu") -> Path:
    """`results/NAME.json`: the result, the machine, the day and the command."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    record = {
        "command": f"python -m benchmarks {name}",
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(device),
        **result,
    }
    path.write_text(json.dumps(record, indent=2) + "\n")
    print(f"wrote {path}")
    return path


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
