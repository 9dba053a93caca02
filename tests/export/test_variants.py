"""int8 and float16 of a finished bundle: kept when the task's score allows it, and a sentence when it does not."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from apps.runtime import load_bundle
from export import ExportRefused, verify_bundle
from export import bundle as writing
from export import card as cards
from export.__main__ import main
from export.variants import int8, points, quantise
from export.variants.judge import Judge
from export.variants.make import make_variants
from kerasdl.data.splits import ArraySplit
from kerasdl.tasks import Classification

ROOT = Path(__file__).parents[2]
NAME = "digits-tiny"
FILES = ["variants/int8/model.onnx", "variants/fp16/model.onnx"]


def card_of(folder):
    return json.loads((folder / "card.json").read_text(encoding="utf-8"))


def bytes_of(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def make(splits):
    """make(folder, ...): the variants of a bundle that has no recipe."""
    return lambda folder, **options: make_variants(
        folder.name, folder.parent, **{"task": Classification(), "splits": splits, "max_drop": 2.0, **options}
    )


@pytest.fixture(scope="module")
def made(bundle, make, tmp_path_factory):
    """(bundle with both variants, what was said)."""
    folder = Path(shutil.copytree(bundle, tmp_path_factory.mktemp("variants") / bundle.name))
    lines: list[str] = []
    make(folder, say=lines.append)
    return folder, lines


@pytest.fixture
def own(made, tmp_path):
    """A copy of it that a test may spoil."""
    return Path(shutil.copytree(made[0], tmp_path / "own" / NAME))


def accuracy(path, splits, split="test"):
    part = splits.split(split).arrays()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return float((np.asarray(session.run(["probabilities"], {"image": part["image"]})[0]).argmax(1) == part["label"]).mean())


def test_both_kinds_are_there_with_their_figures(made, bundle, splits):
    folder, _ = made
    card = card_of(folder)
    assert list(card["variants"]) == ["int8", FILES[0], "fp16", FILES[1]]
    exact = accuracy(bundle / "model.onnx", splits)
    for kind, path in zip(("int8", "fp16"), FILES, strict=True):
        whole, entry = card["variants"][kind], card["variants"][path]
        assert whole["accepted"] is True and whole["files"] == [path]
        assert (entry["kind"], entry["graph"], entry["opset"]) == (kind, "model", 17)
        assert entry["sha256"] == cards.digest_of_file(folder / path) and entry["bytes"] == (folder / path).stat().st_size
        measured = whole["metrics"]["test"]
        found = accuracy(folder / path, splits)
        assert measured["float32"]["accuracy"]["value"] == pytest.approx(exact)
        assert measured["variant"]["accuracy"]["value"] == pytest.approx(found) and measured["variant"]["accuracy"]["n"] == 360
        low, high = measured["variant"]["accuracy"]["interval"]
        assert low < found < high and measured["lost"]["accuracy"] == pytest.approx(100 * (exact - found), abs=1e-3)
        assert whole["metrics"]["valid"]["variant"]["accuracy"]["n"] == 144
    assert card["variants"][FILES[0]]["bytes"] < 0.35 * card["sizes"]["model.onnx"]
    assert card["variants"][FILES[1]]["bytes"] < 0.55 * card["sizes"]["model.onnx"]


def test_int8_says_how_it_came_to_be(made):
    whole = card_of(made[0])["variants"]["int8"]
    assert whole["calibration"] == {"split": "train", "examples": 256, "seed": 0, "method": "MinMax", "calls": {"model": 16}}
    assert [one["scheme"] for one in whole["tried"]] == ["U8S8", "S8S8"] and whole["scheme"] in ("U8S8", "S8S8")
    latency = whole["latency"]
    assert (latency["batch"], latency["threads"], latency["float32"]["ratio"]) == (1, 1, 1.0)
    assert all(0 < times["p50_ms"] <= times["p95_ms"] for times in (latency["float32"], *whole["tried"]))
    passing = [one["ratio"] for one in whole["tried"] if one["lost"]["accuracy"] <= 2]
    assert max(passing) >= latency["int8"]["ratio"] >= 0.95 * max(passing)


def test_float16_tells_its_parity_and_measures_no_gpu(made):
    whole = card_of(made[0])["variants"]["fp16"]
    assert whole["parity"]["examples"] == whole["parity"]["decisions_equal"] == 144 and whole["parity"]["max_error"] < 0.01
    assert whole["latency"].startswith("not measured") and "latency on a GPU was not measured" in whole["sentence"]


def test_the_files_are_plain_onnx_with_the_contract_of_float32(made):
    folder, _ = made
    exact = onnx.load(folder / "model.onnx")
    types = {"int8": {"QuantizeLinear", "DequantizeLinear"}, "fp16": set()}
    for path in FILES:
        proto, kind = onnx.load(folder / path), path.split("/")[1]
        onnx.checker.check_model(proto, full_check=True)
        assert [entry.domain for entry in proto.opset_import] == [""] and proto.ir_version == exact.ir_version
        assert list(proto.graph.input) == list(exact.graph.input) and list(proto.graph.output) == list(exact.graph.output)
        assert types[kind] <= {node.op_type for node in proto.graph.node}
        told = {entry.key: entry.value for entry in proto.metadata_props}
        assert told.pop("kerasdl.variant").split()[0] == kind
        assert told == {entry.key: entry.value for entry in exact.metadata_props}


def test_all_else_of_the_bundle_stays_and_the_readme_tells_of_them(made, bundle):
    folder, _ = made
    before, after = bytes_of(bundle), bytes_of(folder)
    assert set(after) - set(before) == set(FILES)
    assert {path for path in before if before[path] != after[path]} == {"README.md", "card.json"}
    readme = (folder / "README.md").read_text(encoding="utf-8")
    assert "| int8, for CPUs | kept |" in readme and "- `variants/fp16/model.onnx`" in readme
    old, new = card_of(bundle), card_of(folder)
    assert {key for key in new if new[key] != old[key]} == {"variants", "files"}


def test_the_screen_says_what_the_card_says(made):
    folder, lines = made
    for kind in ("int8", "fp16"):
        assert f"{NAME}: {card_of(folder)['variants'][kind]['sentence']}" in lines


def test_verify_checks_them_and_says_where_they_are_not(own):
    lines: list[str] = []
    verify_bundle(own, say=lines.append)
    assert any("int8 is what the card says" in line for line in lines) and any("fp16 is what the card says" in line for line in lines)
    shutil.rmtree(own / "variants")  # as after a fresh clone
    lines.clear()
    verify_bundle(own, say=lines.append)
    assert f"{NAME}: int8 is not here; make it with: python -m export variants {NAME} --int8" in lines
    assert load_bundle(own, variant="int8").variant == "float32"


def forge(folder, edit):
    """Edit the card and renew its fingerprint, as a careful forger would."""
    card = card_of(folder)
    edit(card)
    card["files"]["README.md"] = ""
    readme = folder / "README.md"
    lines = readme.read_text(encoding="utf-8").splitlines()
    lines[-1] = f"Fingerprint of card.json without `files`: `{cards.fingerprint(card)}`"
    readme.write_text("\n".join(lines) + "\n", encoding="utf-8")
    card["files"]["README.md"] = cards.digest_of_file(readme)
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda card: card["variants"].pop("int8"), "must belong to a kind that the card tells of. Received: variants/int8/model.onnx"),
        (lambda card: card["variants"].pop(FILES[0]), "each with its entry. Received: variants/int8/model.onnx"),
        (lambda card: card["variants"]["int8"].update(accepted=False), "has files when it was accepted, and then only"),
        (lambda card: card["variants"]["int8"].pop("sentence"), "no usable sentence"),
        (lambda card: card["variants"]["int8"]["metrics"]["test"]["lost"].update(accuracy=2.5), "may lose 2 points. Received"),
        (lambda card: card["variants"][FILES[0]].update(sha256="0" * 64), "another one for variants/int8/model.onnx"),
    ],
)
def test_a_card_that_lies_of_its_variants_is_found(own, edit, sentence):
    forge(own, edit)
    with pytest.raises(ExportRefused, match=sentence):
        verify_bundle(own)


def test_a_spoilt_file_is_found(own):
    data = bytearray((own / FILES[0]).read_bytes())
    data[len(data) // 2] ^= 1
    (own / FILES[0]).write_bytes(bytes(data))
    with pytest.raises(ExportRefused, match="must have its sha256. Received: another one for variants/int8/model.onnx"):
        verify_bundle(own)


def test_one_kind_is_made_again_and_all_else_stays(own, make):
    other = {"sha256": "1", "bytes": 3}  # as a captioner has one of its whole search
    (own / "variants" / "another.onnx").write_bytes(b"abc")
    forge(own, lambda card: card["variants"].update({"variants/another.onnx": other}))
    before = bytes_of(own)
    (own / FILES[0]).write_bytes(b"old")
    card = make(own, kinds=["int8"])
    after = bytes_of(own)
    assert after[FILES[0]] == before[FILES[0]]  # the same bytes again: the choice of pictures is seeded
    assert after[FILES[1]] == before[FILES[1]] and after["variants/another.onnx"] == b"abc"
    assert card["variants"]["variants/another.onnx"] == other and card["variants"]["fp16"]["accepted"] is True


# --- what is refused ---


def spoilt(monkeypatch, is_bad):
    """quantise.quantise that makes nonsense of the graph where `is_bad(nodes in int8)`."""
    genuine = quantise.quantise

    def worse(calibrated, scheme, float32=(), only=None, **options):
        proto = genuine(calibrated, scheme, float32, only, **options)
        held = set(only if only is not None else calibrated.weighed) - set(float32)
        if is_bad(held):
            answer = next(node for node in proto.graph.node if node.op_type == "Softmax")
            nought = onnx.helper.make_node("Sub", [answer.input[0], answer.input[0]], ["nought"])
            answer.input[0] = "nought"  # the same probability for all
            proto.graph.node.insert(len(proto.graph.node) - 1, nought)
        return proto

    monkeypatch.setattr(quantise, "quantise", worse)


def test_an_int8_that_loses_too_much_is_not_kept_and_a_sentence_says_so(own, make, monkeypatch):
    spoilt(monkeypatch, lambda nodes: True)
    lines: list[str] = []
    card = make(own, kinds=["int8"], say=lines.append, max_drop=0.5)
    whole = card["variants"]["int8"]
    assert whole["accepted"] is False and whole["files"] == [] and FILES[0] not in card["variants"]
    assert "points of accuracy on the validation split, and 0.5 may be lost: float32 stays" in whole["sentence"]
    assert lines[-1] == f"{NAME}: {whole['sentence']}" and not (own / "variants" / "int8").exists()
    assert list(dict.fromkeys(one["layers"] for one in whole["tried"])) == [
        "every layer",
        "all but the first and the last layer",
        "all but the 1 most sensitive of 5 layers",
        "all but the 2 most sensitive of 5 layers",
    ]
    assert "| int8, for CPUs | not kept | - |" in (own / "README.md").read_text(encoding="utf-8")
    lines.clear()
    verify_bundle(own, say=lines.append)
    assert f"{NAME}: {whole['sentence']}" in lines
    assert load_bundle(own, variant="int8").variant == "float32" and load_bundle(own, variant="fp16").variant == "fp16"


@pytest.mark.parametrize(
    ("number", "layers"), [(0, "all but the first and the last layer"), (2, "all but the 1 most sensitive of 5 layers")]
)
def test_a_layer_that_cannot_be_int8_stays_float32(own, make, monkeypatch, number, layers):
    proto = onnx.load(own / "model.onnx")
    names = [node.name for node in proto.graph.node if node.op_type in quantise.WEIGHED]
    spoilt(monkeypatch, lambda nodes: names[number] in nodes)
    whole = make(own, kinds=["int8"])["variants"]["int8"]
    assert whole["accepted"] is True and whole["layers"] == layers and names[number] in whole["left_in_float32"]["model"]


def test_what_fails_on_the_test_split_is_refused_after_all(own, make, monkeypatch):
    genuine = Judge.score

    def score(self, protos, split="valid"):
        return {**genuine(self, protos, split), "accuracy": 1.0 if split == "valid" else 0.1}

    monkeypatch.setattr(Judge, "score", score)
    whole = make(own, kinds=["int8"])["variants"]["int8"]
    assert whole["accepted"] is False and "points of accuracy on the test split, and 2 may be lost: float32 stays" in whole["sentence"]
    assert not (own / "variants" / "int8").exists()


def test_the_test_split_is_not_looked_at_by_what_is_refused(own, make, monkeypatch):
    spoilt(monkeypatch, lambda nodes: True)
    seen: list[str] = []
    genuine = Classification.evaluate

    def evaluate(self, predict, splits, split):
        seen.append(split)
        return genuine(self, predict, splits, split)

    monkeypatch.setattr(Classification, "evaluate", evaluate)
    make(own, kinds=["int8"])
    assert set(seen) == {"valid"}


def test_calibration_sees_training_examples_only(made, splits):
    folder, _ = made
    calls = int8.recorded(Judge(Classification(), splits, {"model": onnx.load(folder / "model.onnx")}))
    seen = np.concatenate([call["image"] for call in calls["model"]])
    train = {picture.tobytes() for picture in splits.train.arrays()["image"]}
    assert len(seen) == 256 and all(picture.tobytes() in train for picture in seen)
    assert len({picture.tobytes() for picture in seen}) > 250  # spread over the split, none twice but for equal scans


def test_a_graph_with_its_channels_first_is_given_pictures_so(made, splits):
    exact = onnx.load(made[0] / "model.onnx")
    turned = onnx.ModelProto.FromString(exact.SerializeToString())
    turned.graph.node.insert(0, onnx.helper.make_node("Transpose", ["image"], ["pixels"], perm=[0, 2, 3, 1]))
    for node in turned.graph.node[1:]:
        node.input[:] = ["pixels" if name == "image" else name for name in node.input]
    for side, size in zip(turned.graph.input[0].type.tensor_type.shape.dim[1:], (1, 32, 32), strict=True):
        side.dim_value = size
    first, last = (Judge(Classification(), splits, {"model": proto}, turn) for proto, turn in ((turned, True), (exact, False)))
    assert first.exact_score("valid") == last.exact_score("valid")
    assert first.examples("train", 4)["image"].shape == (4, 1, 32, 32) and int8.recorded(first)["model"][0]["image"].shape == (
        16,
        1,
        32,
        32,
    )


def test_a_gate_that_stops_a_kind_is_a_sentence_and_the_other_is_made(own, make, monkeypatch):
    def refuse(*_):
        raise ExportRefused("onnxruntime must load the graph. Received: no")

    monkeypatch.setattr("export.variants.half.halve", refuse)
    card = make(own)
    assert card["variants"]["fp16"]["sentence"] == "fp16 could not be made: onnxruntime must load the graph. Received: no; float32 stays"
    assert card["variants"]["int8"]["accepted"] is True and verify_bundle(own)["variants"]["fp16"]["accepted"] is False


def test_a_bundle_is_rewritten_whole_or_not_at_all(own, make, monkeypatch):
    before = bytes_of(own)

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(writing, "write_card", fail)
    with pytest.raises(OSError, match="the disk is full"):
        make(own, kinds=["fp16"])
    assert bytes_of(own) == before and [path.name for path in own.parent.iterdir()] == [NAME]


def test_what_cannot_be_done_is_a_sentence_and_changes_nothing(own, make, splits):
    before = bytes_of(own)
    with pytest.raises(ExportRefused, match="variants need the recipe of a bundle, for its data. Received: a card without one"):
        make_variants(NAME, own.parent)
    with pytest.raises(ExportRefused, match="variants are of int8, fp16, and may lose 0 points or more. Received: int4, 0.5"):
        make_variants(NAME, own.parent, kinds=["int4"])
    with pytest.raises(ExportRefused, match="Received: int8, nan"):
        make_variants(NAME, own.parent, kinds=["int8"], max_drop=float("nan"))
    nothing = ArraySplit({field: values[:0] for field, values in splits.valid.arrays().items()})
    with pytest.raises(ExportRefused, match="chosen on the validation split. Received: nothing to score there"):
        make(own, splits=dataclasses.replace(splits, valid=nothing))
    with pytest.raises(ExportRefused, match="must be what the bundle was made of"):
        make(own, splits=dataclasses.replace(splits, spec=dataclasses.replace(splits.spec, labels=("a", "b"))))
    (own / "sample.npz").write_bytes(b"x")
    with pytest.raises(ExportRefused, match="its sha256 differs from card.json. Received: .*sample.npz"):
        make(own)
    assert {path: data for path, data in bytes_of(own).items() if path != "sample.npz"} == {
        path: data for path, data in before.items() if path != "sample.npz"
    }


def trial(scheme, lost):
    return int8.Trial(scheme, "every layer", {"model": ()}, {}, {}, {"accuracy": lost})


def test_the_fastest_that_passes_is_taken_and_of_equals_the_one_that_loses_least():
    first, second = trial("U8S8", 0.4), trial("S8S8", 0.1)
    assert int8.fastest([first, second], {first.name: {"ratio": 3.0}, second.name: {"ratio": 1.5}}) is first
    assert int8.fastest([first, second], {first.name: {"ratio": 3.0}, second.name: {"ratio": 2.9}}) is second


def test_a_second_graph_may_stay_float32_whole():
    ready = quantise.Calibrated(onnx.ModelProto(), None)
    (both, alone), *_ = int8.choices({"encoder": ready, "decoder": ready}, lambda name: [])
    assert list(both[1]) == ["encoder", "decoder"] and alone == ("every layer of the encoder alone", {"encoder": ()})


def test_points_are_hundredths_of_the_main_metrics():
    found = points.drops("embedding", {"rank1": 0.9, "rank5": 0.95, "mAP": 0.8}, {"rank1": 0.89, "rank5": 0.5, "mAP": 0.805})
    assert found == {"rank1": 1.0, "mAP": -0.5} and points.most(found) == 1.0
    assert points.drops("regression", {"MAE": 1.0, "R2 a": 0.5, "R2 b": 0.7}, {"R2 a": 0.5, "R2 b": float("nan")}) == {
        "R2 a": 0.0,
        "R2 b": float("inf"),
    }
    assert points.main_metrics("captioning", {"BLEU-1": 0, "BLEU-4": 0, "all_slots": 0}) == ["BLEU-4", "all_slots"]
    assert points.main_metrics("anything", {"score": 0, "other": 0}) == ["score"]


# --- the command ---


@pytest.fixture
def shipped(tmp_path):
    def copy(name):
        folder, without = ROOT / "saved_models" / name, shutil.ignore_patterns("variants")
        return Path(shutil.copytree(folder, tmp_path / "saved_models" / name, ignore=without))

    return copy


def test_the_command_opens_the_data_of_the_recipe(shipped, capsys):
    folder = shipped("digits-lenet5")
    before = card_of(folder)["variants"].get("int8")
    assert main(["variants", folder.name, "--fp16", "--out", str(folder.parent)]) == 0
    said = capsys.readouterr().out
    assert "fp16: accuracy 0.99" in said and f"{folder} is ready; serve it with: python -m apps" in said
    card = card_of(folder)
    assert card["variants"].get("int8") == before and verify_bundle(folder)["variants"]["fp16"]["accepted"] is True
    measured = card["variants"]["fp16"]["metrics"]["test"]["float32"]["accuracy"]["value"]
    assert measured == pytest.approx(card["metrics"]["accuracy"]["value"])  # what the export measured


def test_int8_of_a_table_is_not_kept_when_it_is_slower(shipped, capsys, monkeypatch):
    folder = shipped("diabetes-ridge")
    slow = {"p50_ms": 1.0, "p95_ms": 1.0, "ratio": 0.6}
    monkeypatch.setattr(Judge, "race", lambda self, sets: dict.fromkeys(("float32", *sets), slow))
    assert main(["variants", folder.name, "--int8", "--max-drop", "100", "--out", str(folder.parent)]) == 0
    assert "is no gain for so small a net: 0.60 times the speed: float32 stays" in capsys.readouterr().out
    assert not (folder / "variants").exists() and verify_bundle(folder)["variants"]["int8"]["accepted"] is False


def test_the_command_names_what_is_not_there(shipped, capsys):
    folder = shipped("diabetes-ridge")
    assert main(["variants", "diabetes", "--out", str(folder.parent)]) == 1
    assert "there must be a bundle" in (said := capsys.readouterr().err) and "diabetes-ridge" in said
    with pytest.raises(SystemExit):
        main(["variants", folder.name, "--max-drop", "-1", "--out", str(folder.parent)])
    assert "must be points from 0 to 100. Received: -1" in capsys.readouterr().err
