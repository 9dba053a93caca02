"""OSNet: counted as its authors count it, its gate shared by the streams, its scales as wide as the paper says."""

import keras
import numpy as np
import pytest

from kerasdl.models import find_model
from kerasdl.models.osnet import gated_sum, omni_scale_block, stream
from kerasdl.summary import count_parameters, total_multiply_adds
from kerasdl.weightless import weightless

# What torchreid's compute_model_complexity prints for its own nets at 256 x 128, which are 978.9 million multiply-adds in the paper.
PUBLISHED = {"osnet_x1_0": (2_193_616, 978_878_352), "osnet_x0_25": (203_568, 82_316_000)}


def gates(model: keras.Model) -> list:
    return [layer for layer in model.layers if layer.name.endswith(("gate_reduce", "gate_expand"))]


@pytest.mark.parametrize(("name", "published"), PUBLISHED.items())
def test_the_counts_are_the_authors_whose_counter_sees_a_gate_four_times(name, published):
    with weightless():
        model = find_model(name)()
    parameters = count_parameters(model)[0] + 3 * sum(layer.count_params() for layer in gates(model))
    biases = 4 * sum(layer.filters for layer in gates(model)) + 512  # they count the addition of a bias too
    assert (parameters, total_multiply_adds(model) + biases) == published


def test_parameters_of_a_block_by_hand():
    """64 to 256 channels, 64 inside: 10 lite convolutions, a gate of 64-4-64, and 1x1 convolutions in, out and beside."""
    image = keras.Input((8, 8, 64))
    block = keras.Model(image, omni_scale_block(image, 256, "block"))
    lite = 64 * 64 + 9 * 64 + 2 * 64
    gate = 64 * 4 + 4 + 4 * 64 + 64
    around = (64 * 64 + 2 * 64) + (64 * 256 + 2 * 256) + (64 * 256 + 2 * 256)
    assert count_parameters(block)[0] == 10 * lite + gate + around == 86_596


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_a_stream_of_n_lite_convolutions_sees_2n_plus_1_pixels(depth):
    image = keras.Input((11, 11, 2))
    model = keras.Model(image, stream(image, depth, "t"))
    model.set_weights([np.abs(w) + 0.1 for w in model.get_weights()])  # nothing cancels and no ReLU closes
    picture = np.zeros((1, 11, 11, 2), np.float32)
    picture[:, 5, 5] = 1.0
    changed = np.any(np.asarray(model(picture)) != np.asarray(model(np.zeros_like(picture))), axis=-1)[0]
    rows, columns = np.nonzero(changed)
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1, changed.sum()) == (2 * depth + 1, 2 * depth + 1, (2 * depth + 1) ** 2)


def test_one_gate_weighs_every_stream_by_its_own_mean():
    random = np.random.default_rng(0)
    inputs = [keras.Input((3, 2, 32)) for _ in range(3)]
    model = keras.Model(inputs, gated_sum(inputs, "gate"))
    model.set_weights([random.normal(size=w.shape) for w in model.get_weights()])
    w1, b1, w2, b2 = (np.squeeze(w) for w in model.get_weights())  # kernels (1, 1, 32, 2) and (1, 1, 2, 32)
    streams = [random.normal(size=(2, 3, 2, 32)).astype("float32") for _ in inputs]
    expected = 0
    for x in streams:
        hidden = np.maximum(x.mean(axis=(1, 2)) @ w1 + b1, 0)
        expected = expected + x * (1 / (1 + np.exp(-(hidden @ w2 + b2))))[:, None, None]
    np.testing.assert_allclose(model(streams), expected, atol=1e-5)


def test_a_block_whose_last_convolution_is_silent_is_the_identity():
    image = keras.Input((4, 4, 64))
    model = keras.Model(image, omni_scale_block(image, 64, "block"))
    model.get_layer("block_b_bn").set_weights([np.zeros(64), np.zeros(64), np.zeros(64), np.ones(64)])
    x = np.abs(np.random.default_rng(0).normal(size=(2, 4, 4, 64))).astype("float32")
    np.testing.assert_array_equal(model(x), x)


def test_without_the_dense_layer_the_map_is_left_and_the_rest_is_the_same():
    with weightless():
        whole, bare = find_model("osnet_x0_25")(), find_model("osnet_x0_25")(hidden=0)
    assert whole.output.shape == (None, 512) and bare.output.shape == (None, 16, 8, 128)
    assert count_parameters(whole)[0] - count_parameters(bare)[0] == 128 * 512 + 512 + 2 * 512
