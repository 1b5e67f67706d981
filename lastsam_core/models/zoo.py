"""The architectures that come with this package: those of the SAM, ASAM and LastSAM papers, and what is near them.

Where repositories compute different things with equal tensors, each function has a name of its own, the most usual
first: recognition proposes them in this order.
"""

from __future__ import annotations

from collections.abc import Iterator

from lastsam_core.models.architecture import Architecture

__all__ = ["ZOO"]

_HERE = "lastsam_core.models"


def _resnets() -> Iterator[Architecture]:
    kinds = {"a": "parameter-free shortcuts", "b": "projection shortcuts"}
    counts = {
        20: (269_722, 272_474), 32: (464_154, 466_906), 44: (658_586, 661_338), 56: (853_018, 855_770),
        110: (1_727_962, 1_730_714),
    }  # fmt: skip
    for depth, both in counts.items():
        for (shortcut, kind), parameters in zip(kinds.items(), both, strict=True):
            yield Architecture(
                name=f"resnet{depth}-{shortcut}",
                title=f"ResNet-{depth} for CIFAR, {kind} (option {shortcut.upper()})",
                family="resnet",
                parameters=parameters,
                source="He et al. 2016, arXiv:1512.03385, sec. 4.2",
                builder=f"{_HERE}.resnet:resnet",
                arguments={"depth": depth, "shortcut": shortcut},
            )


def _wide_resnets() -> Iterator[Architecture]:
    variants = {
        "": ("", {}),
        "-homura": (", shortcuts before the activation", {"raw_shortcut": True}),
        "-late-stride": (
            ", shortcuts before the activation, stride second",
            {"raw_shortcut": True, "stride_second": True},
        ),
        "-meliketoy": (
            ", shortcuts before the activation, stride second, biases",
            {"raw_shortcut": True, "stride_second": True, "bias": True},
        ),
    }
    sizes = {
        "": {
            (28, 10): 36_479_194, (28, 2): 1_467_610, (16, 8): 10_961_370, (40, 2): 2_243_546, (34, 10): 46_160_474,
        },
        "-homura": {(28, 10): 36_479_194, (28, 2): 1_467_610, (16, 8): 10_961_370, (40, 2): 2_243_546},
        "-late-stride": {(28, 10): 36_479_194, (28, 2): 1_467_610, (40, 2): 2_243_546},
        "-meliketoy": {(28, 10): 36_489_290, (40, 2): 2_246_474},
    }  # fmt: skip
    for variant, (words, arguments) in variants.items():
        for (depth, widen), parameters in sizes[variant].items():
            yield Architecture(
                name=f"wrn-{depth}-{widen}{variant}",
                title=f"Wide ResNet {depth}-{widen}{words}",
                family="wide_resnet",
                parameters=parameters,
                source="Zagoruyko and Komodakis 2016, arXiv:1605.07146",
                builder=f"{_HERE}.wide_resnet:wide_resnet",
                arguments={"depth": depth, "widen": widen, **arguments},
            )


def _four_stages() -> Iterator[Architecture]:
    stems = {
        "cifar": ("for CIFAR (3x3 stem)", {"stem": "cifar"}, (18, 34, 50, 101, 152)),
        "cifar-maxpool": ("for CIFAR with max-pooling", {"stem": "cifar-maxpool"}, (18, 34, 50)),
        "imagenet": ("for ImageNet", {"stem": "imagenet"}, (18, 34, 50, 101, 152)),
        "imagenet-v1": (
            "for ImageNet, v1 (stride in the first 1x1)",
            {"stem": "imagenet", "stride_first": True},
            (50, 101, 152),
        ),
    }
    cifar = {18: 11_173_962, 34: 21_282_122, 50: 23_520_842, 101: 42_512_970, 152: 58_156_618}
    for stem, (words, arguments, depths) in stems.items():
        for depth in depths:
            yield Architecture(
                name=f"resnet{depth}-{stem}",
                title=f"ResNet-{depth} {words}",
                family="resnet_four_stages",
                # 64 kernels of 7x7x3 instead of 3x3x3
                parameters=cifar[depth] + (64 * 3 * (49 - 9) if stem.startswith("imagenet") else 0),
                source="He et al. 2016, arXiv:1512.03385, sec. 4.1",
                builder=f"{_HERE}.resnet_four_stages:resnet_four_stages",
                arguments={"depth": depth, **arguments},
                image_size=224 if stem.startswith("imagenet") else 32,
            )


def _preact_resnets() -> Iterator[Architecture]:
    counts = {18: 11_171_146, 34: 21_279_306}
    for final_norm in (False, True):
        for depth, parameters in counts.items():
            yield Architecture(
                name=f"preactresnet{depth}-cifar{'-norm' * final_norm}",
                title=f"Pre-activation ResNet-{depth} for CIFAR{', BatchNorm at the end' * final_norm}",
                family="preact_resnet",
                parameters=parameters + 1024 * final_norm,
                source="He et al. 2016, arXiv:1603.05027",
                builder=f"{_HERE}.preact_resnet:preact_resnet",
                arguments={"depth": depth, "final_norm": final_norm},
            )


