"""A tiny text, its vocabulary and a tiny model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from lastsam_core.models.transformer import Transformer, TransformerShape
from lastsam_core.tasks.translation import ParallelText, TranslationBatches, Translator, Vocabulary
from tests.core.tasks.translation.numbers import number_text

TINY = TransformerShape(layers=2, dim=16, ffn=24, heads=2, dropout=0.0)


@pytest.fixture(scope="package")
def text() -> ParallelText:
    """The names of 150 numbers."""
    return number_text(list(range(0, 900, 6)))


@pytest.fixture(scope="package")
def vocabulary(text: ParallelText) -> Vocabulary:
    return Vocabulary.learn(text.source + text.target, 90)


@pytest.fixture(scope="package")
def make_batches(text: ParallelText, vocabulary: Vocabulary) -> Callable[..., TranslationBatches]:
    """`make_batches(max_tokens=..., seed=...)` of the text."""

    def make(max_tokens: int = 128, seed: int = 0, longest: int = 64) -> TranslationBatches:
        source, target = vocabulary.encode(text.source), vocabulary.encode(text.target)
        return TranslationBatches(source, target, max_tokens=max_tokens, seed=seed, longest=longest)

    return make


@pytest.fixture
def translator(vocabulary: Vocabulary) -> Translator:
    """Untrained."""
    torch.manual_seed(0)
    size = len(vocabulary)
    return Translator(model=Transformer(TINY, source_size=size, target_size=size).eval(), vocabulary=vocabulary)
