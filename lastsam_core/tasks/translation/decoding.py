"""Translating: beam search over a whole batch at once, with the keys and values of earlier tokens kept.

A hypothesis is worth log p(y | x) / |y|^a, |y| counting the EOS. A beam of one is greedy decoding. The search for a
sentence ends when `beam` hypotheses have ended, as in fairseq; what else is in the batch changes nothing about it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lastsam_core.models.transformer import PAD, Transformer
from lastsam_core.tasks.translation.batches import padded
from lastsam_core.tasks.translation.vocabulary import BOS, EOS

__all__ = ["beam_search", "translate_tokens"]

_NEVER = -math.inf


@torch.no_grad()
def beam_search(
    model: Transformer, source: Tensor, *, beam: int = 5, length_penalty: float = 1.0, longest: Tensor
) -> tuple[list[list[int]], list[float]]:
    """The best translation found for each row of `source` (int64 [B, S], with EOS), and its log p / |y|^a.

    beam: hypotheses kept alive, K >= 1. length_penalty: a. longest: int64 [B], tokens of a translation at most, EOS
    included, >= 1; who reaches it ends there. The tokens come without BOS and EOS. The model is used in its present
    mode.
    """
    if beam < 1:
        raise ValueError(f"beam must be at least 1, got {beam}")
    count, device = len(source), source.device
    first_row = torch.arange(count, device=device)[:, None] * beam
    state = model.encode(source).chosen(torch.arange(count, device=device).repeat_interleave(beam))
    tokens = torch.full((count, beam, 1), BOS, dtype=torch.int64, device=device)
    # All K beams begin alike; with one of them alive the first step finds K different ones.
    alive = torch.full((count, beam), _NEVER, device=device)
    alive[:, 0] = 0.0
    ended = torch.zeros(count, dtype=torch.int64, device=device)
    best = torch.full((count,), _NEVER, device=device)
    chosen: list[list[int]] = [[] for _ in range(count)]

    for length in range(1, int(longest.max()) + 1):
        logits, state = model.following(tokens.flatten(0, 1)[:, -1:], state)
        scores = _scores(logits[:, -1], at_end=(longest <= length).repeat_interleave(beam)).unflatten(0, (count, beam))
        size = scores.shape[2]
        # 2K candidates: at most one of each beam is an end, so that at least K can go on.
        values, places = (alive[:, :, None] + scores).flatten(1).topk(min(2 * beam, beam * size), dim=1)
        parents, words = places // size, places % size
        ends = words == EOS

        searching = ended < beam
        counted = ends & values.isfinite() & searching[:, None]
        counted[:, beam:] = False
        worth, which = torch.where(counted, values / length**length_penalty, _NEVER).max(dim=1)
        ended += counted.sum(dim=1)
        better = worth > best
        best = torch.where(better, worth, best)
        for row in better.nonzero().flatten().tolist():
            chosen[row] = tokens[row, parents[row, which[row]], 1:].tolist()

        alive, going_on = values.masked_fill(ends, _NEVER).topk(beam, dim=1)
        parents, words = parents.gather(1, going_on), words.gather(1, going_on)
        tokens = torch.cat([tokens.gather(1, parents[:, :, None].expand_as(tokens)), words[:, :, None]], dim=2)
        state = state.chosen((first_row + parents).flatten())
        if not bool(((ended < beam) & (longest > length)).any()):
            break
    return chosen, best.tolist()


def _scores(logits: Tensor, *, at_end: Tensor) -> Tensor:
    """log p [N, V] in float32; PAD and BOS never follow, and where `at_end` nothing but EOS does."""
    scores = logits.float().log_softmax(dim=1)
    end = scores[:, EOS].clone()
    scores[:, [PAD, BOS]] = _NEVER
    scores = scores.masked_fill(at_end[:, None], _NEVER)
    scores[:, EOS] = end
    return scores


def translate_tokens(
    model: Transformer,
    source: Sequence[Sequence[int]],
    *,
    beam: int = 5,
    length_penalty: float = 1.0,
    max_tokens: int = 4096,
) -> list[list[int]]:
    """The translation of each list of tokens (without EOS), in their order, by the model in evaluation mode.

    A translation has at most 1.5 times as many tokens as its source, and 20 more. Batches hold sentences of like length
    and at most `max_tokens` source tokens, beams included.
    """
    device = next(model.parameters()).device
    order = sorted(range(len(source)), key=lambda i: len(source[i]), reverse=True)
    translated: list[list[int]] = [[] for _ in source]
    was_training = model.training
    model.eval()
    try:
        while order:
            count = max(1, max_tokens // (beam * (len(source[order[0]]) + 1)))
            rows, order = order[:count], order[count:]
            longest = torch.tensor([3 * len(source[i]) // 2 + 20 for i in rows], device=device)
            tokens = padded([[*source[i], EOS] for i in rows], device)
            found, _ = beam_search(model, tokens, beam=beam, length_penalty=length_penalty, longest=longest)
            for i, row in zip(rows, found, strict=True):
                translated[i] = row
    finally:
        model.train(was_training)
    return translated
