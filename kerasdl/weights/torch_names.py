"""What torch's modules are called here: for each family, in order, a pattern of the module's path and our layer's name.

The torchvision and the timm names of a family stand in one list: where both mean the same layer they differ, so that they cannot clash.
In a layer's name `{1}` is the first group of the pattern, `{1+1}` one more (we count from 1) and `{1a}` its letter (1 is a).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

Rules = Sequence[tuple[str, str]]

ALEXNET: Rules = (  # torchvision; timm has none
    (r"features\.0", "c1_conv"),
    (r"features\.3", "c2_conv"),
    (r"features\.6", "c3_conv"),
    (r"features\.8", "c4_conv"),
    (r"features\.10", "c5_conv"),
    (r"classifier\.1", "fc6"),
    (r"classifier\.4", "fc7"),
    (r"classifier\.6", "logits"),
)

VGG: Rules = (  # the convolutions are counted, see `vgg_features`
    (r"classifier\.0", "fc6"),  # torchvision
    (r"classifier\.3", "fc7"),
    (r"classifier\.6", "logits"),
    (r"pre_logits\.fc1", "fc6"),  # timm
    (r"pre_logits\.fc2", "fc7"),
    (r"head\.fc", "logits"),
    (r"classifier", "logits"),  # the net for small pictures (kuangliu)
)

GOOGLENET: Rules = (  # torchvision; timm has none
    (r"conv(\d)\.(conv|bn)", "stem{1}_{2}"),
    (r"inception(\d[a-e])\.branch1\.(conv|bn)", "i{1}_1x1_{2}"),
    (r"inception(\d[a-e])\.branch2\.0\.(conv|bn)", "i{1}_3x3r_{2}"),
    (r"inception(\d[a-e])\.branch2\.1\.(conv|bn)", "i{1}_3x3_{2}"),
    (r"inception(\d[a-e])\.branch3\.0\.(conv|bn)", "i{1}_5x5r_{2}"),
    (r"inception(\d[a-e])\.branch3\.1\.(conv|bn)", "i{1}_5x5_{2}"),
    (r"inception(\d[a-e])\.branch4\.1\.(conv|bn)", "i{1}_pool_{2}"),
    (r"aux(\d)\.conv\.(conv|bn)", "aux{1}_{2}"),
    (r"aux(\d)\.fc1", "aux{1}_fc"),
    (r"aux(\d)\.fc2", "aux{1}"),
    (r"fc", "logits"),
)

RESNET: Rules = (  # torchvision, timm, and the small nets of akamaster (`linear`), kuangliu (`shortcut`) and chenyaofo
    (r"conv1", "stem_conv"),
    (r"bn1", "stem_bn"),
    (r"layer(\d)\.(\d+)\.conv(\d)", "s{1}b{2+1}_{3a}_conv"),
    (r"layer(\d)\.(\d+)\.bn(\d)", "s{1}b{2+1}_{3a}_bn"),
    (r"layer(\d)\.(\d+)\.(?:downsample|shortcut)\.0", "s{1}b{2+1}_proj_conv"),
    (r"layer(\d)\.(\d+)\.(?:downsample|shortcut)\.1", "s{1}b{2+1}_proj_bn"),
    (r"layer(\d)\.(\d+)\.se\.fc1", "s{1}b{2+1}_se_reduce"),
    (r"layer(\d)\.(\d+)\.se\.fc2", "s{1}b{2+1}_se_expand"),
    (r"fc|linear", "logits"),
)

DENSENET: Rules = (  # torchvision and timm
    (r"features\.conv0", "stem_conv"),
    (r"features\.norm0", "stem_bn"),
    (r"features\.denseblock(\d)\.denselayer(\d+)\.norm\.?(\d)", "d{1}l{2}_{3a}_bn"),  # `norm.1` in files of 2017
    (r"features\.denseblock(\d)\.denselayer(\d+)\.conv\.?(\d)", "d{1}l{2}_{3a}_conv"),
    (r"features\.transition(\d)\.norm", "t{1}_bn"),
    (r"features\.transition(\d)\.conv", "t{1}_conv"),
    (r"features\.norm5", "final_bn"),
    (r"classifier", "logits"),
)

VIT: Rules = (
    (r"patch_embed\.proj", "patch_conv"),  # timm
    (r"cls_token", "class_token"),
    (r"pos_embed", "positions"),
    (r"blocks\.(\d+)\.norm([12])", "block{1+1}_norm{2}"),
    (r"blocks\.(\d+)\.attn\.(qkv|proj)", "block{1+1}_{2}"),
    (r"blocks\.(\d+)\.mlp\.(fc[12])", "block{1+1}_{2}"),
    (r"norm", "final_norm"),
    (r"head", "logits"),
    (r"conv_proj", "patch_conv"),  # torchvision
    (r"class_token", "class_token"),
    (r"encoder\.pos_embedding", "positions"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.ln_([12])", "block{1+1}_norm{2}"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.in_proj", "block{1+1}_qkv"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.self_attention\.out_proj", "block{1+1}_proj"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:0|linear_1)", "block{1+1}_fc1"),
    (r"encoder\.layers\.encoder_layer_(\d+)\.mlp\.(?:3|linear_2)", "block{1+1}_fc2"),
    (r"encoder\.ln", "final_norm"),
    (r"heads\.head", "logits"),
)

# A layer that only this family has, and the family's rules.
FAMILIES: Mapping[str, tuple[str, Rules]] = {
    "c1_conv": ("alexnet", ALEXNET),
    "s1c1_conv": ("vgg", VGG),
    "i3a_1x1_conv": ("googlenet", GOOGLENET),
    "s1b1_a_conv": ("resnet", RESNET),
    "d1l1_a_bn": ("densenet", DENSENET),
    "patch_conv": ("vit", VIT),
}


def family_of(layers: Collection[str]) -> str:
    """alexnet, vgg, googlenet, resnet, densenet or vit, by the names of a model's layers; "" for another."""
    return next((family for mark, (family, _) in FAMILIES.items() if mark in layers), "")


