"""Architectures that other installed packages bring: entry points of the group `lastsam.models`.

An entry point is an Architecture, several of them, or a function that returns either. Whoever installs a package has
decided to run it; but one that does not work must not take the others with it: it is left out, logged by name, and
listed in `plugin_problems`. examples/own_architecture is one.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from lastsam_core.models.architecture import Architecture
from lastsam_core.models.tensor_lists import tensor_list
from lastsam_core.models.zoo import ZOO

__all__ = ["GROUP", "load_plugins", "plugin_problems"]

log = logging.getLogger("lastsam.models")

GROUP = "lastsam.models"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_BUILDER = re.compile(r"[\w.]+:\w+")


def load_plugins() -> dict[str, Architecture]:
    """Name -> architecture of every plug-in that works; loaded once a process."""
    return _loaded()[0]


def plugin_problems() -> tuple[str, ...]:
    """A sentence for each plug-in that was left out."""
    return tuple(_loaded()[1])


@functools.cache
def _loaded() -> tuple[dict[str, Architecture], list[str]]:
    found: dict[str, Architecture] = {}
    problems: list[str] = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            new = {known.name: known for known in _architectures(point)}
            if taken := new.keys() & (ZOO.keys() | found.keys()):
                raise ValueError(f"the name {min(taken)} is taken")
        except Exception as error:
            problems.append(f"The plug-in {point.name} ({point.value}) is left out: {type(error).__name__}: {error}")
            log.warning("%s", problems[-1])
        else:
            found |= new
    return found, problems


def _architectures(point: EntryPoint) -> list[Architecture]:
    loaded: Any = point.load()
    if callable(loaded):
        loaded = loaded()
    several = [loaded] if isinstance(loaded, Architecture) or not isinstance(loaded, Iterable) else list(loaded)
    for known in several:
        if not isinstance(known, Architecture):
            raise TypeError(f"{type(known).__name__} is no lastsam_core.models.Architecture")
        if not _NAME.fullmatch(known.name):
            raise ValueError(f"{known.name!r} is no name: lower-case letters, digits, dots and dashes, up to 100")
        if not _BUILDER.fullmatch(known.builder):
            raise ValueError(f"the builder of {known.name} is not of the form module:function")
        if known.shapes is not None:
            tensor_list(known)
    return several
