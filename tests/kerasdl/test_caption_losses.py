"""The losses of captions by hand and against NumPy written a second time."""

import keras
import numpy as np
import pytest

from kerasdl.losses import CaptionCrossEntropy, DoublyStochastic, word_is_right

RNG = np.random.default_rng(0)
TOKENS = np.array([[4, 5, 2, 0, 0], [4, 2, 0, 0, 0], [5, 4, 4, 4, 2]])
LOGITS = RNG.normal(size=(3, 5, 7)).astype("float32")


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def value(loss, targets, predictions) -> float:
    return float(loss(targets, predictions))


def test_it_is_the_mean_over_the_words_that_are_there():
    logp = log_softmax(LOGITS)
    words = [-logp[b, t, TOKENS[b, t]] for b in range(3) for t in range(5) if TOKENS[b, t]]
    assert len(words) == 10
    assert value(CaptionCrossEntropy(), TOKENS, LOGITS) == pytest.approx(np.mean(words), abs=1e-6)


def test_smoothing_is_a_mixture_with_the_even_distribution():
    logp, s = log_softmax(LOGITS), 0.2
    target = (1 - s) * np.eye(7)[TOKENS] + s / 7
    words = [-(target[b, t] @ logp[b, t]) for b in range(3) for t in range(5) if TOKENS[b, t]]
    assert value(CaptionCrossEntropy(s), TOKENS, LOGITS) == pytest.approx(np.mean(words), abs=1e-6)


def test_what_stands_on_pad_does_not_count():
    changed = LOGITS.copy()
    changed[TOKENS == 0] = 50 * RNG.normal(size=changed[TOKENS == 0].shape)
    loss = CaptionCrossEntropy(0.1)
    assert value(loss, TOKENS, changed) == pytest.approx(value(loss, TOKENS, LOGITS), abs=1e-6)
    assert np.mean(word_is_right(TOKENS, changed)) == np.mean(word_is_right(TOKENS, LOGITS))


def test_targets_may_be_floats_as_keras_hands_them_over():
    assert value(CaptionCrossEntropy(), TOKENS.astype("float32"), LOGITS) == value(CaptionCrossEntropy(), TOKENS, LOGITS)


def test_captions_of_nothing_cost_nothing():
    assert value(CaptionCrossEntropy(), np.zeros((2, 3), int), LOGITS[:2, :3]) == 0


def test_right_words_are_counted_over_the_words_that_are_there():
    logits = -np.eye(7, dtype="float32")[TOKENS]
    logits[0, :2], logits[1, 0] = np.eye(7)[[4, 5]], np.eye(7)[4]  # three of ten
    assert np.mean(word_is_right(TOKENS, logits)) == pytest.approx(0.3)


def test_equation_14_by_hand():
    coverage = np.array([[1.0, 1.0, 1.0], [3.0, 0.0, 0.0]])  # (0+0+0)/3 and (4+1+1)/3
    np.testing.assert_allclose(DoublyStochastic().call(None, keras.ops.convert_to_tensor(coverage)), [0, 2])


@pytest.mark.parametrize("loss", [CaptionCrossEntropy(0.1), DoublyStochastic()], ids=lambda loss: loss.name)
def test_a_saved_loss_is_the_same_function(loss):
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config() and type(again) is type(loss)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_smoothing_beyond_its_range_is_refused(smoothing):
    with pytest.raises(ValueError, match=rf"label smoothing must be in \[0, 1\). Received: {smoothing}"):
        CaptionCrossEntropy(smoothing)
