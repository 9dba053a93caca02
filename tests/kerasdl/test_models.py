"""What every registered model must do, tested once over the registry; then the counts of the papers.

Shapes and counts are those of models without weights (kerasdl/weightless.py), so that 632 million parameters cost as much as 60 thousand;
what needs values runs on the cheap forms of tests/zoo.py.
"""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.models import find_model, list_models
from kerasdl.summary import count_parameters
from kerasdl.weightless import weightless
from tests.zoo import CHEAP, FAMILIES
from tools.zoo_table import reference_model

# Trainable parameters and Keras total at 224x224x3 with 1000 classes (torchvision, timm, keras.applications; 256x128x3 for osnet), or at
# 32x32 with 10.
COUNTS = {
    "softmax_regression": (7_850, 7_850),
    "linear_regression": (7_850, 7_850),
    "polynomial": (23_530, 23_530),
    # 784 x 1,024 frequencies that never train
    "random_fourier": (20_490, 20_490 + 802_816),
    "mlp": (669_706, 669_706),
    "maxout_mlp": (1_233_610, 1_233_610),
    "lenet5": (61_706, 61_706),
    "alexnet": (61_100_840, 61_100_840),
    "alexnet_2012": (60_965_224, 60_965_224),
    "vgg11": (132_863_336, 132_863_336),
    "vgg13": (133_047_848, 133_047_848),
    "vgg16": (138_357_544, 138_357_544),
    "vgg19": (143_667_240, 143_667_240),
    "vgg11_bn": (132_868_840, 132_874_344),
    "vgg13_bn": (133_053_736, 133_059_624),
    "vgg16_bn": (138_365_992, 138_374_440),
    "vgg19_bn": (143_678_248, 143_689_256),
    "googlenet": (6_624_904, 6_639_464),
    "googlenet_2014": (6_998_552, 6_998_552),
    "resnet20": (269_722, 271_098),
    "resnet32": (464_154, 466_426),
    "resnet44": (658_586, 661_754),
    "resnet56": (853_018, 857_082),
    "resnet110": (1_727_962, 1_736_058),
    # 24 + 9 (24 64 + 64 64 + 64 256 + 3 256 256) + betas 1,152 + 2,570; with filters 288 and statistics 2,304
    "airbench94": (1_971_362, 1_973_954),
    "resnet18": (11_689_512, 11_699_112),
    "resnet34": (21_797_672, 21_814_696),
    "resnet50": (25_557_032, 25_610_152),
    "resnet50_sd": (25_557_032, 25_610_152),
    "resnet101": (44_549_160, 44_654_504),
    "resnet152": (60_192_808, 60_344_232),
    "resnet18_small": (11_173_962, 11_183_562),
    "se_resnet18": (11_778_592, 11_788_192),
    "se_resnet34": (21_958_868, 21_975_892),
    "se_resnet50": (28_088_024, 28_141_144),
    "se_resnet101": (49_326_872, 49_432_216),
    "se_resnet152": (66_821_848, 66_973_272),
    "densenet121": (7_978_856, 8_062_504),
    "densenet161": (28_681_000, 28_900_936),
    "densenet169": (14_149_480, 14_307_880),
    "densenet201": (20_013_928, 20_242_984),
    "densenet264": (33_337_704, 33_736_232),
    "densenet264_k48": (72_686_632, 73_284_424),
    "densenet40_12": (1_019_722, 1_037_818),
    "densenet_bc_40_12": (176_122, 181_210),
    "densenet_bc_100_12": (769_162, 793_150),
    # torchreid counts 203,568 and 2,193,616 for the first and the last, without the classifier: tests/kerasdl/test_osnet.py
    "osnet_x0_25": (201_864 + 513_000, 208_392 + 513_000),
    "osnet_x0_5": (630_034 + 513_000, 642_066 + 513_000),
    "osnet_x0_75": (1_285_754 + 513_000, 1_303_290 + 513_000),
    "osnet_x1_0": (2_169_508 + 513_000, 2_192_548 + 513_000),
    "vit_ti16": (5_717_416, 5_717_416),
    "vit_s16": (22_050_664, 22_050_664),
    "vit_s32": (22_878_952, 22_878_952),
    "vit_b16": (86_567_656, 86_567_656),
    "vit_b32": (88_224_232, 88_224_232),
    "vit_l16": (304_326_632, 304_326_632),
    "vit_l32": (306_535_400, 306_535_400),
    "vit_h14": (632_045_800, 632_045_800),
    "vit_ti4": (5_362_762, 5_362_762),
}
# The same nets with other classes, pictures and options.
VARIANTS = (
    ("lenet5", 10, {"image_shape": (28, 28, 1)}, (61_706, 61_706)),
    ("lenet5", 10, {"image_shape": (32, 32, 3)}, (62_006, 62_006)),
    ("vgg16", 1000, {"image_shape": (96, 128, 3)}, (138_357_544, 138_357_544)),
    ("googlenet", 1000, {"aux": True}, (13_004_888, None)),
    ("googlenet_2014", 1000, {"aux": True}, (13_378_280, 13_378_280)),
    ("resnet20", 100, {}, (275_572, None)),
    ("resnet50", 1000, {"last_stride": 1}, (25_557_032, 25_610_152)),
    ("osnet_x1_0", 751, {"hidden": 0}, (1_905_828 + 751 * 513, None)),
    ("resnet20", 10, {"shortcut": "B"}, (272_474, 274_042)),
    ("resnet32", 10, {"shortcut": "B"}, (466_906, 469_370)),
    ("resnet44", 10, {"shortcut": "B"}, (661_338, 664_698)),
    ("resnet56", 10, {"shortcut": "B"}, (855_770, 860_026)),
    ("resnet110", 10, {"shortcut": "B"}, (1_730_714, 1_739_002)),
    ("densenet_bc_100_12", 100, {}, (800_032, 824_020)),
    # the paper's two largest: a thousand layers and more to wire
    pytest.param("densenet_bc_100_12", 10, {"depth": 190, "growth": 40}, (25_624_430, None), marks=pytest.mark.slow),
    pytest.param("densenet_bc_100_12", 10, {"depth": 250, "growth": 24}, (15_324_406, None), marks=pytest.mark.slow),
)
# Where each family ends a resolution, at its own image shape.
STAGES = {
    "lenet5": [(14, 14, 6), (5, 5, 16)],
    "alexnet": [(27, 27, 64), (13, 13, 192), (6, 6, 256)],
    "vgg16": [(112, 112, 64), (56, 56, 128), (28, 28, 256), (14, 14, 512), (7, 7, 512)],
    "googlenet": [(112, 112, 64), (56, 56, 192), (28, 28, 480), (14, 14, 832), (7, 7, 1024)],
    "googlenet_2014": [(112, 112, 64), (56, 56, 192), (28, 28, 480), (14, 14, 832), (7, 7, 1024)],
    "resnet20": [(32, 32, 16), (16, 16, 32), (8, 8, 64)],
    "resnet50": [(56, 56, 256), (28, 28, 512), (14, 14, 1024), (7, 7, 2048)],
    "resnet18_small": [(32, 32, 64), (16, 16, 128), (8, 8, 256), (4, 4, 512)],
    "se_resnet18": [(56, 56, 64), (28, 28, 128), (14, 14, 256), (7, 7, 512)],
    "osnet_x1_0": [(64, 32, 256), (32, 16, 384), (16, 8, 512)],
    "densenet121": [(56, 56, 256), (28, 28, 512), (14, 14, 1024), (7, 7, 1024)],
    "densenet_bc_100_12": [(32, 32, 216), (16, 16, 300), (8, 8, 342)],
    "vit_b16": [(197, 768)] * 4,
}


