"""The table of the zoo is what the models are, and what the literature says of them."""

import subprocess
import sys

import pytest

from kerasdl import zoo
from kerasdl.models import list_models
from tests.zoo import NAMES
from tools.zoo_table import row_of

# 10^9 multiply-adds at 224 pixels: torchvision's `_ops`, timm's benchmark tables for SE-ResNet, DenseNet-264 and ViT-Ti, -S; at 256x128
# docs/MODEL_ZOO.md of KaiyangZhou/deep-person-reid.
REFERENCE = {
    "alexnet": 0.714,
    "vgg11": 7.61,
    "vgg13": 11.31,
    "vgg16": 15.47,
    "vgg19": 19.63,
    "googlenet": 1.498,
    "resnet18": 1.82,
    "resnet34": 3.67,
    "resnet50": 4.11,
    "resnet101": 7.83,
    "resnet152": 11.56,
    "se_resnet18": 1.82,
    "se_resnet34": 3.67,
    "se_resnet50": 4.11,
    "se_resnet101": 7.84,
    "se_resnet152": 11.57,
    "densenet121": 2.85,
    "densenet161": 7.76,
    "densenet169": 3.40,
    "densenet201": 4.34,
    "densenet264_k48": 12.95,
    "osnet_x0_5": 0.27,
    "osnet_x0_75": 0.57,
    "osnet_x1_0": 0.98,
    "vit_ti16": 1.26,
    "vit_s16": 4.61,
    "vit_s32": 1.15,
    "vit_b16": 17.58,
    "vit_b32": 4.41,
    "vit_l16": 61.6,
    "vit_l32": 15.4,
    "vit_h14": 167.3,
}
TABLE = {row.name: row for row in zoo.read_zoo()}


def test_the_registry_and_the_table_hold_every_model_of_the_zoo():
    assert sorted(NAMES) == list_models()
    assert sorted(TABLE) == list_models()


@pytest.mark.parametrize("name", list_models())
def test_the_table_is_what_its_tool_writes(name):
    assert row_of(name) == TABLE[name], "python tools/zoo_table.py writes it anew"


@pytest.mark.parametrize(("name", "reference"), REFERENCE.items())
def test_multiply_adds_are_those_of_the_literature(name, reference):
    assert TABLE[name].multiply_adds / 1e9 == pytest.approx(reference, rel=0.02)


def test_a_vgg_with_batch_norm_multiplies_as_often_as_without():
    for depth in (11, 13, 16, 19):
        assert TABLE[f"vgg{depth}_bn"].multiply_adds == TABLE[f"vgg{depth}"].multiply_adds


def test_rows_are_aligned():
    titles, *rows = zoo.lines(zoo.read_zoo("*resnet*"))
    assert titles.split() == ["models", "parameters", "multiply-adds", "input", "paper", "year"]
    assert {len(row) for row in rows} == {len(titles)}
    assert any(row.split()[:5] == ["resnet50", "25,557,032", "4,089.18", "M", "224x224x3"] for row in rows)


def test_list_models_needs_no_framework():
    code = (
        "import sys; from kerasdl.cli import main; main(['list', 'models', 'resnet*'])\n"
        "print([m for m in ('tensorflow', 'keras', 'numpy') if m in sys.modules])"
    )
    *rows, loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert loaded == "[]" and any(row.startswith("  resnet20 ") for row in rows)


def test_a_weightless_model_has_every_shape_and_no_value():
    import keras

    from kerasdl.weightless import weightless

    with weightless():
        wide = keras.Sequential([keras.Input((10**6,)), keras.layers.Dense(10**6)])  # 4 TB, if they were filled
        assert wide.count_params() == 10**12 + 10**6
    with keras.StatelessScope():  # at its end Keras fills what waits on its list
        pass
    assert keras.layers.Dense(1)(keras.ops.ones((1, 2))).shape == (1, 1)  # and weights are filled again
