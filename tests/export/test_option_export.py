"""The options of a model that change its graph, exported with random weights and compared as the zoo is."""

import pytest

import kerasdl
from export import zoo


@pytest.mark.parametrize(
    "name, options",
    [
        ("resnet20", {"norm": "batch", "drop": 0.5}),
        ("resnet20", {"norm": "layer"}),
        ("resnet20", {"norm": "instance"}),
        ("resnet20", {"norm": "group", "shortcut": "B"}),
        ("mlp", {"drop_connect": 0.5, "dropout": 0.2, "width": 16}),
    ],
    ids=str,
)
def test_an_option_exports_with_parity(name, options):
    model = kerasdl.create_model(name, 4, (8, 8, 3), **options)
    zoo.randomise(model)
    proto, error = zoo.compare(zoo.serving(model))
    assert error <= zoo.TOLERANCE
    kinds = {node.op_type for node in proto.graph.node}
    assert not kinds & {"Dropout", "RandomUniform", "RandomUniformLike", "Where", "If"}