# --- all of the zoo, without weights ---


@pytest.mark.parametrize("name", list_models())
def test_parameter_counts_are_the_papers(name):
    assert count_parameters(reference_model(name)) == COUNTS[name]


@pytest.mark.parametrize(("name", "classes", "options", "counts"), VARIANTS, ids=str)
def test_parameter_counts_of_other_forms(name, classes, options, counts):
    with weightless():
        trainable, total = count_parameters(kerasdl.create_model(name, classes=classes, **options))
    assert trainable == counts[0] and counts[1] in (None, total)


@pytest.mark.parametrize(
    ("blocks", "bottleneck", "width", "ten", "hundred"),
    [
        ((2, 2, 2, 2), False, 512, (11_173_962, 11_183_562), 11_220_132),
        ((3, 4, 6, 3), False, 512, (21_282_122, 21_299_146), 21_328_292),
        ((3, 4, 6, 3), True, 2048, (23_520_842, 23_573_962), 23_705_252),
    ],
)
def test_parameter_counts_of_resnets_with_a_3x3_stem(blocks, bottleneck, width, ten, hundred):
    from kerasdl.models.resnet import resnet

    with weightless():
        trainable, total = count_parameters(resnet(blocks, (32, 32, 3), "small", bottleneck, small=True))
    assert (trainable + 10 * (width + 1), total + 10 * (width + 1)) == ten
    assert trainable + 100 * (width + 1) == hundred


@pytest.mark.parametrize("name", list_models())
def test_contract_of_a_model(name):
    model = reference_model(name)
    assert model.name == name and model.layers[-1].name == "logits"
    assert [layer.name for layer in model.layers if isinstance(layer, keras.layers.InputLayer)] == ["image"]
    assert model.input.dtype == model.output.dtype == "float32"
    stages = [layer.name for layer in model.layers if layer.name.startswith("stage")]
    assert stages == [f"stage{n}" for n in range(1, len(stages) + 1)] and stages
    assert not any("rescaling" in type(layer).__name__.lower() for layer in model.layers)


