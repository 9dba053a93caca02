"""A captioner's bundle: several graphs, each proven alone and both by the captions they say together, with words, examples and a client."""

import copy
import dataclasses
import json
import shutil
import subprocess
import sys
from typing import Any, cast

import keras
import numpy as np
import onnx
import pytest
from PIL import Image

from apps.runtime import Choice, caption, load_bundle
from export import ExportRefused, captioner_loop, captions, export_run, gates, graphs, parity, readme, verify_bundle
from export import bundle as writing
from export import card as cards
from export.__main__ import summary
from kerasdl import caption_facts, decoding
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, Splits
from kerasdl.metrics import caption_scores
from kerasdl.tasks import Captioning, keras_predictor
from kerasdl.tasks.captioning import vocabulary
from kerasdl.text import Vocabulary

NOUNS, T = ("cat", "dog", "bird", "fish", "horse", "cow"), 7
TOLD = [f"a {size} {noun} runs" for noun in NOUNS for size in ("large", "small")]
WORDS = Vocabulary.build(TOLD)
SPEC = Spec((12, 8, 3), tuple(WORDS.words), (0.5,) * 3, (0.25,) * 3, (), "patterns", caption_length=T)
TASKS = {
    "transformer": Captioning("transformer", width=8, heads=2, blocks=2),
    "recurrent": Captioning("recurrent", units=12, width=8, beam=2),
}


def slots(candidates, references):
    return {"noun": float(np.mean([said.split()[2:3] == some[0].split()[2:3] for said, some in zip(candidates, references, strict=True)]))}


def part(count, seed):
    """A pattern for each sentence, with noise: (split, references)."""
    rng = np.random.default_rng(seed)
    kinds = rng.integers(0, len(TOLD), count)
    patterns = np.random.default_rng(7).normal(size=(len(TOLD), 12, 8, 3))
    image = (127 + 40 * patterns[kinds] + 20 * rng.normal(size=(count, 12, 8, 3))).clip(0, 255).astype(np.uint8)
    tokens = np.stack([WORDS.encode(TOLD[kind], T) for kind in kinds])
    references = [[TOLD[kind], TOLD[kind].replace("runs", "is there")] for kind in kinds]
    return ArraySplit({"image": image, "label": np.zeros(count, np.int64), "tokens": tokens}), references


@pytest.fixture(scope="module")
def splits():
    (train, _), (valid, valid_told), (test, told) = part(256, 1), part(32, 2), part(260, 3)
    card = {"name": "patterns", "source": "drawn", "licence": "CC0", "synthetic": True, "vocabulary": WORDS.to_json()}
    counts = {"counts": {"train": 256, "valid": 32, "test": 260}}
    return Splits(train, valid, test, SPEC, card | counts, references={"valid": valid_told, "test": told})


@pytest.fixture(scope="module", params=TASKS)
def captioner(request):
    """(task, training model); every weight is random, biases included: what is exported need not be good."""
    keras.utils.set_random_seed(0)
    task = dataclasses.replace(TASKS[request.param], slots=slots)
    image = keras.Input((12, 8, 3), name="image")
    model = task.build(keras.Model(image, keras.layers.Conv2D(8, 4, 4, activation="relu")(image), name="tiny"), SPEC)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    return task, model


@pytest.fixture(scope="module")
def bundle(captioner, splits, tmp_path_factory):
    task, model = captioner
    out = tmp_path_factory.mktemp("bundles")
    options = {"spec": SPEC, "name": "patterns-captioner", "splits": splits, "whole_loop": True}
    return export_run(model, task, writing.real_samples(splits), out, **options)


@pytest.fixture(scope="module")
def card(bundle):
    return json.loads((bundle / "card.json").read_text(encoding="utf-8"))


