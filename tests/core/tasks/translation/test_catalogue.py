"""examples/translation/catalogue.py: parallel text from gettext catalogues."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

from lastsam_core.tasks.translation import read_parallel

SCRIPT = Path(__file__).resolve().parents[4] / "examples" / "translation" / "catalogue.py"


def catalogue(pairs: dict[str, str]) -> bytes:
    """A .mo file (GNU gettext manual, sec. "The Format of GNU MO Files")."""
    strings = [text.encode() + b"\0" for column in zip(*sorted(pairs.items()), strict=True) for text in column]
    tables, content = b"", b""
    start = 28 + 8 * len(strings)
    for text in strings:
        tables += struct.pack("<II", len(text) - 1, start + len(content))
        content += text
    header = struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, start)
    return header + tables + content


def test_messages_become_parallel_files(tmp_path: Path) -> None:
    folder = tmp_path / "site" / "program" / "locale" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    plain = {f"Message number {i}": f"Meldung Nummer {i}" for i in range(200)}
    other = {
        "": "Content-Type: text/plain; charset=UTF-8\nPlural-Forms: nplurals=2; plural=(n != 1);\n",
        "menu\x04Open the file": "Datei öffnen",
        "%d old file\0%d old files": "%d alte Datei\0%d alte Dateien",
        "Yes": "Ja",
        "Two\nlines here": "Zwei\nZeilen hier",
        "Not translated": "",
    }
    (folder / "program.mo").write_bytes(catalogue(plain | other))
    out = tmp_path / "text"
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "site"), "--out", str(out)],
        capture_output=True,
        text=True,
        check=True,
    )
    parts = {name: read_parallel(out / f"{name}.de", out / f"{name}.en") for name in ("train", "valid", "test")}
    assert done.stdout == "".join(f"{name}: {len(text)} pairs\n" for name, text in parts.items())
    pairs = {}
    for text in parts.values():
        pairs |= dict(zip(text.target, text.source, strict=True))
    assert pairs == plain | {"Open the file": "Datei öffnen", "%d old file": "%d alte Datei"}
    assert sum(map(len, parts.values())) == len(pairs)
    assert len(parts["train"]) > 150