@pytest.mark.parametrize("cheap", CHEAP, ids=str)
def test_contract_of_a_backbone_with_any_number_of_channels(cheap):
    shapes = [(*cheap.image_shape[:2], channels) for channels in (cheap.image_shape[2], 4)]
    with weightless():
        usual, other = (find_model(cheap.name)(image_shape=shape, **cheap.options) for shape in shapes)
    features = usual.output["features"] if isinstance(usual.output, dict) else usual.output
    assert usual.name == cheap.name and len(features.shape) in (2, 3, 4)
    changed = [(a, b) for a, b in zip(usual.trainable_weights, other.trainable_weights, strict=True) if a.shape != b.shape]
    # airbench's whitening has as many filters as a patch has numbers, twice; a maxout unit a kernel for each piece
    first = {"airbench94": 2, "maxout_mlp": 5}.get(cheap.name, 1)
    assert len(changed) == (first if usual.trainable_weights else 0)  # the first kernel and nothing else


@pytest.mark.parametrize("cheap", FAMILIES, ids=str)
def test_grey_pictures(cheap):
    with weightless():
        model = kerasdl.create_model(cheap.name, 4, (*cheap.image_shape[:2], 1), **cheap.options)
    assert model.input.shape[-1] == 1 and model.get_layer("logits").output.shape == (None, 4)


@pytest.mark.parametrize(("name", "stages"), STAGES.items())
def test_features_by_stage(name, stages):
    cut = kerasdl.features(reference_model(name), *(f"stage{n}" for n in range(1, len(stages) + 1)))
    assert [x.shape[1:] for x in cut.output.values()] == stages


# --- what needs values, on the cheap forms ---


@pytest.fixture(scope="module", params=CHEAP, ids=str)
def net(request):
    keras.utils.set_random_seed(1)
    return kerasdl.create_model(request.param.name, 4, request.param.image_shape, **request.param.options)


def pictures(model: keras.Model, count: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(count, *model.input.shape[1:])).astype("float32")


def outputs(model: keras.Model, count: int, training: bool = False) -> dict:
    result = model(pictures(model, count), training=training)
    return result if isinstance(result, dict) else {"logits": result}


def test_every_trainable_weight_gets_a_gradient(net):
    import tensorflow as tf

    keras.utils.set_random_seed(2)
    random = np.random.default_rng(1)
    with tf.GradientTape() as tape:
        # Weighted sums, not a cross-entropy: whatever size the untrained logits have, no gradient vanishes in a softmax.
        sums = [keras.ops.sum(x * random.normal(size=x.shape)) for x in outputs(net, 8, training=True).values()]
    gradients = tape.gradient(sums, [w.value for w in net.trainable_weights])
    dead = [w.path for w, g in zip(net.trainable_weights, gradients, strict=True) if g is None or not np.abs(np.asarray(g)).max() > 0]
    assert not dead
    assert all(np.isfinite(np.asarray(g)).all() for g in gradients)


def test_a_saved_model_is_the_same_function(net, tmp_path):
    net.save(tmp_path / "model.keras")
    again = kerasdl.load_model(tmp_path / "model.keras")
    before, after = outputs(net, 2), outputs(again, 2)
    assert list(before) == list(after) and before["logits"].shape == (2, 4)
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


# --- single traits ---


def test_features_cut_at_a_stage_also_inside_a_nested_model():
    backbone = find_model("resnet20")()
    assert kerasdl.features(backbone, "stage2").output.shape == (None, 16, 16, 32)
    image = keras.Input((32, 32, 3))
    nested = keras.Model(image, keras.layers.GlobalAveragePooling2D()(backbone(image)))
    both = kerasdl.features(nested, "stage1", "stage3")
    assert {name: tuple(x.shape) for name, x in both.output.items()} == {"stage1": (None, 32, 32, 16), "stage3": (None, 8, 8, 64)}
    with pytest.raises(ValueError, match=r"Received: 'stage9', stages are \['stage1', 'stage2', 'stage3'\]"):
        kerasdl.features(nested, "stage9")


@pytest.mark.parametrize("name", list_models("*resnet18*") + ["resnet50", "resnet50_sd"])
def test_a_last_stride_of_1_doubles_the_map_and_changes_no_weight(name):
    with weightless():
        usual, fine = (find_model(name)((64, 32, 3), last_stride=stride) for stride in (2, 1))
    assert fine.output.shape == (None, 2 * usual.output.shape[1], 2 * usual.output.shape[2], usual.output.shape[3])
    assert [w.shape for w in fine.weights] == [w.shape for w in usual.weights]
    least = 4 if name.endswith("small") else 16  # half of the usual
    with pytest.raises(ValueError, match=f"sides of at least {least} pixels"):
        find_model(name)((64, least - 1, 3), last_stride=1)


