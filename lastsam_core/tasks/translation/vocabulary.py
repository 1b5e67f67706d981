"""Subwords: one byte-pair encoding (Sennrich et al. 2016) for both languages, learned and applied by sentencepiece.

IWSLT'14 De-En is customarily cut into 10,000 joint subwords. sentencepiece works on raw text and gives it back, so that
scores are taken on sentences as people write them.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from lastsam_core.errors import BadDataset, CheckpointError
from lastsam_core.models.transformer import PAD
from lastsam_core.tasks.translation.packages import needed

__all__ = ["BOS", "EOS", "UNKNOWN", "Vocabulary"]

UNKNOWN, BOS, EOS = 1, 2, 3
"""With PAD = 0, the tokens that are no text: an unseen character, the begin and the end of a sentence."""


class Vocabulary:
    """Text to tokens and back.

    model: what `learn` made, as bytes; CheckpointError where it is something else.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        try:
            self._processor = _sentencepiece().SentencePieceProcessor(model_proto=model)
            own = tuple(getattr(self._processor, f"{name}_id")() for name in ("pad", "unk", "bos", "eos"))
        except RuntimeError as error:
            raise CheckpointError("The vocabulary cannot be read.", hint="Was the file copied whole?") from error
        if own != (PAD, UNKNOWN, BOS, EOS):
            raise CheckpointError("The vocabulary was not made here.", hint="Learn one with Vocabulary.learn.")

    @classmethod
    def learn(cls, sentences: Iterable[str], size: int) -> Vocabulary:
        """The `size` most useful subwords of the sentences of both languages, the same for the same sentences.

        Raises BadDataset where the text has too many characters or too few words for that size.
        """
        made = io.BytesIO()
        try:
            _sentencepiece().SentencePieceTrainer.train(
                sentence_iterator=iter(sentences),
                model_writer=made,
                model_type="bpe",
                vocab_size=size,
                character_coverage=1.0,
                # What is read is what is scored: nothing is folded, so nothing is lost.
                normalization_rule_name="identity",
                max_sentence_length=1 << 20,
                pad_id=PAD,
                unk_id=UNKNOWN,
                bos_id=BOS,
                eos_id=EOS,
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            most = re.search(r"<= (\d+)", str(error))
            least = re.search(r"required_chars\. \d+ vs (\d+)", str(error))
            limit = f"at most {most[1]}" if most else f"at least {least[1]}" if least else "another size"
            raise BadDataset(
                f"A vocabulary of {size} subwords cannot be made of this text.", hint=f"Ask for {limit}."
            ) from error
        return cls(made.getvalue())

    def __len__(self) -> int:
        return len(self._processor)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """The tokens of each sentence, without BOS and EOS."""
        return self._processor.encode(list(sentences))

    def decode(self, tokens: Sequence[Sequence[int]]) -> list[str]:
        """The text of each list of tokens; PAD, BOS and EOS are no text."""
        return [self._processor.decode([int(token) for token in row]) for row in tokens]

    def digest(self) -> str:
        """sha256, hex."""
        return hashlib.sha256(self.model).hexdigest()


def _sentencepiece() -> Any:
    return needed("sentencepiece", "A vocabulary of subwords")
