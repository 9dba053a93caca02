"""Attention, tokens and positions against the course's worked examples and against NumPy written a second time."""

import keras
import numpy as np
import pytest

from kerasdl.layers.attention import SelfAttention, attention_weights, causal_mask, scaled_dot_product_attention
from kerasdl.layers.positions import LearntPositions, SinusoidalPositions, resize_positions, sinusoidal_grid, sinusoidal_positions
from kerasdl.layers.tokens import ClassToken, FirstToken

RNG = np.random.default_rng(0)


def normal(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype("float32")


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def single_head(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    return softmax(q @ k.T / np.sqrt(q.shape[1])) @ v


# --- scaled dot-product attention ---


def test_scores_of_the_illustrated_transformer():
    q, k = np.zeros((1, 64), "float32"), np.zeros((2, 64), "float32")
    q[0, :2], k[0, :2], k[1, :2] = (10, 6), (10, 2), (6, 6)  # q.k = 112 and 96; by sqrt(64): 14 and 12
    np.testing.assert_allclose(attention_weights(q, k), [[0.880797, 0.119203]], atol=1e-6)


def test_two_queries_on_three_keys_by_hand():
    k, v = np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([[1.0, 2], [3, 4], [5, 6]])
    np.testing.assert_allclose(scaled_dot_product_attention(np.eye(2), k, v), [[3, 4], [3.406673, 4.406673]], atol=1e-6)


def test_causal_softmax_by_hand():
    scores = np.array([[1.0, 2], [3, 4]])
    weights = attention_weights(scores * np.sqrt(2), np.eye(2), causal_mask(2))
    np.testing.assert_allclose(weights, [[1, 0], [0.268941, 0.731059]], atol=1e-6)


def test_a_causal_position_does_not_see_what_comes_later():
    q, k, v = normal(2, 5, 4), normal(2, 5, 4), normal(2, 5, 3)
    before = np.asarray(scaled_dot_product_attention(q, k, v, causal_mask(5)))
    k[:, 3:], v[:, 3:] = 9, 9
    after = np.asarray(scaled_dot_product_attention(q, k, v, causal_mask(5)))
    np.testing.assert_array_equal(before[:, :3], after[:, :3])
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 0.1


def test_attention_stays_finite_in_float16():
    q = np.full((1, 2, 64), 40, "float16")  # q.k is 102,400, beyond the 65,504 of float16, and 12,800 by sqrt(64)
    v = np.array([[[1, 2], [3, 4]]], "float16")
    np.testing.assert_array_equal(scaled_dot_product_attention(q, q, v), [[[2, 3], [2, 3]]])
    np.testing.assert_array_equal(scaled_dot_product_attention(q, q, v, causal_mask(2)), [[[1, 2], [2, 3]]])
    assert keras.backend.standardize_dtype(attention_weights(q, q).dtype) == "float16"


def test_a_row_that_may_look_nowhere_gets_equal_weights_not_nan():
    mask = np.array([[True, False], [False, False]])
    np.testing.assert_array_equal(attention_weights(normal(2, 4), normal(2, 4), mask), [[1, 0], [0.5, 0.5]])


# --- SelfAttention ---


def test_eight_heads_of_64_are_eight_single_heads_side_by_side():
    tokens = normal(2, 5, 3 * 512)
    q, k, v = tokens[..., :512], tokens[..., 512:1024], tokens[..., 1024:]
    parts = [slice(64 * head, 64 * head + 64) for head in range(8)]
    expected = [np.concatenate([single_head(q[b, :, p], k[b, :, p], v[b, :, p]) for p in parts], axis=1) for b in range(2)]
    np.testing.assert_allclose(SelfAttention(8)(tokens), expected, atol=2e-6)


def test_self_attention_is_permutation_equivariant_not_invariant():
    tokens, order = normal(1, 6, 24), [3, 0, 5, 1, 4, 2]
    layer = SelfAttention(2)
    plain, permuted = np.asarray(layer(tokens)), np.asarray(layer(tokens[:, order]))
    np.testing.assert_allclose(permuted, plain[:, order], atol=1e-6)
    assert np.abs(permuted - plain).max() > 0.1


def test_self_attention_counts_two_products():
    layer = SelfAttention(3)
    layer.build((None, 197, 3 * 192))
    assert layer.multiply_adds() == 2 * 197 * 197 * 192
    assert layer.count_params() == 0
    assert layer.compute_output_shape((None, 197, 576)) == (None, 197, 192)


def test_attention_dropout_is_seeded_and_only_in_training():
    tokens = normal(2, 4, 12)
    runs = [np.asarray(SelfAttention(2, dropout=0.5, seed=3)(tokens, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(runs[0], runs[1])
    still = np.asarray(SelfAttention(2)(tokens))
    assert np.abs(runs[0] - still).max() > 0.01
    np.testing.assert_array_equal(SelfAttention(2, dropout=0.5)(tokens, training=False), still)


def test_self_attention_refuses_what_it_cannot_split():
    with pytest.raises(ValueError, match=r"must each divide into the heads. Received: heads=5, 3D=24"):
        SelfAttention(5)(normal(1, 2, 24))
    with pytest.raises(ValueError, match=r"fixed number of tokens. Received: input_shape=\(None, None, 24\)"):
        SelfAttention(2)(keras.Input((None, 24)))


# --- tokens ---


def test_the_class_token_comes_first_and_is_read_back():
    tokens, layer = normal(2, 3, 4), ClassToken()
    assert not np.asarray(layer(tokens))[:, 0].any()
    layer.token.assign([[[1.0, 2, 3, 4]]])
    longer = np.asarray(layer(tokens))
    np.testing.assert_array_equal(longer[:, 1:], tokens)
    np.testing.assert_array_equal(FirstToken()(longer), [[1, 2, 3, 4]] * 2)
    with pytest.raises(ValueError, match=r"fixed number of tokens. Received: input_shape=\(None, None, 4\)"):
        ClassToken()(keras.Input((None, 4)))


# --- positions ---


def test_sinusoidal_positions_by_hand():
    np.testing.assert_allclose(sinusoidal_positions(2, 4), [[0, 1, 0, 1], [0.841471, 0.540302, 0.010000, 0.999950]], atol=1e-6)


def test_sinusoidal_positions_are_the_course_formula():
    table = sinusoidal_positions(7, 20)
    for t in range(7):
        for k in range(10):
            angle = t / 10000 ** (2 * k / 20)
            assert table[t, 2 * k : 2 * k + 2] == pytest.approx((np.sin(angle), np.cos(angle)), abs=1e-6)


def test_a_shift_is_the_same_rotation_at_every_position():
    table = sinusoidal_positions(30, 4)  # why the form was chosen: PE(t+s) is a linear function of PE(t)
    turn = np.array([[np.cos(5), np.sin(5)], [-np.sin(5), np.cos(5)]])
    np.testing.assert_allclose(table[:25, :2] @ turn.T, table[5:, :2], atol=1e-6)


def test_sinusoidal_grid_is_the_formula_of_beyer():
    height, width, channels = 2, 3, 12
    table = sinusoidal_grid(height, width, channels)
    for y in range(height):
        for x in range(width):
            omegas = [1 / 10000 ** (i / 2) for i in range(3)]  # 1, 0.01, 0.0001
            rows = [[f(p * w) for w in omegas] for p, f in ((x, np.sin), (x, np.cos), (y, np.sin), (y, np.cos))]
            np.testing.assert_allclose(table[y * width + x], np.ravel(rows), atol=1e-6)


def test_sinusoidal_positions_leave_the_class_token_alone():
    layer = SinusoidalPositions((2, 3), extra_tokens=1)
    added = np.asarray(layer(np.zeros((2, 7, 8), "float32")))
    assert not added[:, 0].any() and not layer.weights
    np.testing.assert_array_equal(added[1, 1:], sinusoidal_grid(2, 3, 8))
    np.testing.assert_array_equal(SinusoidalPositions((6,))(np.zeros((1, 6, 8), "float32"))[0], sinusoidal_positions(6, 8))


def test_learnt_positions_are_one_small_vector_a_slot():
    keras.utils.set_random_seed(0)
    layer = LearntPositions()
    added = np.asarray(layer(np.zeros((2, 50, 64), "float32")))
    np.testing.assert_array_equal(added[0], added[1])
    assert added.std() == pytest.approx(0.0176, abs=0.001) and np.abs(added).max() <= 0.04  # 0.02, cut at two deviations
    assert [tuple(w.shape) for w in layer.weights] == [(1, 50, 64)]


def test_positions_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match="even width. Received: width=5"):
        sinusoidal_positions(4, 5)
    with pytest.raises(ValueError, match="that four divides, of at least 8. Received: width=10"):
        sinusoidal_grid(2, 2, 10)
    with pytest.raises(ValueError, match=r"must fit the grid. Received: 7 tokens, grid=\(2, 3\), extra_tokens=0"):
        SinusoidalPositions((2, 3))(normal(1, 7, 8))
    with pytest.raises(ValueError, match=r"a grid is \(height, width\) or \(length,\). Received: grid=\(2, 3, 4\)"):
        SinusoidalPositions((2, 3, 4))
    with pytest.raises(ValueError, match=r"must fit their grid. Received: 7 positions, old_grid=\(2, 3\), extra_tokens=0"):
        resize_positions(normal(1, 7, 8), (2, 3), (4, 4), extra_tokens=0)


# --- resizing learnt positions ---


def test_the_same_grid_gives_the_same_positions():
    positions = normal(1, 13, 5)
    assert resize_positions(positions, (3, 4), (3, 4)) is positions


def test_a_ramp_stays_a_ramp_and_the_class_slot_stays():
    y, x = np.mgrid[:14, :10]
    ramps = np.stack([y, x, np.full_like(x, 7)], -1).reshape(1, 140, 3).astype("float32")
    positions = np.concatenate([np.full((1, 1, 3), 99, "float32"), ramps], axis=1)
    resized = resize_positions(positions, (14, 10), (28, 20))
    assert resized.shape == (1, 1 + 28 * 20, 3) and resized.dtype == np.float32
    np.testing.assert_array_equal(resized[:, :1], positions[:, :1])
    grid = resized[0, 1:].reshape(28, 20, 3)
    rows, columns = (np.arange(28) + 0.5) / 2 - 0.5, (np.arange(20) + 0.5) / 2 - 0.5  # centres of the new cells on the old axis
    np.testing.assert_allclose(grid[4:-4, 0, 0], rows[4:-4], atol=1e-5)
    np.testing.assert_allclose(grid[0, 4:-4, 1], columns[4:-4], atol=1e-5)
    np.testing.assert_allclose(grid[..., 2], 7, atol=1e-5)


def cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    x = np.abs(x)
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def bicubic_matrix(old: int, new: int) -> np.ndarray:
    """(new, old) weights of an antialiased bicubic resize: the kernel widens with the step, and is cut and normalised at the edges."""
    step = old / new
    weights = cubic(((np.arange(new)[:, None] + 0.5) * step - 0.5 - np.arange(old)) / max(step, 1))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("new_grid", [(24, 24), (7, 9), (14, 7), (20, 5)], ids=str)
def test_resizing_is_the_bicubic_of_torch_with_antialiasing(new_grid):
    grid = normal(14, 14, 4)
    positions = np.concatenate([normal(1, 2, 4), grid.reshape(1, -1, 4)], axis=1)
    expected = np.einsum("ip,jq,pqd->ijd", bicubic_matrix(14, new_grid[0]), bicubic_matrix(14, new_grid[1]), grid)
    resized = resize_positions(positions, (14, 14), new_grid, extra_tokens=2)
    np.testing.assert_allclose(resized[0, 2:], expected.reshape(-1, 4), atol=2e-6)


# --- saving ---


@pytest.mark.parametrize(
    "layer",
    [SelfAttention(2, 0.1, seed=1), ClassToken(), FirstToken(), LearntPositions(), SinusoidalPositions((2, 3)), SinusoidalPositions((6,))],
    ids=lambda layer: type(layer).__name__,
)
def test_a_layer_comes_back_from_its_config(layer):
    tokens = normal(1, 6, 24)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    first, _ = layer(tokens), again(tokens)
    again.set_weights(layer.get_weights())
    assert again.get_config() == layer.get_config()
    np.testing.assert_array_equal(first, again(tokens))
