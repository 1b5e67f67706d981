"""The encoder-decoder Transformer of Vaswani et al. 2017 (arXiv:1706.03762), in the size used on IWSLT'14 De-En.

Post-norm, sinusoidal positions, the output layer sharing the target embedding. Sequences are padded on the right with
token 0, so a decoder position needs no mask for padding: it looks back only, and nothing behind the end is scored. The
registry of image architectures does not know it, since a vocabulary belongs to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

__all__ = ["PAD", "SHAPES", "DecoderState", "Transformer", "TransformerShape"]

PAD = 0
"""The token that fills up short sequences."""

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, kw_only=True)
class TransformerShape:
    """The sizes of a Transformer, equal in encoder and decoder."""

    layers: int
    """Of the encoder, and again of the decoder."""
    dim: int
    """Width of the residual stream; a multiple of 2 x heads."""
    ffn: int
    """Width inside the feed-forward layers."""
    heads: int
    """Attention heads."""
    dropout: float
    """On embeddings and on what each sublayer adds; none on attention weights."""

    def __post_init__(self) -> None:
        if min(self.layers, self.dim, self.ffn, self.heads) < 1 or self.dim % (2 * self.heads):
            raise ValueError(f"sizes must be at least 1, and dim a multiple of 2 x heads: {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")


SHAPES = {
    "transformer_iwslt_de_en": TransformerShape(layers=6, dim=512, ffn=1024, heads=4, dropout=0.3),
    "transformer_small": TransformerShape(layers=2, dim=128, ffn=256, heads=4, dropout=0.1),
}
"""The sizes that have a name: that of fairseq's recipe for IWSLT'14, and one that a CPU trains."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DecoderState:
    """What decoding one more token needs of the source and of the tokens before it."""

    mask: Tensor
    """Which source positions may be looked at, bool [B, 1, 1, S]."""
    memory: list[KeysValues]
    """Keys and values of the encoded source, for each layer [B, H, S, D]."""
    past: list[KeysValues]
    """Keys and values of the tokens so far, for each layer [B, H, T, D]; empty before the first."""

    def chosen(self, rows: Tensor) -> DecoderState:
        """The state of these rows (int64 [B']), of which there may be any number, in any order."""

        def pick(pairs: list[KeysValues]) -> list[KeysValues]:
            return [(keys[rows], values[rows]) for keys, values in pairs]

        return DecoderState(mask=self.mask[rows], memory=pick(self.memory), past=pick(self.past))


class Transformer(nn.Module):
    """Logits [B, T, V] of the token that follows each of `target` [B, T], given `source` [B, S]; tokens are int64.

    source_size, target_size: the vocabularies'. A source has at least one token that is not PAD.
    """

    def __init__(self, shape: TransformerShape, *, source_size: int, target_size: int, **changes: Any) -> None:
        super().__init__()
        self.shape = shape = replace(shape, **changes)
        self.source_embedding = _Embedding(source_size, shape)
        self.target_embedding = _Embedding(target_size, shape)
        self.encoder = nn.ModuleList(_EncoderLayer(shape) for _ in range(shape.layers))
        self.decoder = nn.ModuleList(_DecoderLayer(shape) for _ in range(shape.layers))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return self.following(target, self.encode(source))[0]

    def encode(self, source: Tensor) -> DecoderState:
        """source int64 [B, S] -> the state before the first target token."""
        mask = (source != PAD)[:, None, None, :]
        x = self.source_embedding(source)
        for layer in self.encoder:
            x = layer(x, mask)
        memory = [layer.source_attention.project(x) for layer in self.decoder]  # pyright: ignore
        return DecoderState(mask=mask, memory=memory, past=[])

    def following(self, target: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """Logits [B, T, V] after each of the next tokens, int64 [B, T], and the state after the last of them.

        T > 1 only before the first token.
        """
        start = state.past[0][0].shape[2] if state.past else 0
        if start and target.shape[1] > 1:
            raise ValueError("after the first tokens, one more at a time")
        x = self.target_embedding(target, start)
        past: list[KeysValues] = []
        for i, layer in enumerate(self.decoder):
            x, keys_values = layer(x, state.past[i] if start else None, state.memory[i], state.mask)
            past.append(keys_values)
        logits = linear(x, self.target_embedding.weight)
        return logits, DecoderState(mask=state.mask, memory=state.memory, past=past)


class _Embedding(nn.Module):
    """sqrt(d) E[token] + sin/cos positions (Vaswani 2017, sec. 3.4 and 3.5)."""

    def __init__(self, size: int, shape: TransformerShape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size, shape.dim, padding_idx=PAD)
        nn.init.normal_(self.tokens.weight, std=shape.dim**-0.5)
        with torch.no_grad():
            self.tokens.weight[PAD].zero_()
        self.dropout = nn.Dropout(shape.dropout)

    @property
    def weight(self) -> Tensor:
        return self.tokens.weight

    def forward(self, tokens: Tensor, start: int = 0) -> Tensor:
        x = self.tokens(tokens)
        dim, length = x.shape[2], tokens.shape[1]
        place = torch.arange(start, start + length, device=x.device, dtype=torch.float32)
        pace = torch.exp(torch.arange(0, dim, 2, device=x.device) * (-math.log(10_000.0) / dim))
        angle = place[:, None] * pace
        positions = torch.cat([angle.sin(), angle.cos()], dim=1).to(x.dtype)
        return self.dropout(math.sqrt(dim) * x + positions)


class _Attention(nn.Module):
    """softmax(Q K^T / sqrt(D)) V over `heads` heads."""

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.heads = shape.heads
        self.query, self.key, self.value, self.out = (nn.Linear(shape.dim, shape.dim) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def project(self, x: Tensor) -> KeysValues:
        """x [B, S, d] -> keys and values [B, H, S, D]."""
        return self._split(self.key(x)), self._split(self.value(x))

    def forward(self, x: Tensor, keys_values: KeysValues, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        seen = scaled_dot_product_attention(self._split(self.query(x)), *keys_values, attn_mask=mask, is_causal=causal)
        return self.out(seen.transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class _EncoderLayer(nn.Module):
    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.attention = _Attention(shape)
        self.feed_forward = _feed_forward(shape)
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(shape.dim), nn.LayerNorm(shape.dim)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, self.attention.project(x), mask)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class _DecoderLayer(nn.Module):
    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.attention, self.source_attention = _Attention(shape), _Attention(shape)
        self.feed_forward = _feed_forward(shape)
        self.attention_norm, self.source_attention_norm = nn.LayerNorm(shape.dim), nn.LayerNorm(shape.dim)
        self.feed_forward_norm = nn.LayerNorm(shape.dim)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self, x: Tensor, past: KeysValues | None, memory: KeysValues, mask: Tensor
    ) -> tuple[Tensor, KeysValues]:
        own = self.attention.project(x)
        if past is not None:
            own = torch.cat([past[0], own[0]], dim=2), torch.cat([past[1], own[1]], dim=2)
        x = self.attention_norm(x + self.dropout(self.attention(x, own, causal=past is None)))
        x = self.source_attention_norm(x + self.dropout(self.source_attention(x, memory, mask)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x))), own


def _feed_forward(shape: TransformerShape) -> nn.Sequential:
    layers = nn.Linear(shape.dim, shape.ffn), nn.Linear(shape.ffn, shape.dim)
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(layers[0], nn.ReLU(), layers[1])
