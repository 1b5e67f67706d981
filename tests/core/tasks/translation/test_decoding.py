"""Beam search, against a slow search of one sentence and against trying everything."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from lastsam_core.models.transformer import PAD, Transformer
from lastsam_core.tasks.translation.decoding import beam_search, translate_tokens
from lastsam_core.tasks.translation.vocabulary import BOS, EOS
from tests.core.tasks.translation.conftest import TINY

WORDS = 8  # PAD, unknown, BOS, EOS and four more


@pytest.fixture
def model() -> Transformer:
    """Random, in float64, and decided enough about what follows to have preferences."""
    torch.manual_seed(3)
    model = Transformer(TINY, source_size=WORDS, target_size=WORDS).double().eval()
    with torch.no_grad():
        model.target_embedding.weight.mul_(2)
    return model


def sources(rows: int = 6) -> Tensor:
    tokens = torch.randint(4, WORDS, (rows, 5), generator=torch.Generator().manual_seed(1))
    for row in range(rows):
        tokens[row, 1 + row % 4] = EOS
        tokens[row, 2 + row % 4 :] = PAD
    return tokens


@torch.no_grad()
def log_p(model: Transformer, source: Tensor, tokens: list[int]) -> list[float]:
    """log p of each word after BOS and `tokens`, PAD and BOS excluded; without any cache."""
    scores = model(source[None], torch.tensor([[BOS, *tokens]]))[0, -1].float().log_softmax(dim=0).tolist()
    return [-math.inf if word in (PAD, BOS) else value for word, value in enumerate(scores)]


def slow_search(model: Transformer, source: Tensor, beam: int, penalty: float, longest: int) -> tuple[list[int], float]:
    source = source[source != PAD]
    alive: list[tuple[float, list[int]]] = [(0.0, [])]
    ended: list[tuple[float, list[int]]] = []
    for length in range(1, longest + 1):
        grown = [
            (score + value, [*tokens, word])
            for score, tokens in alive
            for word, value in enumerate(log_p(model, source, tokens))
            if value > -math.inf and (length < longest or word == EOS)
        ]
        grown.sort(key=lambda pair: -pair[0])
        ended += [(score / length**penalty, tokens[:-1]) for score, tokens in grown[:beam] if tokens[-1] == EOS]
        alive = [pair for pair in grown if pair[1][-1] != EOS][:beam]
        if len(ended) >= beam:
            break
    score, tokens = max(ended, key=lambda pair: pair[0])
    return tokens, score


@pytest.mark.parametrize(("beam", "penalty"), [(1, 1.0), (2, 1.0), (3, 0.0), (5, 1.0), (5, 0.6)])
def test_it_finds_what_a_slow_search_of_each_sentence_finds(model: Transformer, beam: int, penalty: float) -> None:
    source = sources()
    longest = torch.tensor([4, 7, 5, 6, 1, 7])
    found, scores = beam_search(model, source, beam=beam, length_penalty=penalty, longest=longest)
    for row in range(len(source)):
        tokens, score = slow_search(model, source[row], beam, penalty, int(longest[row]))
        assert found[row] == tokens
        assert scores[row] == pytest.approx(score, abs=1e-5)
    assert len({tuple(tokens) for tokens in found}) > 2


def test_with_room_for_everything_it_finds_the_best_there_is(model: Transformer) -> None:
    source = sources(2)
    words = (1, *range(4, WORDS))
    found, scores = beam_search(model, source, beam=200, length_penalty=0.0, longest=torch.tensor([3, 3]))
    for row in range(2):
        every = []
        for tokens in [list(t) for n in range(3) for t in itertools.product(words, repeat=n)]:
            steps = [log_p(model, source[row][source[row] != PAD], tokens[:i])[word] for i, word in enumerate(tokens)]
            # Who has reached the longest length has to end.
            every.append((sum(steps) + log_p(model, source[row][source[row] != PAD], tokens)[EOS], tokens))
        score, tokens = max(every)
        assert found[row] == tokens
        assert scores[row] == pytest.approx(score, abs=1e-5)


def test_sentences_come_back_in_order_whatever_shares_their_batch(model: Transformer) -> None:
    rows = [[word for word in row if word > EOS] for row in sources().tolist()]
    alone = [translate_tokens(model, [row], beam=3)[0] for row in rows]
    assert translate_tokens(model, rows, beam=3) == alone
    assert translate_tokens(model, rows, beam=3, max_tokens=1) == alone
    assert translate_tokens(model, []) == []


def test_the_model_is_left_in_its_mode(model: Transformer) -> None:
    model.train()
    translate_tokens(model, [[4, 5]])
    assert model.training
    with pytest.raises(ValueError, match="beam must be at least 1"):
        beam_search(model, sources(), beam=0, longest=torch.ones(6, dtype=torch.int64))
