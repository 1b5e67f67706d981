"""A trained translator as one file: weights, shape and vocabulary, so that it needs nothing else to translate."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lastsam_core.errors import ArchitectureMismatch, CheckpointError, NonFiniteCheckpoint, NotACheckpoint
from lastsam_core.models.transformer import Transformer, TransformerShape
from lastsam_core.tasks.translation.decoding import translate_tokens
from lastsam_core.tasks.translation.vocabulary import Vocabulary

__all__ = ["Translator", "load_translator", "save_translator"]

_KIND = "lastsam-translator-1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Translator:
    """What turns sentences into sentences."""

    model: Transformer
    """On its device."""
    vocabulary: Vocabulary
    """Of both languages."""

    def __call__(self, sentences: Sequence[str], *, beam: int = 5, length_penalty: float = 1.0) -> list[str]:
        """The translations, in the same order; see decoding.translate_tokens."""
        tokens = translate_tokens(
            self.model, self.vocabulary.encode(sentences), beam=beam, length_penalty=length_penalty
        )
        return self.vocabulary.decode(tokens)


def save_translator(translator: Translator, path: Path, *, note: dict[str, Any] | None = None) -> None:
    """Write `path`, atomically; torch.load(weights_only=True) reads it.

    {"state_dict", "lastsam": {"kind", "shape", "note"}, "vocabulary": uint8 [bytes]}; note: JSON-able.
    NonFiniteCheckpoint where a weight is NaN or infinite.
    """
    state = {name: value.detach().cpu().clone() for name, value in translator.model.state_dict().items()}
    if broken := [name for name, value in state.items() if not value.isfinite().all()]:
        raise NonFiniteCheckpoint(f"{', '.join(broken[:3])} holds NaN or infinite numbers.", hint="Lower lr or rho.")
    about = {"kind": _KIND, "shape": asdict(translator.model.shape), "note": note or {}}
    vocabulary = torch.frombuffer(bytearray(translator.vocabulary.model), dtype=torch.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with hidden.open("xb") as file:
            torch.save({"state_dict": state, "lastsam": about, "vocabulary": vocabulary}, file)
            file.flush()
            os.fsync(file.fileno())
        hidden.replace(path)
    finally:
        hidden.unlink(missing_ok=True)


def load_translator(path: Path, *, device: torch.device | str = "cpu") -> tuple[Translator, dict[str, Any]]:
    """The translator of `path`, in evaluation mode, and the note it was saved with.

    Raises a CheckpointError where there is no such file, or it holds something else. No code of the file is run.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened: {error.strerror}.", hint="Check the path.") from error
    except Exception as error:
        # A pickle that asks for code, a damaged zip, a text file: torch has a different exception for each.
        raise NotACheckpoint(f"{path.name} is not a translator's checkpoint.", hint=_MAKE) from error
    about = saved.get("lastsam") if isinstance(saved, dict) else None
    if not isinstance(about, dict) or about.get("kind") != _KIND:
        raise NotACheckpoint(f"{path.name} is a checkpoint, but not a translator's.", hint=_MAKE)
    vocabulary = Vocabulary(saved["vocabulary"].numpy().tobytes())
    model = Transformer(TransformerShape(**about["shape"]), source_size=len(vocabulary), target_size=len(vocabulary))
    try:
        model.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        raise ArchitectureMismatch(f"{path.name}: the weights do not fit its own shape.", hint=_MAKE) from error
    return Translator(model=model.to(device).eval(), vocabulary=vocabulary), about["note"]


_MAKE = "Make one with `lastsam translation train`."