def layer_names(family: str, layers: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> dict[str, str]:
    """Torch's module path to our layer's name, for every path that a rule knows.

    Args:
        family: of `family_of`.
        layers: the model's layers with weights, first to last.
        shapes: module path to the shape of its weight.
    """
    rules = next(rules for name, rules in FAMILIES.values() if name == family)
    if family == "vgg":
        rules = [*vgg_features(layers, shapes), *rules]
    found = {}
    for path in shapes:
        for pattern, name in rules:
            match = re.fullmatch(pattern, path)
            if match:
                found[path] = _filled(name, match)
                break
    return found


def vgg_features(layers: Sequence[str], shapes: Mapping[str, Sequence[int]]) -> list[tuple[str, str]]:
    """VGG's `features` are numbered through, ReLU and pooling included: the n-th with a 4-D weight is our n-th convolution."""
    numbers = sorted(int(path.split(".")[1]) for path in shapes if re.fullmatch(r"features\.\d+", path))
    convs = [n for n in numbers if len(shapes[f"features.{n}"]) == 4]
    norms = [n for n in numbers if len(shapes[f"features.{n}"]) == 1]
    ours = [(numbers, [name for name in layers if name.endswith(end)]) for numbers, end in ((convs, "_conv"), (norms, "_bn"))]
    return [(rf"features\.{n}", name) for numbers, names in ours for n, name in zip(numbers, names, strict=False)]


def _filled(name: str, match: re.Match[str]) -> str:
    def value(hole: re.Match[str]) -> str:
        group, change = match.group(int(hole[1])), hole[2]
        if change == "+1":
            return str(int(group) + 1)
        return "abcdefghi"[int(group) - 1] if change == "a" else group

    return re.sub(r"\{(\d)(\+1|a)?\}", value, name)