def test_each_graph_is_a_file_with_its_contract(bundle, card, captioner):
    assert list(card["graphs"]) == ["encoder.onnx", "decoder.onnx"] and not (bundle / "model.onnx").exists()
    encoder, decoder = ({slot["name"]: slot["shape"] for slot in card["graphs"][name]["inputs"]} for name in card["graphs"])
    given = {slot["name"]: slot["shape"] for slot in card["graphs"]["decoder.onnx"]["outputs"]}
    assert encoder == {"image": ["batch", 12, 8, 3]} and decoder["token"] == ["batch"]
    assert given["logits"] == ["batch", len(WORDS)] and given["attention"][-1] == 6
    if captioner[0].decoder == "transformer":
        assert decoder["state"] == ["batch", 2, 2, 2, "past", 4] and given["next_state"] == ["batch", 2, 2, 2, "present", 4]
    else:
        assert decoder["state"] == given["next_state"] == ["batch", 2, 12] and decoder["features"] == ["batch", 6, 8]
    for path, graph in card["graphs"].items():
        assert {"Loop", "If", "Scan"}.isdisjoint(graph["operators"]) and card["files"][path] == graph["sha256"]
        props = {entry.key: entry.value for entry in onnx.load(bundle / path).metadata_props}
        assert json.loads(props["kerasdl.caption"])["grid"] == [3, 2] and json.loads(props["kerasdl.caption"])["length"] == T


def test_parity_is_shown_of_each_graph_and_of_the_captions(card):
    rows = {(row["runtime"], row.get("graph"), row["batch"]): row for row in card["parity"]}
    assert set(rows) == {
        (runtime, graph, n) for runtime in ("onnxruntime", "saved_model") for graph in (None, "encoder", "decoder") for n in (1, 2, 7)
    }
    assert all(row["max_error"] <= 1e-4 and row["decisions_equal"] for row in rows.values())
    assert {row["samples"] for (_, graph, _), row in rows.items() if graph != "decoder"} == {256}
    assert all(row["samples"] < 256 <= row["calls"] for (_, graph, _), row in rows.items() if graph == "decoder")


def test_the_section_tells_scores_of_greedy_choice_and_of_the_beam(card, captioner, splits):
    task, model = captioner
    section, words = card["caption"], vocabulary(SPEC)
    assert section["length"] == T and section["grid"] == [3, 2] and section["beam"] == task.beam
    assert section["tokenizer"] == "kerasdl-ptb-1" and section["words"] == len(WORDS) - 4 and section["references"] == 520
    assert list(section["scores"]) == ["greedy", f"beam {task.beam}"]
    predict: Any = keras_predictor(task, model, SPEC)
    for name, beam in (("greedy", 1), (f"beam {task.beam}", task.beam)):
        said = [words.decode(row) for row in predict({"image": splits.test.fields["image"]}, beam=beam)["tokens"]]
        wanted = caption_scores(said, splits.references["test"]) | slots(said, splits.references["test"])
        assert section["scores"][name] == pytest.approx(wanted, abs=0.02)  # near ties
        parity = section["caption_parity"][name]
        assert parity["pictures"] == 260 and parity["different"] == 0 and parity["same"] + parity["near_ties"] >= 260
    metrics = card["metrics"]
    assert {name: metric["value"] for name, metric in metrics.items()} == section["scores"][f"beam {task.beam}"]
    assert metrics["noun"]["interval"] and metrics["BLEU-4"]["interval"] is None
    assert metrics["BLEU-4"]["protocol"] == (
        f"test split, beam {task.beam}, tokenizer kerasdl-ptb-1, onnxruntime on encoder.onnx and decoder.onnx"
    )


def test_the_latency_is_that_of_a_caption_and_of_its_parts(card):
    told = {name for name, entry in card["latency"].items() if isinstance(entry, dict)}
    parts = {
        "onnxruntime, encoder.onnx once",
        "onnxruntime, decoder.onnx once",
        "onnxruntime, caption, greedy",
        "onnxruntime, caption, beam 3",
    }
    assert {"onnxruntime", "keras", "saved_model"} | parts <= told
    assert card["latency"]["onnxruntime, decoder.onnx once"]["p50_ms"] < card["latency"]["onnxruntime, caption, greedy"]["p50_ms"]


def test_the_words_and_24_pictures_with_their_captions_are_in_the_bundle(bundle, card, splits):
    assert Vocabulary.load(bundle / "vocab.json") == WORDS and {"vocab.json", "captions.png", "attention.png"} <= set(card["files"])
    told = json.loads((bundle / "examples" / "captions.json").read_text(encoding="utf-8"))
    pictures = sorted(path.name for path in (bundle / "examples").glob("*.png"))
    assert (
        len(pictures) == 24
        and list(told) == pictures
        and set(card["files"]) >= {f"examples/{name}" for name in [*pictures, "captions.json"]}
    )
    for name in pictures:
        number = int(name.removeprefix("picture-").removesuffix(".png"))
        np.testing.assert_array_equal(np.asarray(Image.open(bundle / "examples" / name)), splits.test.fields["image"][number])
        assert told[name] == splits.references["test"][number]


