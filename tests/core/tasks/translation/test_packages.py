"""A missing package is a sentence, with what to install."""

from __future__ import annotations

import pytest

from lastsam_core.errors import CoreError
from lastsam_core.tasks.translation.packages import needed


def test_what_is_there_is_given_and_what_is_missing_is_named() -> None:
    assert needed("json.decoder", "Reading").JSONDecoder
    with pytest.raises(CoreError, match="BLEU needs the package no_such_package, which is not installed") as caught:
        needed("no_such_package.metrics", "BLEU")
    assert caught.value.hint == "pip install 'lastsam[translation]'"


def test_a_package_that_is_itself_incomplete_is_not_called_missing(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("site")
    (folder / "half_installed.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(str(folder))
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        needed("half_installed", "BLEU")
