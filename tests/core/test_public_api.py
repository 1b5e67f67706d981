"""What library users see: one screen of names, each of them explained."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lastsam_core

SCREEN = 120  # lines of lastsam_core/__init__.py, imports for type checkers included


def modules() -> list[str]:
    found = [name for _, name, _ in pkgutil.walk_packages(lastsam_core.__path__, "lastsam_core.")]
    return [name for name in found if not name.endswith("__main__")]


def public(module: Any) -> Iterator[tuple[str, Any]]:
    """Classes and functions that the module's __all__ names, and the public methods of the classes."""
    for name in getattr(module, "__all__", ()):
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isfunction(value)) or value.__module__ != module.__name__:
            continue
        yield name, value
        if inspect.isclass(value):
            for member, function in vars(value).items():
                plain = function.fget if isinstance(function, property) else getattr(function, "__func__", function)
                # `forward` is nn.Module's, the class says what it takes and gives.
                if inspect.isfunction(plain) and not member.startswith("_") and member != "forward":
                    yield f"{name}.{member}", plain


@pytest.mark.parametrize("name", modules())
def test_every_public_name_has_a_docstring(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} does not open with its idea"
    for member, value in public(module):
        own = value.__doc__ or ""
        assert len(own.split()) >= 2, f"{name}.{member} has no docstring of its own"
        assert not own.startswith(f"{member}("), f"{name}.{member} has a generated docstring"


def test_the_public_names_fit_one_screen_and_load() -> None:
    assert len(Path(lastsam_core.__file__).read_text().splitlines()) <= SCREEN
    assert len(lastsam_core.__all__) <= 20
    assert lastsam_core.__all__ == sorted(lastsam_core.__all__)
    for name in lastsam_core.__all__:
        assert getattr(lastsam_core, name).__doc__


def test_a_name_that_is_not_there_is_said_so() -> None:
    with pytest.raises(AttributeError, match="sharpnes"):
        lastsam_core.sharpnes  # noqa: B018  # pyright: ignore