def test_the_service_says_what_keras_says(bundle, captioner, splits):
    task, model = captioner
    images, predict = splits.test.fields["image"][:20], cast(Any, keras_predictor(task, model, SPEC))
    for beam in (1, 3):
        wanted = predict({"image": images}, beam=beam)
        found = caption(load_bundle(bundle), list(images), Choice(beam))
        clear = np.flatnonzero(wanted["margin"] > 2 * task.tolerance)
        assert len(clear) > 10
        assert [found[row].text for row in clear] == [WORDS.decode(wanted["tokens"][row]) for row in clear]


def test_the_readme_tells_the_figures_and_its_client_speaks(bundle, card, captioner):
    text = (bundle / "README.md").read_text(encoding="utf-8")
    bleu = [scores["BLEU-4"] for scores in card["caption"]["scores"].values()]
    assert f"| BLEU-4 | {bleu[0]:.4f} | {bleu[1]:.4f} |" in text and "(attention.png)" in text
    assert "output of decoder.onnx `logits`" in text and "`encoder.onnx`: the graph" in text and "signatures `encoder`, `decoder`" in text
    client = text.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-W", "error", "-I", "-c", client], cwd=bundle, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    example = Image.open(bundle / sorted(name for name in card["files"] if name.endswith(".png") and "examples/" in name)[0])
    said = caption(load_bundle(bundle), [np.asarray(example)], Choice(1))[0]
    assert done.stdout.strip() == " ".join(said.words)


def test_the_table_after_an_export_tells_every_graph(card):
    assert "onnxruntime, decoder = Keras" in summary(card) and "latency onnxruntime, caption, greedy" in summary(card)


def test_verify_passes_it_and_finds_a_forged_score(bundle, card, tmp_path):
    assert verify_bundle(bundle)["task"] == "captioning"
    copied = shutil.copytree(bundle, tmp_path / bundle.name)
    forged = copy.deepcopy(card)
    forged["caption"]["scores"]["greedy"]["BLEU-4"] = forged["metrics"]["BLEU-4"]["value"] = 0.99
    text = (copied / "README.md").read_text(encoding="utf-8").replace(cards.fingerprint(card), cards.fingerprint(forged))
    (copied / "README.md").write_text(text, encoding="utf-8")
    forged["files"]["README.md"] = cards.digest_of_file(copied / "README.md")
    (copied / "card.json").write_text(json.dumps(forged), encoding="utf-8")
    with pytest.raises(ExportRefused, match="the metrics must be those of the section caption. Received: another BLEU-4"):
        verify_bundle(copied)


def perturbed(path, share=0.05):
    """The graph with noise on its largest weight."""
    proto = onnx.load(path)
    kernel = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.array(onnx.numpy_helper.to_array(kernel))
    values += share * values.std() * np.random.default_rng(0).normal(size=values.shape).astype(values.dtype)
    kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))
    return proto


def test_a_perturbed_decoder_does_not_reproduce_the_sample(bundle, card, tmp_path):
    copied = shutil.copytree(bundle, tmp_path / bundle.name)
    onnx.save(perturbed(copied / "decoder.onnx"), copied / "decoder.onnx")
    forged, digest = copy.deepcopy(card), cards.digest_of_file(copied / "decoder.onnx")
    forged["graphs"]["decoder.onnx"]["sha256"] = forged["files"]["decoder.onnx"] = digest
    text = (copied / "README.md").read_text(encoding="utf-8").replace(cards.fingerprint(card), cards.fingerprint(forged))
    (copied / "README.md").write_text(text, encoding="utf-8")
    forged["files"]["README.md"] = cards.digest_of_file(copied / "README.md")
    (copied / "card.json").write_text(json.dumps(forged), encoding="utf-8")
    with pytest.raises(ExportRefused, match="onnxruntime must reproduce sample.npz within 0.0001"):
        verify_bundle(copied)


