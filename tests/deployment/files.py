"""The installation files as data: what Dockerfile, docker-compose.yml and pyproject.toml say."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import yaml

__all__ = ["COMPOSE", "PROJECT", "ROOT", "SERVICES", "STAGES", "TARGETS", "env", "healthcheck", "last"]

ROOT = Path(__file__).resolve().parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def _stages() -> dict[str, list[tuple[str, str]]]:
    """Each stage's instructions, those of the stage it builds on first."""
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.M)
    text = re.sub(r"\\\n\s*", " ", text)
    stages: dict[str, list[tuple[str, str]]] = {}
    current = ""
    for line in filter(None, (line.strip() for line in text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, current = rest.partition(" AS ")
            stages[current] = [*stages.get(base, []), ("FROM", base)]
        else:
            stages[current].append((word, rest.strip()))
    return stages


STAGES = _stages()
TARGETS = ("service", "worker-cpu", "worker-cuda")


def last(target: str, word: str) -> str:
    """What the last such instruction of an image says."""
    return [rest for name, rest in STAGES[target] if name == word][-1]


def env(target: str) -> dict[str, str]:
    """The environment that an image sets."""
    pairs = [pair for word, rest in STAGES[target] if word == "ENV" for pair in shlex.split(rest)]
    return dict(pair.split("=", 1) for pair in pairs)


def healthcheck(target: str) -> list[str]:
    """The command with which an image watches itself."""
    return json.loads(last(target, "HEALTHCHECK").partition(" CMD ")[2])
