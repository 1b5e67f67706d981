"""Parallel text as it is usually kept: two plain files, line i of one being the translation of line i of the other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from lastsam_core.errors import BadDataset

__all__ = ["LONGEST_LINE", "ParallelText", "read_parallel"]

LONGEST_LINE = 10_000
"""Characters; no sentence has that many, but a file that is not one sentence a line soon does."""


@dataclass(frozen=True, kw_only=True)
class ParallelText:
    """Sentences and their translations."""

    source: tuple[str, ...]
    """Sentences, none blank."""
    target: tuple[str, ...]
    """Their translations, in the same order."""

    def __post_init__(self) -> None:
        if len(self.source) != len(self.target) or not self.source:
            raise ValueError(f"{len(self.source)} sentences and {len(self.target)} translations: as many, and some")

    def __len__(self) -> int:
        return len(self.source)

    def digest(self) -> str:
        """sha256, hex, of all sentences and translations."""
        return hashlib.sha256("\n".join((*self.source, "", *self.target)).encode()).hexdigest()


def read_parallel(source: Path, target: Path) -> ParallelText:
    """The two files, UTF-8, a sentence a line; surrounding blanks are dropped.

    Raises BadDataset for a file that cannot be read, is not UTF-8, is empty, or has a blank or over-long line, and for
    two files of different length.
    """
    text = {path: _lines(path) for path in (source, target)}
    if len(text[source]) != len(text[target]):
        raise BadDataset(
            f"{source.name} has {len(text[source])} lines, {target.name} has {len(text[target])}.",
            hint="Line i of one file must be the translation of line i of the other.",
        )
    return ParallelText(source=text[source], target=text[target])


def _lines(path: Path) -> tuple[str, ...]:
    try:
        # Not splitlines(): that would also cut at form feeds and at Unicode's own separators.
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise BadDataset(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from error
    except UnicodeDecodeError as error:
        raise BadDataset(
            f"{path.name} is not UTF-8: byte {error.start} cannot be read.", hint="Convert it, for instance with iconv."
        ) from error
    if lines[-1] == "":
        lines.pop()
    if not lines:
        raise BadDataset(f"{path.name} is empty.", hint="Give a file with a sentence on each line.")
    stripped = tuple(line.strip() for line in lines)
    for number, line in enumerate(stripped, 1):
        if not line:
            raise BadDataset(f"{path.name}: line {number} is blank.", hint="Remove that line from both files.")
        if len(line) > LONGEST_LINE:
            raise BadDataset(
                f"{path.name}: line {number} has {len(line)} characters, more than {LONGEST_LINE}.",
                hint="Give one sentence a line.",
            )
    return stripped
