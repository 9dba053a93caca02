"""Both halves of a captioner become ONNX graphs of standard operators, free of loops, that say what Keras says."""

import keras
import numpy as np
import onnxruntime
import pytest

from export.convert import to_onnx
from export.gates import check_domains, check_proto, nodes_of, signature_of
from export.parity import onnx_runner
from kerasdl import decoding
from kerasdl.data.spec import Spec
from kerasdl.tasks import Captioning

WORDS = ("<pad>", "<start>", "<end>", "<unk>", *(f"word{i}" for i in range(12)))
T = 7
SPEC = Spec((12, 8, 3), WORDS, (0.5,) * 3, (0.25,) * 3, (), "noise", caption_length=T)
SOME = {
    "lstm": Captioning("recurrent", units=12, width=8),
    "gru": Captioning("recurrent", cell="gru", units=12, width=8, places=False),
    "no_attention": Captioning("recurrent", units=12, width=8, attention=False),
    "sinusoidal": Captioning("transformer", width=8, heads=2, blocks=2),
    "learnt": Captioning("transformer", width=8, heads=2, blocks=1, positions="learnt"),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (24, 12, 8, 3)).astype("uint8")


def backbone() -> keras.Model:
    image = keras.Input((12, 8, 3), name="image")
    return keras.Model(image, keras.layers.Conv2D(8, 4, 4, activation="relu")(image), name="tiny")


@pytest.fixture(scope="module", params=SOME)
def graphs(request):
    """(task, runners of Keras, ONNX protos, runners of onnxruntime); every weight is random, biases included."""
    task = SOME[request.param]
    model = task.build(backbone(), SPEC)
    rng = np.random.default_rng(1)
    model.set_weights(
        [rng.normal(size=w.shape) * (1 if "logits" in v.path else 0.7) for v, w in zip(model.weights, model.get_weights(), strict=True)]
    )
    served = task.serving(task.trained(model), SPEC)
    protos = {name: to_onnx(graph) for name, graph in served.items()}

    def by_keras(graph):
        return lambda feeds: {name: np.asarray(x) for name, x in graph(feeds, training=False).items()}

    def by_onnx(proto):
        return onnx_runner(onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]))

    return task, {n: by_keras(g) for n, g in served.items()}, protos, {n: by_onnx(p) for n, p in protos.items()}


def test_the_graphs_are_of_standard_operators_without_loops(graphs):
    for proto in graphs[2].values():
        check_domains(proto)
        check_proto(proto)
        assert {node.op_type for node in nodes_of(proto)}.isdisjoint({"Loop", "If", "Scan"})


def test_the_graphs_take_and_give_the_names_of_the_contract(graphs):
    task, _, protos, _ = graphs
    more = {"cross"} if task.decoder == "transformer" else {"features", "keys"} if task.attention else {"features"}
    names = {half: ({x.name for x in proto.graph.input}, {x.name for x in proto.graph.output}) for half, proto in protos.items()}
    assert names["encoder"] == ({"image"}, more if task.decoder == "transformer" else more | {"state"})
    assert names["decoder"] == ({"token", "state", *more}, {"logits", "next_state", "attention"})


def test_what_is_free_in_a_graph_has_a_name(graphs):
    task, _, protos, _ = graphs
    free = {
        value.name: [side for side in signature_of(value)[1] if isinstance(side, str)]
        for proto in protos.values()
        for value in (*proto.graph.input, *proto.graph.output)
    }
    grown = {"state": ["batch", "past"], "next_state": ["batch", "present"]} if task.decoder == "transformer" else {}
    assert free == {name: ["batch"] for name in free} | grown


def test_onnxruntime_says_what_keras_says_at_any_batch(graphs):
    task, by_keras, _, by_onnx = graphs
    for batch in (1, 2, 21):
        memory = by_keras["encoder"]({"image": IMAGES[:batch]})
        found = by_onnx["encoder"]({"image": IMAGES[:batch]})
        for name, values in memory.items():
            np.testing.assert_allclose(found[name], values, atol=1e-4)
        for decode in (decoding.greedy, decoding.beam):
            wanted, other = decode(by_keras["decoder"], memory, T), decode(by_onnx["decoder"], found, T)
            clear = wanted.margins > 2 * task.tolerance
            assert clear.mean() > 0.8
            np.testing.assert_array_equal(other.tokens[clear], wanted.tokens[clear])
            np.testing.assert_allclose(other.scores[clear], wanted.scores[clear], atol=1e-4)
            np.testing.assert_allclose(other.attention[clear], wanted.attention[clear], atol=1e-4)


def test_every_step_has_the_logits_of_keras(graphs):
    _, by_keras, _, by_onnx = graphs
    memory, state = decoding._begin(by_keras["encoder"]({"image": IMAGES[:3]}), T)
    for token in (1, 5, 9, 4, 15, 8):
        feeds = {"token": np.full(3, token, np.int32), "state": state, **memory}
        wanted, found = by_keras["decoder"](feeds), by_onnx["decoder"](feeds)
        for name, values in wanted.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_allclose(found[name], values, atol=1e-4)
        state = wanted["next_state"]
