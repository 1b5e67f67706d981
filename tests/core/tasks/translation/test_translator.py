"""The file of a translator: everything comes back, nothing else is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lastsam_core.errors import ArchitectureMismatch, CheckpointError, NonFiniteCheckpoint, NotACheckpoint
from lastsam_core.tasks.translation import Translator, load_translator, save_translator
from tests.factories import checkpoint_file, digest_of


def test_a_saved_translator_translates_alike(translator: Translator, tmp_path: Path) -> None:
    path = tmp_path / "new" / "model.pt"
    save_translator(translator, path, note={"made_by": "a test"})
    again, note = load_translator(path)
    assert note == {"made_by": "a test"}
    assert again.model.shape == translator.model.shape
    assert digest_of(again.model.state_dict()) == digest_of(translator.model.state_dict())
    sentences = ["zwölf", "einhundertdrei"]
    assert again(sentences, beam=2) == translator(sentences, beam=2)
    assert [entry.name for entry in path.parent.iterdir()] == ["model.pt"]


def test_what_is_no_translator_is_refused(tmp_path: Path, translator: Translator) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt cannot be opened: No such file"):
        load_translator(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("something else")
    with pytest.raises(NotACheckpoint, match=r"text\.pt is not a translator's checkpoint"):
        load_translator(tmp_path / "text.pt")
    with pytest.raises(NotACheckpoint, match="but not a translator's"):
        load_translator(checkpoint_file(tmp_path / "net.pt"))
    save_translator(translator, tmp_path / "ok.pt")
    saved = torch.load(tmp_path / "ok.pt", weights_only=True)
    saved["lastsam"]["shape"]["ffn"] = 32
    torch.save(saved, tmp_path / "other.pt")
    with pytest.raises(ArchitectureMismatch, match="do not fit its own shape"):
        load_translator(tmp_path / "other.pt")


def test_weights_that_are_not_finite_are_not_saved(translator: Translator, tmp_path: Path) -> None:
    with torch.no_grad():
        next(translator.model.parameters())[5, 0] = float("nan")
    with pytest.raises(NonFiniteCheckpoint, match="source_embedding"):
        save_translator(translator, tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []
