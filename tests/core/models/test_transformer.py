"""The Transformer: its size, what it may see, and decoding a token at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lastsam_core.models.transformer import PAD, SHAPES, Transformer, TransformerShape
from lastsam_core.perturbation import leaves_of

TINY = TransformerShape(layers=2, dim=16, ffn=24, heads=2, dropout=0.0)


def tiny(**changes: float) -> Transformer:
    torch.manual_seed(0)
    return Transformer(TINY, source_size=11, target_size=13, **changes).double()


def tokens(rows: int, width: int, size: int, seed: int = 0) -> Tensor:
    return torch.randint(4, size, (rows, width), generator=torch.Generator().manual_seed(seed))


def test_at_fairseqs_vocabularies_it_has_fairseqs_39469056_parameters() -> None:
    with torch.device("meta"):
        model = Transformer(SHAPES["transformer_iwslt_de_en"], source_size=8848, target_size=6632)
    assert sum(p.numel() for p in model.parameters()) == 39_469_056


def test_it_computes_what_torchs_own_layers_compute() -> None:
    model = tiny()
    source, target = tokens(3, 5, 11), tokens(3, 4, 13)
    source[1, 3:] = PAD
    theirs = nn.Transformer(16, 2, 2, 2, 24, 0.0, batch_first=True, dtype=torch.float64)
    assert theirs.encoder.norm is not None
    assert theirs.decoder.norm is not None
    theirs.encoder.norm = theirs.decoder.norm = None  # pyright: ignore[reportAttributeAccessIssue]
    for own, other in zip(
        [*model.encoder, *model.decoder], [*theirs.encoder.layers, *theirs.decoder.layers], strict=True
    ):
        copy_layer(own, other)
    mask = source == PAD
    ahead = nn.Transformer.generate_square_subsequent_mask(4, dtype=torch.float64)
    out = theirs(
        model.source_embedding(source),
        model.target_embedding(target),
        tgt_mask=ahead,
        src_key_padding_mask=mask,
        memory_key_padding_mask=mask,
    )
    expected = out @ model.target_embedding.weight.T
    torch.testing.assert_close(model(source, target), expected, atol=1e-12, rtol=1e-10)


@torch.no_grad()
def copy_layer(own: nn.Module, other: nn.Module) -> None:
    pairs = [("attention", "self_attn"), ("source_attention", "multihead_attn")]
    for mine, name in pairs:
        if (attention := getattr(own, mine, None)) is not None:
            packed = getattr(other, name)
            parts = (attention.query, attention.key, attention.value)
            packed.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            packed.in_proj_bias.copy_(torch.cat([part.bias for part in parts]).uniform_(-1, 1))
            for part, bias in zip(parts, packed.in_proj_bias.chunk(3), strict=True):
                part.bias.copy_(bias)
            packed.out_proj.load_state_dict(attention.out.state_dict())
    other.linear1.load_state_dict(own.feed_forward[0].state_dict())  # pyright: ignore
    other.linear2.load_state_dict(own.feed_forward[2].state_dict())  # pyright: ignore


def test_a_position_sees_neither_later_tokens_nor_padding() -> None:
    model = tiny()
    source, target = tokens(2, 5, 11), tokens(2, 6, 13)
    source[0, 3:] = PAD
    before = model(source, target)
    changed = target.clone()
    changed[:, 4:] = tokens(2, 2, 13, seed=5)
    assert not torch.equal(changed, target)
    torch.testing.assert_close(model(source, changed)[:, :4], before[:, :4], atol=1e-12, rtol=0)
    wider = torch.cat([source, torch.full((2, 3), PAD)], dim=1)
    torch.testing.assert_close(model(wider, target), before, atol=1e-12, rtol=0)
    other = source.clone()
    other[1, 0] = 4 if source[1, 0] != 4 else 5
    assert not torch.allclose(model(other, target)[1], before[1])


def test_one_token_at_a_time_gives_the_logits_of_all_at_once() -> None:
    model = tiny().eval()
    source, target = tokens(3, 5, 11), tokens(3, 6, 13)
    source[2, 2:] = PAD
    rows = torch.tensor([2, 0, 0])
    whole = model(source, target)[rows]
    logits, state = model.following(target[:, :2], model.encode(source))
    state = state.chosen(rows)
    steps = [*logits[rows].unbind(1)]
    for i in range(2, 6):
        logits, state = model.following(target[rows, i : i + 1], state)
        steps.append(logits[:, 0])
    torch.testing.assert_close(torch.stack(steps, dim=1), whole, atol=1e-12, rtol=1e-10)
    with pytest.raises(ValueError, match="one more at a time"):
        model.following(target[rows, :2], state)


def test_dropout_can_be_changed_and_acts_in_training_only() -> None:
    model = tiny(dropout=0.5)
    source, target = tokens(2, 4, 11), tokens(2, 3, 13)
    assert not torch.equal(model.train()(source, target), model(source, target))
    assert torch.equal(model.eval()(source, target), model(source, target))


def test_its_layer_norms_are_what_scope_norm_moves() -> None:
    leaves = leaves_of(tiny())
    names = {leaf.name for leaf in leaves if leaf.in_norm}
    assert len(names) == 2 * 2 * (2 + 3)
    assert all("norm" in name for name in names)


@pytest.mark.parametrize("wrong", [{"heads": 3}, {"layers": 0}, {"dropout": 1.0}])
def test_sizes_that_do_not_fit_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"multiple|at least|dropout"):
        tiny(**wrong)
