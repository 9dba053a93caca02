"""The task's own graphs, exported to ONNX and served as a bundle, say what Keras says: the whole way from training to the page."""

import keras
import numpy as np
import pytest

from apps.repository import warm_up
from apps.runtime import Choice, caption, load_bundle
from export.convert import to_onnx
from kerasdl import decoding
from kerasdl.data.spec import Spec
from kerasdl.tasks import Captioning
from kerasdl.text import Vocabulary
from tests.apps.halves import GRID, LENGTH, SIDE, WORDS, captioner

SPEC = Spec((SIDE, SIDE, 3), tuple(WORDS), (0.5,) * 3, (0.25,) * 3, (), "noise", caption_length=LENGTH)
TASKS = {
    "lstm": Captioning("recurrent", units=12, width=8),
    "gru without attention": Captioning("recurrent", cell="gru", units=12, width=8, attention=False),
    "transformer": Captioning("transformer", width=8, heads=2, blocks=2),
}
PICTURES = np.random.default_rng(0).integers(0, 256, (24, SIDE, SIDE, 3)).astype("uint8")


@pytest.fixture(scope="module", params=TASKS)
def both(request, tmp_path_factory):
    """(the bundle, Keras' graphs) of one network with random weights."""
    task = TASKS[request.param]
    image = keras.Input((SIDE, SIDE, 3), name="image")
    backbone = keras.Model(image, keras.layers.Conv2D(8, SIDE // GRID, SIDE // GRID, activation="relu")(image), name="tiny")
    model = task.build(backbone, SPEC)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    assert task.grid(model) == (GRID, GRID)
    served = task.serving(task.trained(model), SPEC)
    folder = captioner(tmp_path_factory.mktemp("served"), {name: to_onnx(graph) for name, graph in served.items()})
    return load_bundle(folder), served


def by_keras(graph):
    return lambda feeds: {name: np.asarray(x) for name, x in graph(feeds, training=False).items()}


def test_the_bundle_may_serve(both):
    warm_up(both[0])


@pytest.mark.parametrize("beam", [1, 3])
def test_the_bundle_says_what_keras_says(both, beam):
    bundle, served = both
    memory = by_keras(served["encoder"])({"image": PICTURES})
    step, words = by_keras(served["decoder"]), Vocabulary(WORDS, [0] * len(WORDS))
    wanted = decoding.beam(step, memory, LENGTH, beam)
    found = caption(bundle, list(PICTURES), Choice(beam))
    clear = np.flatnonzero(wanted.margins > 2e-4)  # elsewhere another choice may win by a rounding
    assert len(clear) > 12
    for row in clear:
        assert found[row].text == words.decode(wanted.tokens[row])
        assert found[row].score == pytest.approx(wanted.scores[row], abs=1e-4)
        shown = len(found[row].words)
        looks = wanted.attention[row][wanted.tokens[row] > 3]
        np.testing.assert_allclose(found[row].attention.reshape(shown, looks.shape[1], -1), looks, atol=1e-4)
