"""What the widely used repositories call the same tensors: one small table of renamings for each.

A name alone does not say which function is meant: where several architectures have equal tensors, a convention's `home`
says which of them its repository builds, and recognition proposes that one first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["CONVENTIONS", "PREFIXES", "Convention", "canonical_key"]

PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
"""What wrappers put before every key: DataParallel, torch.compile, Lightning, and people."""

Rule = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How a repository names tensors."""

    rules: tuple[tuple[re.Pattern[str], str], ...]
    """Pattern of a whole key, and the canonical name, in which {1} is the first group, {1+} and {1-} the number one
    more and one less than it; the first rule that fits is taken."""
    home: re.Pattern[str]
    """Matches the names of the architectures that the repository has."""

    def canonical(self, key: str) -> str:
        """The canonical name of a key, prefix already removed; the key itself where no rule fits."""
        for pattern, template in self.rules:
            if match := pattern.fullmatch(key):
                return _GROUP.sub(lambda group, match=match: _part(match, group), template)
        return key


_GROUP = re.compile(r"\{(\d)([+-]?)\}")


def _part(match: re.Match[str], group: re.Match[str]) -> str:
    text = match[int(group[1])]
    return str(int(text) + {"+": 1, "-": -1}[group[2]]) if group[2] else text


def _convention(*rules: Rule, home: str) -> Convention:
    return Convention(rules=tuple((re.compile(pattern), name) for pattern, name in rules), home=re.compile(home))


def _each(rule: Rule, **names: str) -> Iterator[Rule]:
    """The rule for each place in a Sequential: # is its number (a keyword, after an underscore), then its name."""
    for number, name in names.items():
        yield rule[0].replace("#", number.removeprefix("_")), rule[1].replace("#", name)


# What a numbered tensor ends with is short: no key makes a pattern here go over it more than once.
HEAD = (r"(?:linear|fc|classifier)\.(weight|bias)", "fc.{1}")
BLOCK = r"layer(\d)\.(\d{1,3})"
UNIT = r"features\.stage(\d)\.unit(\d{1,3})"
DENSE = r"features\.dense_block(?:_layer_)?(\d)\.bottle_neck_layer_(\d{1,3})\.bottle_neck"

