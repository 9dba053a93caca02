"""apps.runtime: a bundle is served as its card says or refused with a sentence."""

import json
import shutil

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from PIL import Image

from apps.engine import Engine, TooLate
from apps.library import Library, UnknownModel
from apps.repository import Repository
from apps.runtime import BundleError, GraphError, PictureError, Slot, find_bundles, load_bundle, open_picture, prepare


@pytest.fixture
def bundle(bundles, tmp_path):
    return shutil.copytree(bundles / "digits-templates", tmp_path / "digits-templates")


@pytest.fixture
def open_library():
    """open_library(folder): with an engine of its own, that ends with the test."""
    engines: list[Engine] = []

    def open_folder(folder) -> Library:
        repository = Repository(folder)
        repository.load_all()
        engines.append(Engine(workers=1))
        return Library(repository, engines[-1])

    yield open_folder
    for engine in engines:
        engine.close()


def edit_card(folder, **changes):
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | changes))


def test_a_sound_bundle_classifies_its_examples(bundle):
    loaded = load_bundle(bundle)
    assert (loaded.name, loaded.task, loaded.color, loaded.shape) == ("digits-templates", "classification", "grey", (32, 32, 1))
    paths = sorted((bundle / "examples").glob("*.png"))
    answers = loaded.classify([open_picture(path, loaded.color) for path in paths])
    assert [answer[0]["label"] for answer in answers] == [path.stem.split("-")[0] for path in paths]
    assert all(len(answer) == 5 for answer in answers)


def test_probabilities_agree_with_numpy(bundle):
    loaded = load_bundle(bundle)
    batch = np.random.default_rng(0).integers(0, 256, (7, 32, 32, 1), dtype=np.uint8)
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(bundle / "model.onnx").graph.initializer}
    logits = (batch.reshape(7, -1) / np.float32(255)) @ constants["weights"] + constants["bias"]
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(loaded.run({"image": batch})["probabilities"], expected, atol=1e-5)


def test_top_is_best_first_and_never_longer_than_the_labels(bundle):
    answer = load_bundle(bundle).classify([np.zeros((32, 32, 1), np.uint8)], top=99)[0]
    assert len(answer) == 10
    assert answer == sorted(answer, key=lambda entry: -entry["probability"])


def test_no_pictures_give_no_answers(bundle):
    assert load_bundle(bundle).classify([]) == []


@pytest.mark.parametrize("array", [np.zeros((32, 32, 1), np.float32), np.zeros((8, 8, 1), np.uint8)])
def test_a_wrong_array_is_named(bundle, array):
    with pytest.raises(BundleError, match="must be uint8"):
        load_bundle(bundle).classify([array])


def test_a_wrong_input_name_is_named(bundle):
    with pytest.raises(BundleError, match="must be image. Received: picture"):
        load_bundle(bundle).run({"picture": np.zeros((1, 32, 32, 1), np.uint8)})


def test_every_graph_says_its_slots_and_gives_what_is_asked_for(graph_bundle, tmp_path):
    pair = load_bundle(graph_bundle(tmp_path))
    assert pair.inputs("encoder") == [Slot("ids", "int64", ("batch", "length")), Slot("scale", "float32", ("batch", 1))]
    assert pair.outputs("decoder") == [Slot("total", "float32", ("batch",)), Slot("positive", "bool", ("batch", "length"))]
    rows = {"rows": np.array([[1, -2, 4]], np.float32)}
    assert list(pair.run(rows, "decoder", ["positive"])) == ["positive"]
    np.testing.assert_array_equal(pair.run(rows, "decoder")["total"], [3])


def test_a_run_that_is_told_to_stop_stops(bundle):
    options = ort.RunOptions()
    options.terminate = True
    with pytest.raises(Exception, match="terminate"):
        load_bundle(bundle).run({"image": np.zeros((1, 32, 32, 1), np.uint8)}, options=options)


