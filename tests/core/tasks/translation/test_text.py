"""Two files of parallel text: what is read, and what is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from lastsam_core.errors import BadDataset
from lastsam_core.tasks.translation import ParallelText, read_parallel
from lastsam_core.tasks.translation.text import LONGEST_LINE


def files(folder: Path, source: bytes, target: bytes) -> tuple[Path, Path]:
    (folder / "t.de").write_bytes(source)
    (folder / "t.en").write_bytes(target)
    return folder / "t.de", folder / "t.en"


def test_lines_belong_together(tmp_path: Path) -> None:
    # A form feed and U+2028 end no line; a byte-order mark and Windows' line ends are no text.
    source = "\ufeffErstens \r\nZwei\x0ctens\u2028und\n".encode()
    text = read_parallel(*files(tmp_path, source, b"First\nSecond"))
    assert text == ParallelText(source=("Erstens", "Zwei\x0ctens\u2028und"), target=("First", "Second"))
    assert len(text) == 2
    other = ParallelText(source=text.source, target=("First", "Third"))
    assert text.digest() != other.digest()


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (b"a\nb\n", b"a\n", "t.de has 2 lines, t.en has 1"),
        (b"", b"", "t.de is empty"),
        (b"a\n", b"\n", "t.en: line 1 is blank"),
        (b"a\n \nb\n", b"a\nb\nc\n", "t.de: line 2 is blank"),
        (b"caf\xe9\n", b"a\n", "t.de is not UTF-8: byte 3"),
        (b"a\n", b"a" * (LONGEST_LINE + 1), f"t.en: line 1 has {LONGEST_LINE + 1} characters"),
    ],
)
def test_what_is_no_parallel_text_is_refused(tmp_path: Path, source: bytes, target: bytes, sentence: str) -> None:
    with pytest.raises(BadDataset, match=sentence) as caught:
        read_parallel(*files(tmp_path, source, target))
    assert caught.value.hint


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match=r"none\.de cannot be read: No such file"):
        read_parallel(tmp_path / "none.de", tmp_path / "none.en")


def test_there_is_a_translation_of_each_sentence() -> None:
    with pytest.raises(ValueError, match="1 sentences and 0 translations"):
        ParallelText(source=("a",), target=())
