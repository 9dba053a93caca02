"""One small model of each family through the exporter's gates; `pytest -m zoo_export` does so with every model at its own size.

Weights are random, BatchNormalization statistics among them, for zeros and ones would fold away.
"""

import pytest

from export import budget
from export.zoo import TOLERANCE, compare, randomise, serving
from kerasdl.models import create_model
from kerasdl.zoo import read_zoo

SMALL = {name: row for name, row in budget.read_table().items() if not name.endswith(".onnx")}


def test_no_family_is_forgotten():
    families = {row.name: row.family for row in read_zoo()}
    assert {families[name] for name in SMALL} == set(families.values())


@pytest.mark.parametrize("name", SMALL)
def test_the_model_exports_with_parity_and_without_a_needless_node(name):
    model = create_model(name, 10, **budget.options_of(SMALL[name]))
    randomise(model)
    proto, error = compare(serving(model))
    assert error <= TOLERANCE
    budget.check(name, budget.of_proto(proto), budget.parse(SMALL[name]["operators"]))
    assert {node.op_type for node in proto.graph.node}.isdisjoint({"Identity", "Shape", "Sqrt", "Reciprocal", "Expand"})
