"""Arrays on their way to another process and back: frames, onnxruntime-node, and onnxruntime-web in Chromium."""

import json
from pathlib import Path

import numpy as np
import pytest

from export import gates, npm, parity
from export.bench import frames, runtimes
from export.bench.runtimes import Subject

CAPTIONER = Path(__file__).parents[2] / "saved_models" / "scenes-captioner"
ARRAYS = {
    "small": np.array([[1.5, -np.inf], [0.0, 3e38]], np.float32),
    "whole": np.array([-(2**31), 2**31 - 1], np.int32),
    "long": np.array([[[2**62 + 1]]], np.int64),
    "bytes": np.arange(256, dtype=np.uint8),  # behind it nothing starts at a multiple of four by chance
    "odd": np.array([7], np.uint8),
    "truth": np.array([True, False]),
    "empty": np.zeros((3, 0, 2), np.float32),
    "turned": np.arange(6, dtype=np.float32).reshape(2, 3).T,
}


def test_a_frame_is_read_as_it_was_written():
    header, found = frames.unpack(frames.pack({"graph": "décodeur"}, ARRAYS))
    assert header == {"graph": "décodeur"} and list(found) == list(ARRAYS)
    for name, values in ARRAYS.items():
        assert found[name].dtype == values.dtype
        np.testing.assert_array_equal(found[name], values)


def test_an_error_is_raised_and_another_dtype_refused():
    with pytest.raises(RuntimeError, match="no such graph"):
        frames.unpack(frames.pack({"error": "no such graph"}, {}))
    with pytest.raises(ValueError, match="arrays are float32, int32, int64, uint8, bool. Received: {'x': 'float64'}"):
        frames.pack({}, {"x": np.zeros(1)})


def subject(files) -> Subject:
    card = json.loads((CAPTIONER / "card.json").read_text(encoding="utf-8"))
    return Subject(CAPTIONER, card, files, "float32", None, None, None)


GRAPHS = {name: CAPTIONER / f"{name}.onnx" for name in ("encoder", "decoder")}


@pytest.fixture(scope="module")
def first_word() -> dict[str, np.ndarray]:
    """What the decoder is given first: no word stands before it, and its state is an empty array."""
    with np.load(CAPTIONER / "sample.npz", allow_pickle=False) as sample:
        feeds = {name: sample[f"decoder/input/{name}"] for name in ("cross", "state", "token")}
    return {**feeds, "state": feeds["state"][:, :, :, :, :0]}


def answers_like_onnxruntime(name, first_word):
    run = parity.onnx_runner(gates.open_session(str(GRAPHS["decoder"])))
    with runtimes.RUNTIMES[name](subject(GRAPHS), 1) as opened:
        for _ in range(2):
            found, milliseconds = opened.calls["decoder"](first_word)
            wanted = run(first_word)
            assert set(found) == set(wanted) and milliseconds > 0
            assert max(parity.difference(values, found[key]) for key, values in wanted.items()) < 1e-5
        with pytest.raises(RuntimeError):
            opened.calls["decoder"]({"token": first_word["token"]})  # the others are missing
        assert opened.calls["decoder"](first_word)[0].keys() == wanted.keys()  # and the session lives on
        assert opened.threads == 1 and opened.size == sum(path.stat().st_size for path in GRAPHS.values())
        return opened.versions


def refuses_what_is_no_graph(name, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with (
        pytest.raises(RuntimeError, match="(?i)protobuf|load|model"),
        runtimes.RUNTIMES[name](subject({"model": tmp_path / "model.onnx"}), 1),
    ):
        pytest.fail("it was opened")


@pytest.fixture(scope="module")
def node():
    try:
        npm.node()
        npm.package("onnxruntime-node")
    except npm.Unavailable as reason:
        pytest.skip(str(reason))


def test_node_answers_as_onnxruntime_does(node, first_word):
    assert "Node.js" in answers_like_onnxruntime("node", first_word)


def test_node_refuses_what_is_no_graph(node, tmp_path):
    refuses_what_is_no_graph("node", tmp_path)


@pytest.fixture(scope="module")
def web(chromium):
    try:
        return npm.package("onnxruntime-web")
    except npm.Unavailable as reason:
        return str(reason)


@pytest.mark.browser
def test_a_page_answers_as_onnxruntime_does_and_refuses_what_is_no_graph(web, first_word, tmp_path):
    if isinstance(web, str):
        with pytest.raises(npm.Unavailable), runtimes.RUNTIMES["web"](subject(GRAPHS), 1):
            pytest.fail("it was opened")
        return
    assert "Chromium" in answers_like_onnxruntime("web", first_word)
    refuses_what_is_no_graph("web", tmp_path)