CONVENTIONS: dict[str, Convention] = {
    "lastsam": _convention(home=r"(?!)"),
    # akamaster/pytorch_resnet_cifar10, kuangliu/pytorch-cifar
    "linear": _convention(
        HEAD, home=r"resnet\d+-(a|b|cifar)|wrn-\d+-\d+|vgg\d+bn|densenet121-cifar|resnext29-\w+-kuangliu"
    ),
    # torchvision, timm, and most students of torchvision; chenyaofo/pytorch-cifar-models, huyvnphan/PyTorch_CIFAR10
    "torchvision": _convention(
        HEAD,
        (BLOCK + r"\.downsample\.(.+)", "layer{1}.{2}.shortcut.{3}"),
        home=r"resnet\d+-(b|cifar|imagenet)",
    ),
    # timm's EfficientNets (ours are torchvision's); B5 to B7 have another epsilon in BatchNorm there
    "timm": _convention(
        *_each((r"#\.(\w+)", "features.#.{1}"), conv_stem="0.0", bn1="0.1"),
        *_each((r"#\.(\w+)", "features.8.#.{1}"), conv_head="0", bn2="1"),
        (r"classifier\.(\w+)", "classifier.1.{1}"),
        *_each((r"blocks\.(0)\.(\d{1,3})\.#\.(\w+)", "features.{1+}.{2}.block.#.{3}"), conv_dw="0.0", bn1="0.1"),
        *_each((r"blocks\.(0)\.(\d{1,3})\.#\.(\w+)", "features.{1+}.{2}.block.#.{3}"), conv_pw="2.0", bn2="2.1"),
        *_each(
            (r"blocks\.(0)\.(\d{1,3})\.se\.#\.(\w+)", "features.{1+}.{2}.block.1.#.{3}"),
            conv_reduce="fc1",
            conv_expand="fc2",
        ),
        *_each((r"blocks\.(\d)\.(\d{1,3})\.#\.(\w+)", "features.{1+}.{2}.block.#.{3}"), conv_pw="0.0", bn1="0.1"),
        *_each((r"blocks\.(\d)\.(\d{1,3})\.#\.(\w+)", "features.{1+}.{2}.block.#.{3}"), conv_dw="1.0", bn2="1.1"),
        *_each((r"blocks\.(\d)\.(\d{1,3})\.#\.(\w+)", "features.{1+}.{2}.block.#.{3}"), conv_pwl="3.0", bn3="3.1"),
        *_each(
            (r"blocks\.(\d)\.(\d{1,3})\.se\.#\.(\w+)", "features.{1+}.{2}.block.2.#.{3}"),
            conv_reduce="fc1",
            conv_expand="fc2",
        ),
        home=r"efficientnet-b[0-4]",
    ),
    # osmr/pytorchcv
    "pytorchcv": _convention(
        (r"features\.init_block\.(?:conv\.)?conv\.(\w+)", "conv1.{1}"),
        (r"features\.init_block\.(?:conv\.)?bn\.(\w+)", "bn1.{1}"),
        (r"features\.init_block\.(\w+)", "conv1.{1}"),
        (UNIT + r"\.body\.conv(\d)\.(conv|bn)\.(\w+)", "layer{1}.{2-}.{4}{3}.{5}"),
        (UNIT + r"\.identity_conv\.conv\.(\w+)", "layer{1}.{2-}.shortcut.0.{3}"),
        (UNIT + r"\.identity_conv\.bn\.(\w+)", "layer{1}.{2-}.shortcut.1.{3}"),
        (UNIT + r"\.identity_conv\.(\w+)", "layer{1}.{2-}.shortcut.{3}"),
        # PyramidNet
        (UNIT + r"\.bn\.(\w+)", "layer{1}.{2-}.bn4.{3}"),
        # Shake-Shake
        (UNIT + r"\.(branch\d)\.conv(\d)\.(conv|bn)\.(\w+)", "layer{1}.{2-}.{3}.{5}{4}.{6}"),
        (UNIT + r"\.identity_branch\.(\w+\.\w+)", "layer{1}.{2-}.shortcut.{3}"),
        # DenseNet
        (UNIT + r"\.conv(\d)\.(conv|bn)\.(\w+)", "dense{1}.{2-}.{4}{3}.{5}"),
        (r"features\.stage\d\.trans(\d)\.conv\.(conv|bn)\.(\w+)", "trans{1-}.{2}.{3}"),
        (r"features\.post_activ\.bn\.(\w+)", "bn.{1}"),
        (r"output\.(\w+)", "fc.{1}"),
        home=r"resnet\d+-(b|imagenet-v1)|wrn-\d+-\d+|densenet\d+-k\d+-bc|resnext29-[^-]+|pyramidnet\d+-a\d+"
        r"|shakeshake.+-pytorchcv",
    ),
    # xternalz/WideResNet-pytorch, which most robustness papers took over
    "xternalz": _convention(
        HEAD,
        (r"block(\d)\.layer\.(\d{1,3})\.convShortcut\.(\w+)", "layer{1}.{2}.shortcut.{3}"),
        (r"block(\d)\.layer\.(\d{1,3})\.(.+)", "layer{1}.{2}.{3}"),
        (r"bn1\.(\w+)", "bn.{1}"),
        home=r"wrn-\d+-\d+",
    ),
    # davda54/sam
    "davda54": _convention(
        (r"f\.0_convolution\.(\w+)", "conv1.{1}"),
        (r"f\.(\d)_block\.block\.(\d+)\.(?:norm_act|block)\.0_normalization\.(\w+)", "layer{1}.{2}.bn1.{3}"),
        (r"f\.(\d)_block\.block\.(\d+)\.block\.[02]_convolution\.(\w+)", "layer{1}.{2}.conv1.{3}"),
        (r"f\.(\d)_block\.block\.(\d+)\.block\.[13]_normalization\.(\w+)", "layer{1}.{2}.bn2.{3}"),
        (r"f\.(\d)_block\.block\.(\d+)\.block\.[46]_convolution\.(\w+)", "layer{1}.{2}.conv2.{3}"),
        (r"f\.(\d)_block\.block\.(\d+)\.downsample\.(\w+)", "layer{1}.{2}.shortcut.{3}"),
        (r"f\.4_normalization\.(\w+)", "bn.{1}"),
        (r"f\.8_classification\.(\w+)", "fc.{1}"),
        home=r"wrn-\d+-\d+",
    ),
    # moskomule/homura, with which the ASAM paper's code builds its networks
    "homura": _convention(
        HEAD,
        (BLOCK + r"\.norm(\d)\.(\w+)", "layer{1}.{2}.bn{3}.{4}"),
        (BLOCK + r"\.downsample\.(.+)", "layer{1}.{2}.shortcut.{3}"),
        (r"norm1\.(\w+)", "bn1.{1}"),
        home=r"resnet\d+-b|resnext29-[^-]+",
    ),
    # its wide ResNets, whose last normalisation is called like the first of the others
    "homura-wrn": _convention(
        HEAD,
        (BLOCK + r"\.norm(\d)\.(\w+)", "layer{1}.{2}.bn{3}.{4}"),
        (BLOCK + r"\.downsample\.(.+)", "layer{1}.{2}.shortcut.{3}"),
        (r"norm1\.(\w+)", "bn.{1}"),
        home=r"wrn-\d+-\d+-homura",
    ),
    # its wide ResNets before 2021
    "homura-2020": _convention(
        HEAD,
        (BLOCK + r"\.norm(\d)\.(\w+)", "layer{1}.{2}.bn{3}.{4}"),
        (r"norm\.(\w+)", "bn.{1}"),
        home=r"wrn-\d+-\d+-late-stride",
    ),
    # kuangliu/pytorch-cifar, its pre-activation networks
    "preact": _convention(
        HEAD,
        (BLOCK + r"\.shortcut\.0\.(\w+)", "layer{1}.{2}.shortcut.{3}"),
        home=r"preactresnet.+",
    ),
    # meliketoy/wide-resnet.pytorch, kakaobrain/fast-autoaugment
    "meliketoy": _convention(
        HEAD,
        (BLOCK + r"\.shortcut\.0\.(\w+)", "layer{1}.{2}.shortcut.{3}"),
        (r"bn1\.(\w+)", "bn.{1}"),
        home=r"wrn-\d+-\d+-(meliketoy|late-stride)",
    ),
    # chenyaofo/pytorch-cifar-models, its VGGs
    "chenyaofo": _convention(
        *_each((r"classifier\.#\.(\w+)", "#.{1}"), _0="fc1", _3="fc2", _6="fc"), home=r"vgg\d+bn-chenyaofo"
    ),
    # chengyangfu/pytorch-vgg-cifar10, which wraps only its convolutions in DataParallel
    "chengyangfu": _convention(
        (r"features\.module\.(\w+\.\w+)", "features.{1}"),
        *_each((r"classifier\.#\.(\w+)", "#.{1}"), _1="fc1", _4="fc2", _6="fc"),
        home=r"vgg\d+bn-chengyangfu",
    ),
    # weiaicunzai/pytorch-cifar100
    "weiaicunzai": _convention(
        HEAD,
        *_each((r"classifier\.#\.(\w+)", "#.{1}"), _0="fc1", _3="fc2", _5="fc"),
        *_each((r"conv1\.#\.(\w+)", "#.{1}"), _0="conv1", _1="bn1"),
        *_each(
            (r"conv(\d)_x\.(\d{1,3})\.residual_function\.#\.(\w+)", "layer{1-}.{2}.#.{3}"),
            _0="conv1", _1="bn1", _3="conv2", _4="bn2", _6="conv3", _7="bn3",
        ),
        (r"conv(\d)_x\.(\d{1,3})\.shortcut\.(\d\.\w+)", "layer{1-}.{2}.shortcut.{3}"),
        *_each((DENSE + r"\.#\.(\w+)", "dense{1+}.{2}.#.{3}"), _0="bn1", _2="conv1", _3="bn2", _5="conv2"),
        *_each((r"features\.transition_layer_(\d)\.down_sample\.#\.(\w+)", "trans{1+}.#.{2}"), _0="bn", _1="conv"),
        (r"features\.bn\.(\w+)", "bn.{1}"),
        home=r"resnet\d+-cifar|.+-weiaicunzai",
    ),
    # dyhan0920/PyramidNet-PyTorch, fast-autoaugment
    "dyhan0920": _convention((r"bn_final\.(\w+)", "bn.{1}"), home=r"pyramidnet.+"),
    # owruby/shake-shake_pytorch, fast-autoaugment
    "owruby": _convention(
        (r"c_in\.(\w+)", "conv1.{1}"),
        *_each(
            (BLOCK + r"\.(branch\d)\.#\.(\w+)", "layer{1}.{2}.{3}.#.{4}"), _1="conv1", _2="bn1", _4="conv2", _5="bn2"
        ),
        (r"fc_out\.(\w+)", "fc.{1}"),
        home=r"shakeshake[^-]+-[^-]+",
    ),
}  # fmt: skip


def canonical_key(convention: str, key: str) -> str:
    """The canonical name of a key, prefix already removed; the key itself where the convention does not know it."""
    return CONVENTIONS[convention].canonical(key)