def test_shortcut_a_takes_every_second_pixel_and_pads_with_zero_channels():
    from kerasdl.models.resnet_cifar import shortcut_a

    picture = np.arange(2 * 4 * 4 * 2, dtype=np.float32).reshape(2, 4, 4, 2)
    image = keras.Input((4, 4, 2))
    result = keras.Model(image, shortcut_a(image, 4, 2, "s")).predict_on_batch(picture)
    np.testing.assert_array_equal(result[..., 1:3], picture[:, ::2, ::2])
    assert not result[..., [0, 3]].any()


@pytest.mark.parametrize("name", list_models("*net*"))
def test_strided_convolutions_see_what_torch_sees(name):
    """As many pixels of padding on both sides: under stride 2 Keras' "same" would pad an even picture at the right and bottom only."""
    strided = [x for x in reference_model(name).layers if isinstance(x, keras.layers.Conv2D) and x.strides != (1, 1)]
    assert all(x.padding == "valid" for x in strided)
    for padding in (x.input._keras_history.operation for x in strided):
        if isinstance(padding, keras.layers.ZeroPadding2D):
            (top, bottom), (left, right) = padding.padding
            assert top == bottom == left == right
    if name == "resnet50":
        assert [x.name for x in strided if x.kernel_size == (3, 3)] == ["s2b1_b_conv", "s3b1_b_conv", "s4b1_b_conv"]


SMALLEST = {
    "lenet5": 28,
    "alexnet": 63,
    "alexnet_2012": 63,
    "vgg11": 32,
    "googlenet": 15,
    "googlenet_2014": 31,
    "resnet20": 4,
    "resnet18": 32,
    "resnet18_small": 8,
    "se_resnet18": 32,
    "densenet121": 32,
    "osnet_x0_25": 16,
    "densenet40_12": 4,
}


@pytest.mark.parametrize(("name", "side"), SMALLEST.items())
def test_the_smallest_picture_and_one_that_is_too_small(name, side):
    with weightless():
        assert kerasdl.create_model(name, 4, (side, side + 1, 3)).output.shape == (None, 4)
    with pytest.raises(ValueError, match=rf"needs sides of at least {side} pixels. Received: image_shape=\({side + 1}, {side - 1}, 3\)"):
        kerasdl.create_model(name, 4, (side + 1, side - 1, 3))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kerasdl.create_model("reznet20"), "unknown model. Received: 'reznet20'. Did you mean 'resnet20'?"),
        (lambda: kerasdl.create_model("lenet5", classes=0), "classes must be a whole number of at least 1. Received: 0"),
        (lambda: find_model("lenet5")(pool="min"), "pool must be 'average' or 'max'. Received: 'min'"),
        (lambda: find_model("mlp")(depth=0), "mlp needs at least one hidden layer. Received: depth=0"),
        (lambda: find_model("vgg16")(hidden=-1), "hidden must be at least 0. Received: hidden=-1"),
        (lambda: find_model("googlenet_2014")((78, 78, 3), aux=True), "googlenet_2014 with aux pools the picture five times"),
        (lambda: find_model("resnet20")(shortcut="C"), "shortcut must be 'A' (zero channels) or 'B' (projection). Received: 'C'"),
        (lambda: find_model("osnet_x0_25")(hidden=-1), "hidden must be at least 0. Received: hidden=-1"),
        (lambda: find_model("resnet50")(last_stride=3), "last_stride must be 1 or 2. Received: 3"),
        (lambda: find_model("resnet50_sd")(drop=1.0), "drop is a probability in [0, 1). Received: 1.0"),
        (lambda: find_model("densenet40_12")(depth=41), "depth must be 4 + 3n, for three equal blocks of n layers. Received: depth=41"),
        (lambda: find_model("densenet_bc_100_12")(depth=40 + 3), "depth must be 4 + 6n"),
        (lambda: find_model("vit_b16")(image_shape=(230, 224, 3)), "patch must divide both sides. Received: patch=16"),
        (lambda: find_model("vit_b16")(heads=7), "heads must divide it. Received: heads=7, width=768"),
        (lambda: find_model("vit_b16")(pool="max"), "pool must be 'token' or 'mean'. Received: 'max'"),
        (lambda: find_model("vit_b16")(positions="none"), "positions must be 'learnt' or 'sinusoidal'. Received: 'none'"),
    ],
)
def test_bad_arguments_get_a_sentence(call, sentence):
    with pytest.raises(ValueError) as problem:
        call()
    assert sentence in str(problem.value)


def test_list_models_matches_patterns():
    assert kerasdl.list_models("vgg16*") == ["vgg16", "vgg16_bn"]
    assert kerasdl.list_models() == sorted(kerasdl.list_models())