def test_an_export_with_a_perturbed_decoder_writes_nothing(bundle, captioner, splits, tmp_path, monkeypatch):
    task, model = captioner
    right = graphs.converted

    def wrong(*given):
        made = right(*given)
        made["decoder"].proto.CopyFrom(perturbed(bundle / "decoder.onnx"))
        return made

    monkeypatch.setattr(graphs, "converted", wrong)
    with pytest.raises(ExportRefused, match="onnxruntime at batch 1 must"):
        export_run(model, task, writing.real_samples(splits), tmp_path / "out", spec=SPEC, name="wrong", splits=splits)
    assert not (tmp_path / "out").exists()


def test_a_graph_of_a_step_with_a_loop_is_refused():
    node = onnx.helper.make_node("Loop", ["", "", ""], [], body=onnx.helper.make_graph([], "body", [], []))
    proto = onnx.helper.make_model(onnx.helper.make_graph([node], "looping", [], []))
    with pytest.raises(ExportRefused, match="must be free of If, Loop, Scan. Received: Loop"):
        writing.gates.check_no_control_flow(proto)


# --- the whole search in one graph ---


def runner(path):
    return parity.onnx_runner(gates.open_session(str(path)))


@pytest.fixture(scope="module")
def steps(bundle):
    return {name: runner(bundle / f"{name}.onnx") for name in ("encoder", "decoder")}


def test_one_graph_makes_the_whole_greedy_search(bundle, card, steps, splits):
    entry = card["variants"]["variants/captioner-loop.onnx"]
    loop = onnx.load(bundle / "variants" / "captioner-loop.onnx")
    assert [(slot["name"], slot["dtype"], slot["shape"]) for slot in entry["outputs"]] == [("tokens", "int32", ["batch", T])]
    assert entry["sha256"] == cards.digest_of_file(bundle / captioner_loop.FILE) and captioner_loop.FILE not in card["files"]
    assert entry["operators"]["Loop"] == 1 and {node.domain for node in gates.nodes_of(loop)} == {""}
    assert entry["compared_with_steps"] == {"pictures": 256, "same": 256} and entry["latency"]["p50_ms"] > 0
    assert "kerasdl.caption" in {prop.key for prop in loop.metadata_props}
    assert f"`variants/captioner-loop.onnx`: the whole greedy search in one graph, `image` to `tokens` int32 [batch, {T}]" in (
        bundle / "README.md"
    ).read_text(encoding="utf-8")
    run, images = runner(bundle / captioner_loop.FILE), splits.test.fields["image"]
    for count in (1, 3, 64):
        wanted = decoding.greedy(steps["decoder"], steps["encoder"]({"image": images[:count]}), T).tokens
        np.testing.assert_array_equal(run({"image": images[:count]})["tokens"], wanted)


def willing_to_end(path, bias):
    """The decoder with a larger logit of <end>."""
    proto = onnx.load(path)
    (node,) = (node for node in proto.graph.node if "logits" in node.output)
    node.output[0] = "before"
    values = np.zeros(len(WORDS), np.float32)
    values[captioner_loop.END] = bias
    proto.graph.initializer.append(onnx.numpy_helper.from_array(values, "bias_of_end"))
    proto.graph.node.append(onnx.helper.make_node("Add", ["before", "bias_of_end"], ["logits"]))
    return proto


def test_captions_that_end_early_are_padded_while_others_go_on(bundle, steps, splits):
    feeds, lengths = {"image": splits.test.fields["image"]}, []
    for bias in (0, 1, 2, 4, 8, 1e3):
        decoder = willing_to_end(bundle / "decoder.onnx", bias)
        loop = captioner_loop.whole_loop(onnx.load(bundle / "encoder.onnx"), decoder, T)
        run, step = (parity.onnx_runner(gates.open_session(proto.SerializeToString())) for proto in (loop, decoder))
        assert captioner_loop.check_same(run, {**steps, "decoder": step}, feeds, T) == {"pictures": 260, "same": 260}
        lengths.append(set((run(feeds)["tokens"] != captioner_loop.PAD).sum(axis=1).tolist()))
    assert max(map(len, lengths)) > 1 and lengths[-1] == {2}, lengths


