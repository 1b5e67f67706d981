"""Packages that only translation needs; the rest of the library runs without them."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lastsam_core.errors import CoreError

__all__ = ["needed"]


def needed(name: str, what_for: str) -> Any:
    """The module of that name; CoreError, with how to install it, where it is missing."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        raise CoreError(
            f"{what_for} needs the package {error.name}, which is not installed.",
            hint="pip install 'lastsam[translation]'",
        ) from error
