"""What only AlexNet, VGG and GoogLeNet do: their pooling, their normalisation, their options and their published counts."""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.layers.adaptive_pooling import AdaptiveAveragePooling2D, averaging_matrix
from kerasdl.layers.local_response_norm import LocalResponseNormalization
from kerasdl.models.alexnet import alexnet, alexnet_2012, two_conv_relu
from kerasdl.models.googlenet import ceil_pool, googlenet, googlenet_2014
from kerasdl.models.vgg import vgg11, vgg11_bn, vgg16, vgg16_bn
from kerasdl.weightless import weightless

RANDOM = np.random.default_rng(0)


def pictures(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype("float32")


def trainable(model: keras.Model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def stages(builder, *arguments, **options) -> dict[str, tuple[int, ...]]:
    with weightless():
        model = builder(*arguments, **options)
    return {layer.name: tuple(layer.output.shape[1:]) for layer in model.layers if layer.name.startswith("stage")}


def through(function, x: np.ndarray) -> np.ndarray:
    """The result of a block `x -> x` inside a functional model."""
    image = keras.Input(x.shape[1:])
    return keras.Model(image, function(image)).predict_on_batch(x)


# (model, options): trainable parameters and Keras total, with 1000 classes.
PUBLISHED = {
    ("alexnet", ()): (61_100_840, 61_100_840),
    ("alexnet_2012", ()): (60_965_224, 60_965_224),
    ("vgg11", ()): (132_863_336, 132_863_336),
    ("vgg16_bn", ()): (138_365_992, 138_374_440),
    ("googlenet", ()): (6_624_904, 6_639_464),
    ("googlenet", ("aux",)): (13_004_888, 13_019_960),
    ("googlenet_2014", ()): (6_998_552, 6_998_552),
    ("googlenet_2014", ("aux",)): (13_378_280, 13_378_280),
}


@pytest.mark.parametrize(("key", "counts"), PUBLISHED.items(), ids=str)
def test_parameter_counts_are_the_published_ones(key, counts):
    name, options = key
    with weightless():
        model = kerasdl.create_model(name, classes=1000, **{option: True for option in options})  # pyright: ignore[reportArgumentType]
    assert (trainable(model), model.count_params()) == counts


# Layers


def adaptive_pool_loop(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    (batch, height, width, channels), (h, w) = x.shape, size
    y = np.zeros((batch, h, w, channels))
    for i in range(h):
        for j in range(w):
            top, bottom = int(np.floor(i * height / h)), int(np.ceil((i + 1) * height / h))
            left, right = int(np.floor(j * width / w)), int(np.ceil((j + 1) * width / w))
            y[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    return y


@pytest.mark.parametrize(
    ("picture", "size"),
    [((7, 7), (7, 7)), ((14, 21), (7, 7)), ((14, 14), (4, 4)), ((12, 7), (7, 7)), ((1, 1), (7, 7)), ((2, 3), (6, 6)), ((5, 16), (6, 3))],
    ids=str,
)
def test_adaptive_pooling_is_the_mean_of_every_window(picture, size):
    x = pictures(2, *picture, 3)
    y = through(AdaptiveAveragePooling2D(size), x)
    np.testing.assert_allclose(y, adaptive_pool_loop(x, size), atol=1e-6)


def test_windows_overlap_where_the_size_does_not_divide():
    np.testing.assert_allclose(averaging_matrix(5, 3), [[0.5, 0.5, 0, 0, 0], [0, 1 / 3, 1 / 3, 1 / 3, 0], [0, 0, 0, 0.5, 0.5]], rtol=1e-6)
    np.testing.assert_array_equal(averaging_matrix(2, 3), [[1, 0], [0.5, 0.5], [0, 1]])


def test_local_response_normalisation_is_the_formula_of_the_paper():
    x = 30 * pictures(2, 3, 2, 7)
    y = np.zeros(x.shape)
    for i in range(7):
        neighbours = x[..., max(0, i - 2) : min(6, i + 2) + 1]
        y[..., i] = x[..., i] / (2 + 1e-4 * (neighbours.astype("float64") ** 2).sum(-1)) ** 0.75
    np.testing.assert_allclose(LocalResponseNormalization()(x), y, rtol=1e-5)


def test_local_response_normalisation_by_hand():
    """n=3, k=1, alpha=1, beta=1: 1 / (1+1+4), 2 / (1+1+4+9), 3 / (1+4+9)."""
    layer = LocalResponseNormalization(n=3, k=1.0, alpha=1.0, beta=1.0)
    np.testing.assert_allclose(layer(np.array([[1.0, 2.0, 3.0]], "float32")), [[1 / 6, 2 / 15, 3 / 14]], rtol=1e-6)


@pytest.mark.parametrize(
    "block",
    [AdaptiveAveragePooling2D((3, 2)), LocalResponseNormalization(3, 1.0, 0.5, 0.6), lambda x: two_conv_relu(x, 4, 3, "c")],
    ids=["adaptive", "response", "two_conv"],
)
def test_a_layer_comes_back_from_a_file(block, tmp_path):
    image = keras.Input((5, 5, 4))
    model = keras.Model(image, block(image))
    model.save(tmp_path / "model.keras")
    x = pictures(2, 5, 5, 4)
    np.testing.assert_array_equal(kerasdl.load_model(tmp_path / "model.keras").predict_on_batch(x), model.predict_on_batch(x))


def ceil_pool_loop(x: np.ndarray, window: int) -> np.ndarray:
    """torch's ceil_mode: as many windows as begin inside the picture and are needed to cover it; what is outside is left out."""
    height, width = (int(np.ceil((side - window) / 2)) + 1 for side in x.shape[1:3])
    rows = [x[:, 2 * i : 2 * i + window].max(1) for i in range(height)]
    return np.stack([np.stack([row[:, 2 * j : 2 * j + window].max(1) for j in range(width)], 1) for row in rows], 1)


@pytest.mark.parametrize("picture", [(6, 6), (7, 7), (6, 9), (5, 4), (2, 3)], ids=str)
@pytest.mark.parametrize("window", [2, 3])
def test_ceil_pooling_keeps_the_last_pixels_at_even_and_odd_sizes(picture, window):
    x = np.abs(pictures(2, *picture, 3))
    np.testing.assert_array_equal(through(lambda image: ceil_pool(image, window, "pool"), x), ceil_pool_loop(x, window))


def test_the_two_halves_of_a_convolution_do_not_see_each_other():
    image = keras.Input((5, 5, 4))
    model = keras.Model(image, two_conv_relu(image, 6, 3, "c"))
    x = pictures(1, 5, 5, 4)
    changed = x.copy()
    changed[..., 2:] += 1
    before, after = model.predict_on_batch(x), model.predict_on_batch(changed)
    np.testing.assert_array_equal(before[..., :3], after[..., :3])
    assert np.abs(before[..., 3:] - after[..., 3:]).max() > 0.01
    assert model.count_params() == 2 * (3 * 3 * 2 * 3 + 3)


# Models


def test_stages_at_224_pixels():
    assert stages(alexnet) == {"stage1": (27, 27, 64), "stage2": (13, 13, 192), "stage3": (6, 6, 256)}
    assert stages(alexnet_2012) == {"stage1": (27, 27, 96), "stage2": (13, 13, 256), "stage3": (6, 6, 256)}
    sizes = {"stage1": (112, 112, 64), "stage2": (56, 56, 192), "stage3": (28, 28, 480), "stage4": (14, 14, 832), "stage5": (7, 7, 1024)}
    assert stages(googlenet) == stages(googlenet_2014) == sizes
    assert stages(vgg16) == {f"stage{i}": (224 >> i, 224 >> i, min(64 << i - 1, 512)) for i in range(1, 6)}


def test_first_convolution_of_the_2012_net_is_55_pixels_wide_as_in_the_paper():
    with weightless():
        assert alexnet_2012().get_layer("c1_conv").output.shape == (None, 55, 55, 96)


@pytest.mark.parametrize(
    ("builder", "shape", "output"),
    [
        (alexnet, (97, 65, 1), (4096,)),
        (alexnet_2012, (64, 81, 4), (4096,)),
        (vgg11, (97, 65, 4), (64,)),
        (googlenet, (97, 65, 4), (3, 2, 1024)),
        (googlenet_2014, (97, 65, 1), (3, 2, 1024)),
    ],
)
def test_other_sizes_and_channels(builder, shape, output):
    model = builder(image_shape=shape, **({"hidden": 64} if builder is vgg11 else {}))
    y = model.predict_on_batch(pictures(2, *shape))
    assert y.shape == (2, *output) and np.isfinite(y).all() and y.std() > 0


@pytest.mark.parametrize(
    ("builder", "side"),
    [(alexnet, 63), (alexnet_2012, 63), (vgg11, 32), (googlenet, 15), (googlenet_2014, 31)],
    ids=lambda x: getattr(x, "__name__", x),
)
def test_the_least_side_in_the_sentence_is_the_least_that_works(builder, side):
    options = {"hidden": 0} if builder is vgg11 else {}
    assert max(stages(builder, image_shape=(side, side, 1), **options).items())[1][:2] == (1, 1)
    with pytest.raises(
        ValueError, match=rf"{builder.__name__} .* sides of at least {side} pixels. Received: image_shape=\(224, {side - 1}, 1\)"
    ):
        builder(image_shape=(224, side - 1, 1), **options)


def test_bad_arguments_get_a_sentence():
    with pytest.raises(ValueError, match=r"googlenet_2014 with aux .* at least 79 pixels. Received: image_shape=\(78, 78, 3\)"):
        googlenet_2014((78, 78, 3), aux=True)
    with pytest.raises(ValueError, match="hidden must be at least 0. Received: hidden=-1"):
        vgg11(hidden=-1)
    with pytest.raises(ValueError, match=r"n must be odd, so that the window has a middle. Received: n=4"):
        LocalResponseNormalization(4)
    with pytest.raises(ValueError, match=r"size must be two whole numbers of at least 1. Received: size=\(0, 3\)"):
        AdaptiveAveragePooling2D((0, 3))
    with pytest.raises(ValueError, match=r"known height and width. Received: input_shape=\(None, None, 8, 3\)"):
        AdaptiveAveragePooling2D((2, 2))(keras.Input((None, 8, 3)))


@pytest.mark.parametrize(
    ("builder", "shape", "options"),
    [
        (alexnet_2012, (63, 63, 3), {}),
        (vgg16_bn, (32, 32, 3), {"hidden": 0}),
        (vgg11, (64, 32, 3), {"hidden": 32}),
        (googlenet, (32, 32, 3), {"aux": True}),
        (googlenet_2014, (79, 79, 3), {"aux": True}),
    ],
)
def test_every_weight_gets_a_gradient(builder, shape, options):
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    model = builder(image_shape=shape, **options)
    weights = model.trainable_weights
    with tf.GradientTape() as tape:
        outputs = keras.tree.flatten(model(pictures(4, *shape), training=True))
        loss = tf.add_n([tf.reduce_mean(output**2) for output in outputs])
    for weight, gradient in zip(weights, tape.gradient(loss, [w.value for w in weights]), strict=True):
        assert gradient is not None and np.abs(np.asarray(gradient)).max() > 0, weight.path


def test_auxiliary_heads_of_googlenet_are_named_outputs_and_add_nothing_to_the_features():
    keras.utils.set_random_seed(1)
    model = googlenet((64, 64, 3), aux=True)
    assert {name: tuple(x.shape) for name, x in model.output.items()} == {
        "features": (None, 2, 2, 1024),
        "aux1": (None, 1024),
        "aux2": (None, 1024),
    }
    plain = googlenet((64, 64, 3))
    for layer in plain.layers:
        layer.set_weights(model.get_layer(layer.name).get_weights())
    x = pictures(2, 64, 64, 3)
    np.testing.assert_array_equal(plain.predict_on_batch(x), model.predict_on_batch(x)["features"])


def test_batch_normalisation_has_the_epsilon_of_each_family():
    with weightless():
        assert googlenet().get_layer("i4a_3x3_bn").epsilon == 1e-3
        assert vgg11_bn(hidden=0).get_layer("s4c2_bn").epsilon == 1e-5


def test_five_by_five_is_true_only_in_the_paper():
    with weightless():
        assert googlenet().get_layer("i3a_5x5_conv").kernel.shape == (3, 3, 16, 32)
        assert googlenet_2014().get_layer("i3a_5x5_conv").kernel.shape == (5, 5, 16, 32)


def test_dropout_sits_where_the_published_nets_have_it():
    with weightless():
        torchvision, paper, vgg = alexnet(), alexnet_2012(dropout=0.3), vgg11(dropout=0.2)
    assert [layer.name for layer in torchvision.layers[-4:]] == ["fc6_dropout", "fc6", "fc7_dropout", "fc7"]
    assert (
        [layer.name for layer in paper.layers[-4:]]
        == [layer.name for layer in vgg.layers[-4:]]
        == ["fc6", "fc6_dropout", "fc7", "fc7_dropout"]
    )
    assert [model.get_layer("fc7_dropout").rate for model in (torchvision, paper, vgg)] == [0.5, 0.3, 0.2]


def test_dropout_without_dense_layers_drops_whole_maps():
    """A map that is dropped everywhere or nowhere: after the average over the picture this is dropout before the last layer."""
    keras.utils.set_random_seed(1)
    layer = vgg11((64, 64, 3), hidden=0, dropout=0.5).get_layer("dropout")
    y = np.asarray(layer(np.ones((2, 3, 3, 512), "float32"), training=True))
    assert (y == y[:, :1, :1]).all()
    assert set(np.unique(y)) == {0.0, 2.0}


def test_a_net_with_our_layers_comes_back_from_a_file(tmp_path):
    model = googlenet_2014(image_shape=(97, 81, 3), aux=True)
    x = pictures(2, 97, 81, 3)
    model.save(tmp_path / "model.keras")
    before, after = model.predict_on_batch(x), kerasdl.load_model(tmp_path / "model.keras").predict_on_batch(x)
    assert list(after) == ["features", "aux1", "aux2"]
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