def _vggs() -> Iterator[Architecture]:
    heads = {
        "": ("one linear layer (kuangliu)", {}, (5_130, (11, 13, 16, 19))),
        "-chenyaofo": (
            "three linear layers of 512 (chenyaofo)", {"hidden": 512, "dropout": (1, 2)}, (530_442, (11, 13, 16, 19)),
        ),
        "-chengyangfu": (
            "three linear layers of 512, dropout first (chengyangfu)",
            {"hidden": 512, "dropout": (0, 1)},
            (530_442, (16, 19)),
        ),
        "-weiaicunzai": (
            "three linear layers of 4096 (weiaicunzai)", {"hidden": 4096, "dropout": (1,)}, (18_923_530, (16, 19)),
        ),
    }  # fmt: skip
    features = {11: 9_225_984, 13: 9_410_880, 16: 14_723_136, 19: 20_035_392}
    for variant, (words, arguments, (head, depths)) in heads.items():
        for depth in depths:
            yield Architecture(
                name=f"vgg{depth}bn{variant}",
                title=f"VGG-{depth} with BatchNorm for CIFAR, {words}",
                family="vgg",
                parameters=features[depth] + head,
                source="Simonyan and Zisserman 2015, arXiv:1409.1556",
                builder=f"{_HERE}.vgg:vgg",
                arguments={"depth": depth, **arguments},
            )


def _densenets() -> Iterator[Architecture]:
    rows = (
        ("densenet121-cifar", "DenseNet-121 for CIFAR, new channels first (kuangliu)", 6_956_298, {"depth": 121}),
        (
            "densenet121-cifar-weiaicunzai",
            "DenseNet-121 for CIFAR, new channels last, no ReLU in transitions (weiaicunzai)",
            6_956_298,
            {"depth": 121, "new_first": False, "relu": False},
        ),
        ("densenet40-k12-bc", "DenseNet-BC-40 (k = 12)", 176_122, {"depth": 40, "growth": 12}),
        ("densenet100-k12-bc", "DenseNet-BC-100 (k = 12)", 769_162, {"depth": 100, "growth": 12}),
    )
    for name, title, parameters, arguments in rows:
        yield Architecture(
            name=name,
            title=title,
            family="densenet",
            parameters=parameters,
            source="Huang et al. 2017, arXiv:1608.06993",
            builder=f"{_HERE}.densenet:{'densenet_bc' if name.endswith('bc') else 'densenet'}",
            arguments=arguments,
        )


def _resnexts() -> Iterator[Architecture]:
    rows = (
        ("", 32, 4, 3, 4_775_754),
        ("-kuangliu", 32, 4, 1, 4_774_218),
        ("-kuangliu", 2, 64, 1, 9_128_778),
    )
    for variant, groups, width, stem, parameters in rows:
        yield Architecture(
            name=f"resnext29-{groups}x{width}d{variant}",
            title=f"ResNeXt-29 {groups}x{width}d for CIFAR, {stem}x{stem} stem",
            family="resnext",
            parameters=parameters,
            source="Xie et al. 2017, arXiv:1611.05431, sec. 4.3",
            builder=f"{_HERE}.resnext:resnext",
            arguments={"depth": 29, "groups": groups, "width": width, "stem": stem},
        )


def _pyramidnets() -> Iterator[Architecture]:
    for shakedrop in (False, True):
        yield Architecture(
            name=f"pyramidnet272-a200{'-shakedrop' * shakedrop}",
            title=f"PyramidNet-272 (alpha = 200){' with ShakeDrop' * shakedrop}",
            family="pyramidnet",
            parameters=26_210_842,
            source="Han et al. 2017, arXiv:1610.02915" + "; Yamada et al. 2018, arXiv:1802.02375" * shakedrop,
            builder=f"{_HERE}.pyramidnet:pyramidnet",
            arguments={"depth": 272, "alpha": 200, "shakedrop": shakedrop},
        )


def _shake_shakes() -> Iterator[Architecture]:
    rows = (
        ("", 32, "owruby", 2_923_146),
        ("", 64, "owruby", 11_653_962),
        ("", 96, "owruby", 26_192_906),
        ("-pytorchcv", 32, "pytorchcv", 2_923_162),
    )
    for variant, width, layout, parameters in rows:
        yield Architecture(
            name=f"shakeshake26-2x{width}d{variant}",
            title=f"Shake-Shake-26 2x{width}d" + " (pytorchcv)" * bool(variant),
            family="shake_shake",
            parameters=parameters,
            source="Gastaldi 2017, arXiv:1705.07485",
            builder=f"{_HERE}.shake_shake:shake_shake_resnet",
            arguments={"depth": 26, "width": width, "layout": layout},
        )


def _efficientnets() -> Iterator[Architecture]:
    sides = (224, 240, 260, 300, 380, 456, 528, 600)
    counts = (4_020_358, 6_525_994, 7_715_084, 10_711_602, 17_566_546, 28_361_274, 40_758_754, 63_812_570)
    for size, (side, parameters) in enumerate(zip(sides, counts, strict=True)):
        yield Architecture(
            name=f"efficientnet-b{size}",
            title=f"EfficientNet-B{size}",
            family="efficientnet",
            parameters=parameters,
            source="Tan and Le 2019, arXiv:1905.11946",
            builder=f"{_HERE}.efficientnet:efficientnet",
            arguments={"size": size},
            image_size=side,
        )


_FAMILIES = (
    _resnets, _wide_resnets, _vggs, _densenets, _resnexts, _pyramidnets, _shake_shakes, _four_stages,
    _preact_resnets, _efficientnets,
)  # fmt: skip

ZOO: dict[str, Architecture] = {known.name: known for family in _FAMILIES for known in family()}
"""By name, in the order in which they are proposed."""
