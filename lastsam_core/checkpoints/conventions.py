"""What the widely used repositories call the same tensors: one small table of renamings for each.

Only names of the very same function are mapped. meliketoy's wide ResNets have equal shapes but another shortcut
(models/wide_resnet.py), so their names are left alone on purpose.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["CONVENTIONS", "PREFIXES", "canonical_key"]

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
"""What wrappers put before every key: DataParallel, torch.compile, Lightning, and people."""

Rename = tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]


def _table(*rules: tuple[str, str | Callable[[re.Match[str]], str]]) -> tuple[Rename, ...]:
    return tuple((re.compile(pattern), target) for pattern, target in rules)


def _unit(rest: str) -> Callable[[re.Match[str]], str]:
    """pytorchcv counts the blocks of a stage from 1."""
    return lambda match: f"layer{match[1]}.{int(match[2]) - 1}.{match.expand(rest)}"


HEAD = (r"(?:linear|fc|classifier)\.(weight|bias)", r"fc.\1")

CONVENTIONS: dict[str, tuple[Rename, ...]] = {
    "lastsam": (),
    # akamaster/pytorch_resnet_cifar10, kuangliu/pytorch-cifar
    "linear": _table(HEAD),
    # torchvision, chenyaofo/pytorch-cifar-models, and most students of torchvision
    "torchvision": _table(HEAD, (r"(layer\d\.\d+)\.downsample\.(.+)", r"\1.shortcut.\2")),
    # osmr/pytorchcv: cifar ResNets and WRNs
    "pytorchcv": _table(
        (r"features\.init_block\.conv\.(\w+)", r"conv1.\1"),
        (r"features\.init_block\.bn\.(\w+)", r"bn1.\1"),
        (r"features\.init_block\.(\w+)", r"conv1.\1"),
        (r"features\.stage(\d)\.unit(\d{1,3})\.body\.conv(\d)\.conv\.(\w+)", _unit(r"conv\3.\4")),
        (r"features\.stage(\d)\.unit(\d{1,3})\.body\.conv(\d)\.bn\.(\w+)", _unit(r"bn\3.\4")),
        (r"features\.stage(\d)\.unit(\d{1,3})\.identity_conv\.conv\.(\w+)", _unit(r"shortcut.0.\3")),
        (r"features\.stage(\d)\.unit(\d{1,3})\.identity_conv\.bn\.(\w+)", _unit(r"shortcut.1.\3")),
        (r"features\.stage(\d)\.unit(\d{1,3})\.identity_conv\.(\w+)", _unit(r"shortcut.\3")),
        (r"features\.post_activ\.bn\.(\w+)", r"bn.\1"),
        (r"output\.(\w+)", r"fc.\1"),
    ),
    # xternalz/WideResNet-pytorch, which most robustness papers took over
    "xternalz": _table(
        HEAD,
        (r"block(\d)\.layer\.(\d+)\.convShortcut\.(\w+)", r"layer\1.\2.shortcut.\3"),
        (r"block(\d)\.layer\.(\d+)\.(.+)", r"layer\1.\2.\3"),
        (r"bn1\.(\w+)", r"bn.\1"),
    ),
    # davda54/sam
    "davda54": _table(
        (r"f\.0_convolution\.(\w+)", r"conv1.\1"),
        (r"f\.(\d)_block\.block\.(\d+)\.(?:norm_act|block)\.0_normalization\.(\w+)", r"layer\1.\2.bn1.\3"),
        (r"f\.(\d)_block\.block\.(\d+)\.block\.[02]_convolution\.(\w+)", r"layer\1.\2.conv1.\3"),
        (r"f\.(\d)_block\.block\.(\d+)\.block\.[13]_normalization\.(\w+)", r"layer\1.\2.bn2.\3"),
        (r"f\.(\d)_block\.block\.(\d+)\.block\.[46]_convolution\.(\w+)", r"layer\1.\2.conv2.\3"),
        (r"f\.(\d)_block\.block\.(\d+)\.downsample\.(\w+)", r"layer\1.\2.shortcut.\3"),
        (r"f\.4_normalization\.(\w+)", r"bn.\1"),
        (r"f\.8_classification\.(\w+)", r"fc.\1"),
    ),
}


def canonical_key(convention: str, key: str) -> str:
    """The canonical name of a key, prefix already removed; the key itself where the convention does not know it."""
    for pattern, target in CONVENTIONS[convention]:
        if match := pattern.fullmatch(key):
            return target(match) if callable(target) else match.expand(target)
    return key
