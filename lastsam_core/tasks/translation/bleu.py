"""BLEU (Papineni et al. 2002) as sacrebleu counts it, with the signature that makes a score comparable (Post 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lastsam_core.tasks.translation.packages import needed
from lastsam_core.tasks.translation.text import ParallelText
from lastsam_core.tasks.translation.translator import Translator

__all__ = ["bleu_of", "score_bleu"]


def bleu_of(hypotheses: Sequence[str], references: Sequence[str], *, lowercase: bool = False) -> dict[str, Any]:
    """{bleu, n, signature}: corpus BLEU in 0..100 over n sentences with a reference each, detokenised text.

    Published IWSLT'14 figures are mostly of lower-cased and tokenised text, from which this differs.
    """
    scorer = needed("sacrebleu.metrics", "BLEU").BLEU(lowercase=lowercase)
    score = scorer.corpus_score(list(hypotheses), [list(references)]).score
    return {"bleu": score, "n": len(references), "signature": str(scorer.get_signature())}


def score_bleu(
    translator: Translator, text: ParallelText, *, beam: int = 5, length_penalty: float = 1.0, lowercase: bool = False
) -> dict[str, Any]:
    """{bleu, n, signature, beam, length_penalty, hypotheses}: `bleu_of` the translations of `text.source`.

    CoreError where sacrebleu is missing, before anything is translated.
    """
    needed("sacrebleu.metrics", "BLEU")
    hypotheses = translator(text.source, beam=beam, length_penalty=length_penalty)
    found = bleu_of(hypotheses, text.target, lowercase=lowercase)
    return found | {"beam": beam, "length_penalty": length_penalty, "hypotheses": hypotheses}
