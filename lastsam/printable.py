"""What a terminal may be shown: text from a service, a file or a person elsewhere must not steer it.

Names, tags, messages and metadata are other people's words. An escape sequence in one of them could rewrite what stands
on the screen, and an invisible character could reorder it; both become a visible replacement character.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

__all__ = ["clean", "printable", "safe_json"]

_SPACES = str.maketrans("\n\r\t\v\f\u2028\u2029", "       ")


def printable(text: object) -> str:
    """`text` as one line without control, format or private characters; spaces stand for its line ends and tabs."""
    plain = str(text).translate(_SPACES)
    return plain if plain.isprintable() else "".join(c if _shown(c) else "\N{REPLACEMENT CHARACTER}" for c in plain)


def clean(value: Any) -> Any:
    """A JSON value in which every text, keys included, is printable: to be shown, not to be kept."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {clean(key): clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [clean(item) for item in value]
    return value


def safe_json(text: str) -> str:
    """JSON that means the same and holds nothing unprintable: what is becomes an escape of JSON's own (RFC 8259)."""
    return text if text.isprintable() else "".join(c if c == "\n" or _shown(c) else _escaped(c) for c in text)


def _shown(character: str) -> bool:
    # isprintable() refuses every space but " "; a terminal takes the others as well.
    return character.isprintable() or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
