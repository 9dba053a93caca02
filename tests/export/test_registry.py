"""One small model of each family through the exporter's gates; `pytest -m zoo_export` does so with every model at its own size.

Weights are random, BatchNormalization statistics among them, for zeros and ones would fold away.
"""

import pytest

from export.zoo import TOLERANCE, compare, operators, randomise, serving
from kerasdl.models import create_model
from kerasdl.zoo import read_zoo

# name: (options, nodes of the finished graph)
SMALL = {
    "softmax_regression": ({}, 5),
    "mlp": ({"width": 32}, 9),
    "maxout_mlp": ({"width": 16}, 23),
    "polynomial": ({}, 8),
    "random_fourier": ({"features": 64}, 10),
    "lenet5": ({"image_shape": (28, 28, 1)}, 16),
    "airbench94": ({"widths": (8, 16, 16)}, 60),
    "alexnet_2012": ({"image_shape": (63, 63, 3)}, 41),
    "vgg11_bn": ({"image_shape": (32, 32, 3), "hidden": 0}, 28),
    "googlenet": ({"image_shape": (64, 64, 3)}, 143),
    "resnet18": ({"image_shape": (64, 64, 3)}, 53),
    "resnet18_small": ({"image_shape": (32, 32, 1)}, 52),
    "resnet20": ({"shortcut": "B"}, 56),
    "se_resnet18": ({"image_shape": (64, 64, 3)}, 117),
    "densenet40_12": ({"depth": 10}, 51),
    "densenet_bc_40_12": ({"depth": 16}, 63),
    "osnet_x0_25": ({"image_shape": (32, 16, 3)}, 337),
    "vit_ti16": ({"image_shape": (64, 64, 3), "depth": 3, "width": 48}, 96),
    "vit_ti4": ({"depth": 2, "width": 48, "pool": "mean", "positions": "sinusoidal"}, 67),
}


def test_no_family_is_forgotten():
    families = {row.name: row.family for row in read_zoo()}
    assert {families[name] for name in SMALL} == set(families.values())


@pytest.mark.parametrize("name", SMALL)
def test_the_model_exports_with_parity_and_without_a_needless_node(name):
    options, nodes = SMALL[name]
    model = create_model(name, 10, **options)
    randomise(model)
    proto, error = compare(serving(model))
    assert error <= TOLERANCE
    assert len(proto.graph.node) == nodes, operators(proto)
    assert {node.op_type for node in proto.graph.node}.isdisjoint({"Identity", "Shape", "Sqrt", "Reciprocal", "Expand"})
