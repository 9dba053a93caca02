"""apps.runtime.trust and its neighbours: a stranger's bundle is refused in a sentence before anything is made of its files."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from apps import repository as repositories
from apps.repository import Repository
from apps.runtime import BundleError, load_bundle, onnx_file, trust
from apps.runtime.cards import check_fields
from tests.apps.houses import regressor

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@pytest.fixture
def bundle(bundles, tmp_path) -> Path:
    return shutil.copytree(bundles / "digits-templates", tmp_path / "saved_models" / "digits-templates")


def edit(folder: Path, **changes) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def refusal(folder: Path) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder)
    sentence = str(caught.value)
    assert "Received:" in sentence and "\n" not in sentence and str(folder.parent) not in sentence
    return sentence


# --- paths ---


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "a/../b", "a\\b", "C:/x", "c:x", "a//b", "./a", "a/", "", ".", "a.", "a ", " a", "con", "Aux.txt", "lpt1.onnx"]
    + ["a\nb", "a\x00b", "a:b", "*/_ORT_MEM_ADDR_/*", "a?", "e\u0301", "\u202egnp.exe", "x" * 121, "/".join(["x" * 60] * 5)],
)
def test_a_path_that_is_another_file_somewhere_is_refused(path):
    with pytest.raises(BundleError, match="Received: bundle/"):
        trust.check_path(path, "bundle")


@pytest.mark.parametrize(
    "path", ["model.onnx", "saved_model/variables/variables.data-00000-of-00001", "examples/Zürich, 3.png", ".hidden", "console"]
)
def test_a_path_that_every_system_has_is_accepted(path):
    trust.check_path(path, "bundle")


def test_two_paths_that_differ_by_case_are_refused(bundle):
    card = json.loads((bundle / "card.json").read_text())
    edit(bundle, files=card["files"] | {"MODEL.onnx": "0" * 64})
    assert "differ by more than their case. Received: digits-templates with model.onnx and MODEL.onnx" in refusal(bundle)


# --- links and files that are none ---


def test_a_listed_link_is_refused_also_where_it_leads_to_the_same_bytes(bundle):
    shutil.move(bundle / "model.onnx", bundle / "graph.onnx")
    (bundle / "model.onnx").symlink_to("graph.onnx")
    assert "must not be a link. Received: digits-templates/model.onnx" in refusal(bundle)


def test_a_link_in_the_place_of_a_folder_is_refused(bundle):
    shutil.move(bundle / "examples", bundle / "pictures")
    (bundle / "examples").symlink_to("pictures")
    assert "must not be a link" in refusal(bundle)


@pytest.mark.parametrize("target", ["/etc", "../..", "nowhere/../../../x"])
def test_a_link_that_leads_out_is_refused_although_nobody_lists_it(bundle, target):
    (bundle / "notes").symlink_to(target)
    assert "No link may lead out of a bundle. Received: digits-templates/notes" in refusal(bundle)


def test_a_link_that_stays_inside_and_is_not_listed_does_no_harm(bundle):
    (bundle / "latest.onnx").symlink_to("model.onnx")
    assert load_bundle(bundle).name == bundle.name


@pytest.mark.parametrize("name", ["card.json", "model.onnx", "examples/3-3.png"])
def test_a_pipe_is_refused_and_nobody_waits_for_it(bundle, name):
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    began = time.monotonic()
    assert "must be a file" in refusal(bundle)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("name", "size", "sentence"),
    [
        ("card.json", trust.MAX_JSON, "card.json may have 8,000,000 bytes. Received: 8,000,001"),
        ("model.onnx", trust.MAX_GRAPH, "model.onnx may have 2,147,483,647 bytes. Received: 2,147,483,648"),
        ("examples/3-3.png", trust.MAX_FILE, "examples/3-3.png may have 17,179,869,184 bytes"),
    ],
)
def test_a_file_beyond_its_limit_is_refused_unread(bundle, name, size, sentence):
    os.truncate(bundle / name, size + 1)  # of zeros that take no room on the disk
    assert sentence in refusal(bundle)


# --- JSON ---

TEXTS = {
    "not a number": ('{"a": NaN}', "NaN is no number"),
    "infinite": ('{"a": -Infinity}', "-Infinity is no number"),
    "beyond float64": ('{"a": 1e999}', "a number beyond 64 bits"),
    "beyond int64": ('{"a": 9223372036854775808}', "a whole number beyond 64 bits"),
    "thousands of digits": ('{"a": 1' + "0" * 5000 + "}", "digits"),
    "half a surrogate": ('{"a": "\\ud800"}', "surrogates not allowed"),
    "half a surrogate as a key": ('{"\\udfff": 1}', "surrogates not allowed"),
    "a key twice": ('{"a": 1, "a": 2}', "a key twice: a"),
    "33 deep": ("[" * 33 + "1" + "]" * 33, "may have 32 objects and lists inside one another"),
    "100,000 deep": ("[" * 100_000, "may have 32 objects and lists inside one another"),
    "no JSON": ("{a: 1}", "must be valid JSON"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_json_that_another_reader_would_read_otherwise_is_refused(case):
    text, sentence = TEXTS[case]
    with pytest.raises(BundleError, match=sentence):
        trust.parse_json(text.encode(), "bundle/card.json")


def test_json_of_other_bytes_is_refused():
    with pytest.raises(BundleError, match="card.json must be valid JSON. Received: bundle/card.json, 'utf-8' codec"):
        trust.parse_json(b'"\xff"', "bundle/card.json")


scalars = st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.text())
documents = st.recursive(scalars, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)))


@quick
@given(document=documents)
def test_plain_json_is_read_as_it_is(document):
    assert trust.parse_json(json.dumps(document).encode(), "bundle/card.json") == document


@quick
@given(data=st.binary(max_size=300))
def test_any_bytes_are_json_or_refused(data):
    try:
        trust.parse_json(data, "bundle/card.json")
    except BundleError as sentence:
        assert "Received: bundle/card.json" in str(sentence)


# --- the fields of a card ---

SOUND = {
    "format": "1.0",
    "name": "digits",
    "task": "classification",
    "graphs": {"model.onnx": {"inputs": [], "outputs": []}},
    "files": {"model.onnx": "0" * 64},
}
POINT = {"far": 0.1, "tpr": 0.9}
FIELDS = {
    "labels": ([1], "labels[0]"),
    "metrics": ([], "metrics"),
    "metrics of text": ({"accuracy": {"value": "high"}}, "metrics.accuracy.value"),
    "metrics with three bounds": ({"accuracy": {"value": 1, "n": 360, "interval": [1, 2, 3]}}, "metrics.accuracy.interval"),
    "metrics of true": ({"accuracy": {"value": True}}, "metrics.accuracy.value"),
    "parity": ([{"runtime": "onnxruntime"}], "parity[0].samples"),
    "latency": ({"onnxruntime": 5}, "latency.onnxruntime"),
    "sizes": ({"model.onnx": "1 MB"}, "sizes.model.onnx"),
    "data": ({"counts": {"train": 0.5}}, "data.counts.train"),
    "limits": (["none"], "limits"),
    "reid": ({"verification": {"thresholds": [POINT | {"threshold": None}]}}, "reid.verification.thresholds[0].threshold"),
    "caption": ("24", "caption"),
}


def test_a_card_of_the_least_fields_is_whole():
    check_fields(SOUND, "digits")


@pytest.mark.parametrize("case", FIELDS)
def test_a_field_of_another_type_is_named(case):
    value, where = FIELDS[case]
    with pytest.raises(BundleError, match="every field of its type. Received: digits with another ") as caught:
        check_fields(SOUND | {case.split(" ")[0]: value}, "digits")
    assert str(caught.value).endswith(f" {where}")


@pytest.mark.parametrize("name", ["", "a/b", "../a", ".a", "a b", "a\n", "x" * 101, "é"])
def test_a_name_that_is_no_name_is_refused(name):
    with pytest.raises(BundleError, match="A bundle's name must be letters"):
        check_fields(SOUND | {"name": name}, "digits")


@pytest.mark.parametrize("graph", ["model.pkl", "sub/model.onnx", "../model.onnx", "a.b.onnx", ".onnx", "model.ONNX"])
def test_a_graph_that_is_no_onnx_file_of_the_folder_is_refused(graph):
    with pytest.raises(BundleError, match="A graph must be a file NAME.onnx"):
        check_fields(SOUND | {"graphs": {graph: SOUND["graphs"]["model.onnx"]}}, "digits")


@pytest.mark.parametrize("sides", [[10**6, 10], [0, 5], [-1, 5]])
def test_a_step_to_a_picture_beyond_memory_is_refused(bundle, sides):
    card = json.loads((bundle / "card.json").read_text())
    card["graphs"]["model.onnx"]["inputs"][0]["prepare"] = [{"op": "resize", "size": sides, "method": "box"}]
    edit(bundle, graphs=card["graphs"])
    assert "A step's sides must be 1 to 8192 pixels" in refusal(bundle)


@pytest.mark.parametrize("steps", [[{"op": "melt"}], [{"op": "resize", "size": [32, 32]}], [{"op": "center_crop"}]])
def test_steps_that_cannot_prepare_a_picture_do_not_serve(bundle, steps):
    card = json.loads((bundle / "card.json").read_text())
    card["graphs"]["model.onnx"]["inputs"][0]["prepare"] = steps
    edit(bundle, graphs=card["graphs"])
    repository = Repository(bundle.parent)
    repository.load_all()
    assert "The card's steps must prepare any picture. Received: digits-templates" in repository.broken["digits-templates"]


def test_curves_of_different_lengths_would_end_a_page_and_do_not_serve(bundle):
    edit(bundle, reid={"verification": {"curve": {"threshold": [0.1, 0.2], "far": [0.5], "tpr": [0.5, 0.6]}}})
    repository = Repository(bundle.parent)
    repository.load_all()
    assert "its card complete. Received: digits-templates, ValueError" in repository.broken["digits-templates"]


# --- graphs ---


def scaling(factor: float = 2.0, **options) -> onnx.ModelProto:
    """y = factor x, x [batch, 3]"""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy"]
    constant = onnx.numpy_helper.from_array(np.full(3, factor, np.float32), "factor")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "factor"], ["y"], **options)], "model", info[:1], info[1:], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def moved(model: onnx.ModelProto, location: str, **more: str) -> onnx.ModelProto:
    """The same with its constant in another file."""
    tensor = model.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    for key, value in {"location": location, **more}.items():
        tensor.external_data.add(key=key, value=value)
    return model


@pytest.fixture
def external(graph_bundle, tmp_path, rewrite_card):
    """external(location): a bundle whose weights are in the file `location`, where that is one."""

    def make(location: str, listed: bool = True, **more: str) -> Path:
        folder = graph_bundle(tmp_path / "saved_models", "scaled", {"model": scaling()})
        onnx.save(moved(scaling(), location, **more), folder / "model.onnx")
        if listed:
            (folder / location).write_bytes(np.full(3, 5, np.float32).tobytes())
        rewrite_card(folder)
        return folder

    return make


def test_listed_weights_beside_a_graph_are_loaded_from_the_bytes_that_were_checked(external):
    loaded = load_bundle(external("model.onnx.data"))
    assert loaded.run({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[5, 5, 5]]


def test_changed_weights_are_refused(external):
    folder = external("model.onnx.data")
    (folder / "model.onnx.data").write_bytes(bytes(12))
    assert "sha256 differs from card.json. Received: scaled/model.onnx.data" in refusal(folder)


def test_weights_behind_a_link_are_refused(external):
    folder = external("model.onnx.data")
    shutil.move(folder / "model.onnx.data", folder / "weights")
    (folder / "model.onnx.data").symlink_to("weights")
    assert "must not be a link" in refusal(folder)


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "a\\b", "*/_ORT_MEM_ADDR_/*", "sub/../../x", "con"])
def test_weights_outside_are_refused(external, location):
    assert "Received: scaled/" in refusal(external(location, listed=False))


@pytest.mark.parametrize("location", ["model.onnx.data", "card.json", "README.md"])
def test_weights_that_nobody_lists_are_refused(external, location):
    assert "external data must be a listed file beside it" in refusal(external(location, listed=False))


@pytest.mark.parametrize(
    "more", [{"offset": "8"}, {"length": "400"}, {"offset": "-4"}, {"offset": "99999999999999999999"}, {"length": "x"}]
)
def test_weights_beyond_their_file_are_refused(external, more):
    assert "onnxruntime must be able to load model.onnx" in refusal(external("model.onnx.data", **more))


def inside(kind: str, tensor: TensorProto) -> onnx.ModelProto:
    """The tensor at a place of a model that only a whole walk finds."""
    model = scaling()
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    leaf = helper.make_graph([constant], "leaf", [], [])
    if kind == "an If in an If":
        inner = helper.make_graph([helper.make_node("If", ["b"], [], then_branch=leaf, else_branch=leaf)], "inner", [], [])
        model.graph.node.append(helper.make_node("If", ["b"], [], then_branch=inner, else_branch=leaf))
    elif kind == "a function":
        model.functions.append(helper.make_function("", "F", [], ["c"], [constant], [helper.make_opsetid("", 17)]))
    elif kind == "a list of tensors":
        model.graph.node[0].attribute.append(helper.make_attribute("several", [tensor]))
    elif kind == "a sparse tensor":
        model.graph.sparse_initializer.add().values.CopyFrom(tensor)
    else:
        model.training_info.add().algorithm.CopyFrom(leaf)
    return model


@pytest.mark.parametrize("kind", ["an If in an If", "a function", "a list of tensors", "a sparse tensor", "a training step"])
def test_external_data_is_found_wherever_a_tensor_can_be(kind):
    tensor = moved(scaling(), "weights.bin").graph.initializer[0]
    data = inside(kind, tensor).SerializeToString()
    assert onnx_file.files_of_weights(data, "model.onnx", "bundle") == {"weights.bin"}
    assert onnx_file.files_of_weights(scaling().SerializeToString(), "model.onnx", "bundle") == set()


def test_a_graph_that_protobuf_would_merge_from_parts_hides_nothing():
    """A second graph at the end of the file joins the first one: protobuf reads both as one."""
    part = onnx.ModelProto(graph=onnx.GraphProto(initializer=[moved(scaling(), "../x").graph.initializer[0]]))
    data = scaling().SerializeToString() + part.SerializeToString()
    assert len(onnx.load_from_string(data).graph.initializer) == 2
    with pytest.raises(BundleError, match="must lie inside"):
        onnx_file.files_of_weights(data, "model.onnx", "bundle")


@pytest.mark.parametrize("domain", ["com.microsoft", "ai.onnx.ml", "org.example"])
def test_operators_of_others_are_refused(domain):
    with pytest.raises(BundleError, match=f"must be of the domain ai.onnx. Received: bundle with some of {domain}"):
        onnx_file.files_of_weights(scaling(domain=domain).SerializeToString(), "model.onnx", "bundle")


FILES = {
    "nothing": (b"", "without a version and a graph"),
    "text": (b"hello, this is text", "a field|a number"),
    "a zip": (b"PK\x03\x04" + bytes(26), "."),
    "a pickle": (b"\x80\x04\x95\x05\x00.", "."),
    "onnxruntime's own format": (b"\x18\x00\x00\x00ORTM" + bytes(40), "onnxruntime's own format"),
    "a cut file": (scaling().SerializeToString()[:-5], "a number that is cut off"),
    "a group": (b"\x08\x08\x0b\x0c", "a field of the wire type 3"),
    "a number without an end": (b"\x08" + b"\xff" * 11, "a number of more than 64 bits"),
}


@pytest.mark.parametrize("case", FILES)
def test_another_kind_of_file_is_refused(case):
    data, sentence = FILES[case]
    with pytest.raises(BundleError, match=f"model.onnx must be an ONNX file. Received: bundle, .*({sentence})"):
        onnx_file.files_of_weights(data, "model.onnx", "bundle")


def nested(levels: int) -> bytes:
    graph = helper.make_graph([], "leaf", [], [])
    for _ in range(levels):
        graph = helper.make_graph([helper.make_node("If", ["c"], [], then_branch=graph)], "g", [], [])
    return helper.make_model(graph, ir_version=8).SerializeToString()


def test_graphs_in_graphs_have_an_end():
    onnx_file.files_of_weights(nested(4), "model.onnx", "bundle")
    with pytest.raises(BundleError, match="more than 18 messages inside one another"):
        onnx_file.files_of_weights(nested(6), "model.onnx", "bundle")


def test_a_file_of_too_many_parts_is_refused_in_time(monkeypatch):
    monkeypatch.setattr(onnx_file, "MAX_FIELDS", 1000)
    with pytest.raises(BundleError, match="more than 1,000 parts"):
        onnx_file.files_of_weights(b"\x08\x08" * 600_000, "model.onnx", "bundle")


@quick
@given(data=st.data())
def test_a_graph_with_changed_bytes_is_read_as_protobuf_reads_it_or_refused(data):
    """What this reader accepts and protobuf accepts has the same external data in both."""
    whole = bytearray(inside("an If in an If", moved(scaling(), "weights.bin").graph.initializer[0]).SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        found = onnx_file.files_of_weights(bytes(whole), "model.onnx", "bundle")
        truth = locations(onnx.load_from_string(bytes(whole)))
    except Exception as refused:
        assert isinstance(refused, BundleError) or type(refused).__name__ == "DecodeError"
        return
    assert truth <= found


def locations(message) -> set[str]:
    """By protobuf's own reflection, of every tensor below a message."""
    found: set[str] = set()
    if isinstance(message, onnx.TensorProto):
        found |= {entry.value for entry in message.external_data if entry.key == "location"}
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if isinstance(value, onnx.GraphProto | onnx.TensorProto) or not hasattr(value, "__len__") else value:
                found |= locations(inner)
    return found