def test_a_loop_that_says_something_else_is_refused_and_nothing_is_written(bundle, captioner, splits, tmp_path, monkeypatch):
    task, model = captioner
    right = captioner_loop.whole_loop
    monkeypatch.setattr(captioner_loop, "whole_loop", lambda encoder, _, length: right(encoder, perturbed(bundle / "decoder.onnx"), length))
    options = {"spec": SPEC, "name": "wrong", "splits": splits, "whole_loop": True}
    with pytest.raises(ExportRefused, match="the loop must say what the graphs of a step say. Received: .* of 256 pictures at batch 1"):
        export_run(model, task, writing.real_samples(splits), tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_loop_that_is_not_that_of_the_card_is_found(bundle, tmp_path):
    copied = shutil.copytree(bundle, tmp_path / bundle.name)
    said = []
    verify_bundle(copied, said.append)
    assert any("captioner-loop.onnx says what the graphs of a step say, 2 captions alike" in line for line in said)
    with (copied / captioner_loop.FILE).open("ab") as file:
        file.write(b"x")
    for _ in ("another", "none"):
        with pytest.raises(ExportRefused, match="Received: another or no variants/captioner-loop.onnx"):
            verify_bundle(copied)
        (copied / captioner_loop.FILE).unlink(missing_ok=True)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda card: card.pop("caption"), "must have a section caption. Received: none"),
        (lambda card: card["caption"].pop("tokenizer"), "no usable tokenizer"),
        (lambda card: card["caption"].update(grid=[2, 2]), "the places of the grid"),
        (lambda card: card["caption"].update(tokens={"pad": 1}), "the first four are signs"),
        (lambda card: card["caption"].update(length=2), "length 3 and beam 1 at least"),
        (lambda card: card["metrics"]["CIDEr-D"].update(value=9.0), "another CIDEr-D"),
        (lambda card: card["metrics"]["CIDEr-D"].update(protocol="test split"), "must name its tokenizer. Received: CIDEr-D"),
        (
            lambda card: card["caption"]["caption_parity"]["greedy"].update(different=1),
            "Received: 1 other captions of 260 pictures, greedy",
        ),
        (lambda card: card["caption"]["caption_parity"].pop("greedy"), "Received: none greedy"),
        (lambda card: card["caption"]["pictures"].append("faces.png"), "must be in the bundle. Received: no faces.png"),
    ],
)
def test_a_section_that_contradicts_itself_or_the_card_is_found(edit, sentence, card):
    forged = copy.deepcopy(card)
    edit(forged)
    with pytest.raises(ExportRefused, match=sentence):
        captions.check_section(forged)


def test_a_near_tie_is_counted_and_another_caption_is_a_difference():
    wanted = {"tokens": np.array([[1, 4, 2], [1, 5, 2], [1, 6, 2]]), "margin": np.array([1.0, 1e-5, 1.0])}
    found = {"tokens": np.array([[1, 4, 2], [1, 4, 2], [1, 7, 2]]), "margin": np.ones(3)}
    assert caption_facts.agreement(wanted, found, 2e-4) == {"pictures": 3, "same": 1, "near_ties": 1, "different": 1}
    more = {"score": np.zeros(3, np.float32), "attention": np.zeros((3, 3, 1, 4), np.float32)}
    assert captions.compare(TASKS["transformer"], wanted | more, found | more) == (0.0, False, 1)
    found["tokens"][2, 1] = 6
    assert captions.compare(TASKS["transformer"], wanted | more, found | more) == (0.0, True, 1)
    more_found = {"score": np.array([0.5, 9.0, 0], np.float32), "attention": more["attention"]}
    assert captions.compare(TASKS["transformer"], wanted | more, found | more_found) == (0.5, True, 1)  # that of the tie does not count


def test_pictures_without_references_are_proven_and_not_scored(captioner, splits, tmp_path):
    task, _ = captioner
    given = writing.as_splits(splits.test.fields, SPEC, "test")
    caption = {"beam": 3, "tokenizer": "kerasdl-ptb-1"}
    assert writing.score(task, lambda feeds: pytest.fail("nothing can be scored"), given, "test", True, "encoder.onnx", caption) == {}
    assert task.facts(lambda feeds: {}, lambda feeds: {}, given, "test", tmp_path) == {} and not list(tmp_path.iterdir())
    assert captions.render({"caption": caption}, readme.table) == []


def test_a_report_is_two_pictures(captioner, splits, tmp_path):
    task, model = captioner
    written = task.report(tmp_path / "report.png", keras_predictor(task, model, SPEC), splits, "test", "a title")
    assert [path.name for path in written] == ["report.png", "report-attention.png"]
    for path in written:
        with Image.open(path) as picture:
            assert picture.width > 300