def test_free_sides_that_do_not_go_together_are_the_fault_of_who_chose_them(graph_bundle, tmp_path):
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", side]) for name, side in (("a", "n"), ("b", "m"), ("y", "k"))]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["y"])], "model", info[:2], info[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    loaded = load_bundle(graph_bundle(tmp_path, "adder", {"model": model}))
    with pytest.raises(GraphError, match=r"adder/model must be able to run on the shapes given. Received: a \[1, 3\], b \[1, 2\]"):
        loaded.run({"a": np.zeros((1, 3), np.float32), "b": np.zeros((1, 2), np.float32)})


def test_no_sentence_about_a_bundle_says_where_it_lies(bundle, rewrite_card):
    def sentence() -> str:
        with pytest.raises(BundleError) as caught:
            load_bundle(bundle)
        return str(caught.value)

    whole = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(whole[:1000])
    sentences = [sentence()]
    rewrite_card(bundle)
    sentences.append(sentence())
    edit_card(bundle, format="9")
    sentences.append(sentence())
    edit_card(bundle, format=None, name="")
    sentences.append(sentence())
    for text in ("[]", "{"):
        (bundle / "card.json").write_text(text)
        sentences.append(sentence())
    (bundle / "card.json").unlink()
    sentences.append(sentence())
    assert len(set(sentences)) == 7
    assert not [one for one in sentences if str(bundle.parent) in one or "onnxruntime_src" in one]


def test_find_bundles_sees_only_folders_with_a_card(bundles, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree(bundles / "colors-templates", tmp_path / ".half-written")
    shutil.copytree(bundles / "colors-templates", tmp_path / "colors-templates")
    assert find_bundles(tmp_path) == [tmp_path / "colors-templates"]


def test_a_changed_file_is_refused(bundle):
    with (bundle / "README.md").open("a") as file:
        file.write("changed")
    with pytest.raises(BundleError, match="sha256 differs.*README.md"):
        load_bundle(bundle)


def test_a_missing_file_is_refused(bundle):
    (bundle / "examples" / "3-3.png").unlink()
    with pytest.raises(BundleError, match="missing.*examples/3-3.png"):
        load_bundle(bundle)


def test_a_folder_without_a_card_is_refused(tmp_path):
    with pytest.raises(BundleError, match="must hold card.json"):
        load_bundle(tmp_path)


def test_the_next_major_format_is_refused_and_the_next_minor_is_read(bundle):
    edit_card(bundle, format="1.9")
    assert load_bundle(bundle).name == "digits-templates"
    edit_card(bundle, format="2.0")
    with pytest.raises(BundleError, match="format must be 1.x for this reader. Received: 2.0"):
        load_bundle(bundle)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "1.0"}'])
def test_a_broken_card_is_refused(bundle, text):
    (bundle / "card.json").write_text(text)
    with pytest.raises(BundleError, match=r"card\.json must"):
        load_bundle(bundle)


def test_a_card_cannot_point_outside_its_folder(bundle, tmp_path):
    (tmp_path / "secret").write_text("x")
    card = json.loads((bundle / "card.json").read_text())
    edit_card(bundle, files=card["files"] | {"../secret": "0"})
    with pytest.raises(BundleError, match="must lie inside"):
        load_bundle(bundle)


def test_a_corrupt_graph_is_refused_even_when_its_sha256_agrees(bundle, rewrite_card):
    (bundle / "model.onnx").write_bytes(b"not a graph")
    rewrite_card(bundle)
    with pytest.raises(BundleError, match="model.onnx must be an ONNX file. Received: digits-templates, a field of the wire type"):
        load_bundle(bundle)
    (bundle / "model.onnx").write_bytes(b"\x08\x08\x3a\x00")  # protobuf, with a version and an empty graph
    rewrite_card(bundle)
    with pytest.raises(BundleError, match="onnxruntime must be able to load model.onnx"):
        load_bundle(bundle)


def test_a_graph_that_differs_from_its_card_is_refused(bundles, bundle, rewrite_card):
    shutil.copy(bundles / "colors-templates" / "model.onnx", bundle / "model.onnx")
    rewrite_card(bundle)
    with pytest.raises(BundleError, match="inputs of digits-templates/model.onnx must be those of its card"):
        load_bundle(bundle)