# --- what is checked is what is loaded ---


def test_a_file_exchanged_after_its_check_is_not_what_is_loaded(graph_bundle, tmp_path, monkeypatch):
    folder = graph_bundle(tmp_path, "scaled", {"model": scaling(2)})
    import apps.runtime.bundle

    genuine = apps.runtime.bundle.files_of_weights

    def exchange(data, file, where):
        onnx.save(scaling(1000), folder / "model.onnx")
        return genuine(data, file, where)

    monkeypatch.setattr("apps.runtime.bundle.files_of_weights", exchange)
    loaded = load_bundle(folder)
    assert loaded.run({"x": np.ones((1, 3), np.float32)})["y"].tolist() == [[2, 2, 2]]
    with pytest.raises(BundleError, match="sha256 differs"):
        load_bundle(folder)


def test_a_graph_that_never_ends_does_not_keep_the_others_from_loading(graph_bundle, tmp_path, monkeypatch):
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["on"]), helper.make_node("Identity", ["before"], ["after"])],
        "body",
        [helper.make_tensor_value_info("turn", TensorProto.INT64, []), helper.make_tensor_value_info("going", TensorProto.BOOL, [])]
        + [helper.make_tensor_value_info("before", TensorProto.FLOAT, ["batch", 3])],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, ["batch", 3]),
        ],
    )
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy"]
    turns = onnx.numpy_helper.from_array(np.array(2**62), "turns")
    graph = helper.make_graph([helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)], "model", info[:1], info[1:], [turns])
    graph_bundle(tmp_path, "endless", {"model": helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)})
    regressor(tmp_path)
    monkeypatch.setattr(repositories, "WARM_SECONDS", 0.3)
    repository = Repository(tmp_path)
    repository.load_all()
    assert list(repository.bundles) == ["houses"]
    assert "The graph must be able to run. Received: endless/model" in repository.broken["endless"]


@pytest.mark.parametrize("words", [["<pad>"], "text", [["a"]], None, ["<pad>", "<start>", "<end>", "<unk>", {"a": 1}]])
def test_words_of_another_kind_are_refused(tmp_path, rewrite_card, words):
    from tests.apps.halves import captioner

    folder = captioner(tmp_path)
    (folder / "vocab.json").write_text(json.dumps({"format": "1.0", "words": words}))
    rewrite_card(folder)
    assert "The bundle's words must be readable. Received: halves" in refusal(folder)
