"""Parallel text from gettext catalogues: what a program says in English, and what its translators made of it.

    python examples/translation/catalogue.py FOLDER --language de --out text

Reads every FOLDER/**/LANGUAGE/LC_MESSAGES/*.mo (a package installed by pip will do) and writes train, valid and test,
each as .LANGUAGE and .en. Which messages are held out depends on the message alone, so that no duplicate is on both
sides.
"""

from __future__ import annotations

import argparse
import gettext
import hashlib
from pathlib import Path


def messages(folder: Path, language: str) -> dict[str, str]:
    """English -> translation, of all single-line messages of more than one word without markup."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob(f"{language}/LC_MESSAGES/*.mo")):
        with path.open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
        for key, translation in catalogue.items():
            # Plural forms are (singular message, number), messages with a context are "context\x04message".
            message, form = key if isinstance(key, tuple) else (key, 0)
            english = message.rpartition("\x04")[2] if form == 0 else ""
            if " " in english and translation and not {"\n", "<"} & set(english + translation):
                found.setdefault(english.strip(), translation.strip())
    return found


def part_of(english: str) -> str:
    """train, valid or test: 90, 5 and 5 in a hundred, by the message's sha256."""
    place = hashlib.sha256(english.encode()).digest()[0] % 20
    return {0: "valid", 1: "test"}.get(place, "train")


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--language", default="de")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found = messages(given.folder, given.language)
    if not found:
        parser.error(f"no {given.language}/LC_MESSAGES/*.mo with messages lies under {given.folder}")
    given.out.mkdir(parents=True, exist_ok=True)
    for part in ("train", "valid", "test"):
        pairs = [(theirs, english) for english, theirs in sorted(found.items()) if part_of(english) == part]
        for column, language in enumerate((given.language, "en")):
            lines = "".join(f"{pair[column]}\n" for pair in pairs)
            (given.out / f"{part}.{language}").write_text(lines, encoding="utf-8")
        print(f"{part}: {len(pairs)} pairs")


if __name__ == "__main__":
    main()