def test_a_library_serves_the_sound_bundles_and_says_what_is_wrong_with_the_others(bundles, tmp_path, open_library):
    shutil.copytree(bundles / "colors-templates", tmp_path / "colors-templates")
    broken = shutil.copytree(bundles / "digits-templates", tmp_path / "digits-templates")
    (broken / "model.onnx").write_bytes(b"")
    library = open_library(tmp_path)
    assert library.names() == ["colors-templates"]
    assert "sha256" in library.broken["digits-templates"]
    with pytest.raises(UnknownModel, match="is broken"):
        library.get("digits-templates")


def test_an_unknown_name_suggests_the_nearest(bundles, open_library):
    with pytest.raises(UnknownModel, match="Did you mean colors-templates"):
        open_library(bundles).get("color-template")


def test_a_library_classifies_in_the_engine(bundles, open_library):
    library = open_library(bundles)
    for example in library.examples("colors-templates"):
        answer = library.classify("colors-templates", example, top=3)
        assert answer.predictions[0]["label"] == example.stem.split("-")[0] and len(answer.predictions) == 3
        assert answer.seen.shape == (32, 32, 3)
    with pytest.raises(PictureError, match="not a picture"):
        library.classify("colors-templates", b"text")
    library.engine.deadline = 1e-9
    with pytest.raises(TooLate):
        library.classify("colors-templates", library.examples("colors-templates")[0])


def test_the_work_keeps_its_bundle_whatever_happens_meanwhile(bundles, open_library):
    library = open_library(bundles)
    work = library.classification("digits-templates", library.examples("digits-templates")[7])
    library.repository.unload("digits-templates")
    assert library.engine.run_sync(work).predictions[0]["label"] == "7"


def test_a_bundle_for_another_task_is_not_classified_with(graph_bundle, tmp_path, open_library):
    graph_bundle(tmp_path)
    library = open_library(tmp_path)
    assert library.names() == [] and library.names("test") == ["pair"]
    with pytest.raises(UnknownModel, match="must classify pictures. Received: pair, a bundle for test"):
        library.classify("pair", b"")


def test_examples_that_are_being_replaced_are_left_out(bundle, open_library):
    library = open_library(bundle.parent)
    (bundle / "examples" / "3-3.png").unlink()
    assert [path.stem for path in library.examples("digits-templates")] == [f"{digit}-{digit}" for digit in range(10) if digit != 3]


INK = [{"op": "ink", "margin": 0.0, "center": "box"}, {"op": "resize", "size": [8, 8], "method": "box"}]


def test_ink_turns_dark_on_light_into_light_on_black_and_cuts_to_it():
    sheet = np.full((100, 60), 230, np.uint8)
    sheet[10:50, 20:40] = 30
    seen = prepare(Image.fromarray(sheet), (8, 8, 1), INK)[..., 0]
    expected = np.zeros((8, 8), np.uint8)
    expected[:, 2:6] = 255  # 40 rows and 20 columns of ink in a square of 40
    np.testing.assert_array_equal(seen, expected)


def test_ink_leaves_empty_paper_as_it_is():
    np.testing.assert_array_equal(prepare(Image.new("L", (50, 50), 200), (8, 8, 1), INK), np.full((8, 8, 1), 200))


def test_a_picture_of_the_right_size_is_taken_as_it_is():
    array = np.random.default_rng(1).integers(0, 256, (8, 8), dtype=np.uint8)
    np.testing.assert_array_equal(prepare(Image.fromarray(array), (8, 8, 1), INK)[..., 0], array)


def test_a_long_thin_line_of_ink_is_refused_before_it_becomes_a_square_of_gigabytes():
    line = Image.new("L", (60_000, 3), 255)
    line.paste(0, (1, 1, 59_999, 2))
    with pytest.raises(PictureError, match="too long and thin"):
        prepare(line, (8, 8, 1), INK)


def test_steps_that_miss_the_size_are_a_fault_of_the_card():
    with pytest.raises(ValueError, match="must end at 8 x 8 pixels. Received: 20 x 20"):
        prepare(Image.new("L", (20, 30)), (8, 8, 1), [{"op": "center_crop"}])
