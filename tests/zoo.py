"""The zoo as the tests see it: every name, and one cheap form of each family for what costs time."""

from __future__ import annotations

from typing import Any, NamedTuple

NAMES = """
    softmax_regression linear_regression polynomial random_fourier mlp maxout_mlp lenet5
    alexnet alexnet_2012
    vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn
    googlenet googlenet_2014
    resnet20 resnet32 resnet44 resnet56 resnet110
    resnet18 resnet34 resnet50 resnet101 resnet152 resnet18_small resnet50_sd
    se_resnet18 se_resnet34 se_resnet50 se_resnet101 se_resnet152
    densenet121 densenet161 densenet169 densenet201 densenet264 densenet264_k48
    densenet40_12 densenet_bc_40_12 densenet_bc_100_12
    osnet_x0_25 osnet_x0_5 osnet_x0_75 osnet_x1_0
    airbench94
    vit_ti16 vit_s16 vit_s32 vit_b16 vit_b32 vit_l16 vit_l32 vit_h14 vit_ti4
""".split()


class Cheap(NamedTuple):
    """A model in a form that a test can run in a second or two: `create_model(name, 4, image_shape, **options)`."""

    name: str
    image_shape: tuple[int, int, int]
    options: dict[str, Any] = {}

    def __str__(self) -> str:
        return self.name


# Every small net and one of each large family: all kinds of block, stem, pooling and head there are.
CHEAP = (
    Cheap("softmax_regression", (28, 28, 1)),
    Cheap("mlp", (28, 28, 1)),
    Cheap("maxout_mlp", (8, 8, 1), {"width": 16}),
    Cheap("polynomial", (8, 8, 1)),
    Cheap("random_fourier", (8, 8, 1), {"features": 64}),
    Cheap("lenet5", (32, 32, 1)),
    Cheap("airbench94", (32, 32, 3), {"widths": (8, 16, 16)}),
    Cheap("alexnet", (64, 64, 3)),
    Cheap("alexnet_2012", (64, 64, 3)),
    Cheap("vgg11", (32, 32, 3), {"hidden": 64}),
    Cheap("vgg11_bn", (32, 32, 3), {"hidden": 0}),
    Cheap("googlenet", (64, 64, 3), {"aux": True}),
    Cheap("googlenet_2014", (32, 32, 3)),
    Cheap("resnet20", (32, 32, 3)),
    Cheap("resnet32", (16, 16, 3), {"shortcut": "B"}),
    Cheap("resnet18", (64, 64, 3)),
    Cheap("resnet18_small", (16, 16, 3)),
    Cheap("resnet50_sd", (64, 64, 3)),
    Cheap("se_resnet18", (64, 64, 3)),
    Cheap("densenet121", (64, 64, 3)),
    Cheap("densenet40_12", (16, 16, 3)),
    Cheap("densenet_bc_40_12", (16, 16, 3)),
    Cheap("osnet_x0_5", (64, 32, 3)),
    Cheap("osnet_x0_25", (32, 16, 3), {"hidden": 0}),
    Cheap("vit_ti16", (64, 64, 3)),
    Cheap("vit_ti4", (16, 16, 3), {"pool": "mean", "positions": "sinusoidal"}),
)
# One of each family: for what every model passes through in the same way.
FAMILIES = tuple(
    cheap
    for cheap in CHEAP
    if cheap.name
    in (
        "softmax_regression",
        "lenet5",
        "airbench94",
        "alexnet",
        "vgg11",
        "googlenet",
        "resnet20",
        "resnet18",
        "se_resnet18",
        "densenet_bc_40_12",
        "osnet_x0_5",
        "vit_ti4",
    )
)
