"""python -m export bench: bundles that came with git in several runtimes; what is wrong is WRONG, however fast."""

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from export import npm
from export.__main__ import main
from export.bench import agreement, measure, report, runtimes, samples
from export.bench.runtimes import Subject
from kerasdl.tasks import Classification, Embedding, Regression

SHIPPED = Path(__file__).parents[2] / "saved_models"
FEW = ["--samples", "24", "--batches", "1,4", "--quiet"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(measure, "SECONDS", 0.01)
    monkeypatch.setattr(measure, "LEAST", 3)


def rows_of(path, name="digits-lenet5"):
    (bundle,) = (one for one in json.loads(path.read_text(encoding="utf-8"))["bundles"] if one["name"] == name)
    return [SimpleNamespace(**row) for row in bundle["rows"]], bundle


def copied(tmp_path, *names: str) -> Path:
    """A folder of shipped bundles without the variants that a developer may have made."""
    for name in names:
        shutil.copytree(SHIPPED / name, tmp_path / "out" / name, ignore=shutil.ignore_patterns("variants"))
    return tmp_path / "out"


def digits_with(tmp_path, **changes) -> Path:
    """A copy of the bundle of digits with its card changed."""
    folder = copied(tmp_path, "digits-lenet5") / "digits-lenet5"
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    (folder / "card.json").write_text(json.dumps(card | changes), encoding="utf-8")
    return folder


def test_runtimes_agree_and_the_tables_are_written(tmp_path, capsys):
    pytest.importorskip("openvino")
    out = copied(tmp_path, "digits-lenet5", "diabetes-ridge")
    words = ["--runtimes", "keras,saved_model,onnxruntime,openvino,cuda", "--out", str(out), "--run-dir", str(tmp_path)]
    files = ["--markdown", str(tmp_path / "b.md"), "--json", str(tmp_path / "b.json"), "--chart", str(tmp_path / "b.png")]
    assert main(["bench", "digits-lenet5", "diabetes-ridge", *words, *files, *FEW]) == 0
    for name, count in (("digits-lenet5", 24), ("diabetes-ridge", 256)):
        rows, bundle = rows_of(tmp_path / "b.json", name)
        assert [(row.runtime, row.batch, row.status) for row in rows] == [
            ("keras", None, "not here"),
            *((runtime, batch, "ok") for runtime in ("saved_model", "onnxruntime", "openvino") for batch in (1, 4)),
            ("cuda", None, "not here"),
        ]
        for row in rows[1:-1]:
            assert row.count == count and row.equal + row.tied == count and row.error <= row.tolerance
            assert row.score == pytest.approx(bundle["reference"], abs=1e-6) and 0 < row.p50_ms <= row.p95_ms
    told = (tmp_path / "b.md").read_text(encoding="utf-8")
    assert "## digits-lenet5" in told and "| onnxruntime | float32 | 4 | ok | 0.25 |" in told and "24 of 24" in told
    assert "| digits-lenet5 | 24 of 24, " in told and "- keras, float32: not here, a bundle has no .keras file: its run must be" in told
    assert (tmp_path / "b.png").read_bytes()[:4] == b"\x89PNG"
    assert "24 real examples of diabetes and 232 mixed of them" in capsys.readouterr().out


def permuted(subject, threads):
    """onnxruntime with each answer one class further."""

    @contextlib.contextmanager
    def opened():
        with runtimes.onnxruntime(subject, threads) as real:

            def call(feeds):
                found, milliseconds = real.calls["model"](feeds)
                return {"probabilities": np.roll(found["probabilities"], 1, axis=1)}, milliseconds

            yield dataclasses.replace(real, calls={"model": call})

    return opened()


def test_a_runtime_with_other_answers_is_wrong_and_one_that_breaks_down_has_failed(tmp_path, capsys, monkeypatch):
    def broken(subject, threads):
        raise OSError("an illegal instruction")

    monkeypatch.setitem(runtimes.RUNTIMES, "node", permuted)
    monkeypatch.setitem(runtimes.RUNTIMES, "web", broken)
    out = copied(tmp_path, "digits-lenet5")
    files = ["--markdown", str(tmp_path / "b.md"), "--json", str(tmp_path / "b.json"), "--chart", str(tmp_path / "b.png")]
    assert main(["bench", "digits-lenet5", "--runtimes", "onnxruntime,node,web", "--out", str(out), *files, *FEW]) == 1
    rows, _ = rows_of(tmp_path / "b.json")
    assert [row.status for row in rows] == ["ok", "ok", "WRONG", "WRONG", "FAILED"]
    assert rows[2].equal == 0 and rows[2].score < 0.5 and rows[2].p50_ms > 0
    table = (tmp_path / "b.md").read_text(encoding="utf-8")
    assert (
        "| node | float32 | 1 | **WRONG** | 0.25 |" in table
        and "- node, float32: WRONG, 24 of 24 examples are answered otherwise, with " in table
    )
    told = capsys.readouterr().err
    assert "Received others from digits-lenet5 in node (float32, WRONG), digits-lenet5 in web (float32, FAILED)" in told


def test_a_variant_is_judged_by_what_it_costs(tmp_path):
    import onnx

    folder = digits_with(tmp_path)
    for kind, shift in (("int8", 0.0), ("fp16", 50.0)):
        proto = onnx.load(folder / "model.onnx")
        bias = next(held for held in proto.graph.initializer if list(held.dims) == [10])
        values = onnx.numpy_helper.to_array(bias).copy()
        values[3] += shift  # after which everything is a three
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        (folder / "variants" / kind).mkdir(parents=True)
        onnx.save(proto, folder / "variants" / kind / "model.onnx")
    found = measure.bench(folder, ["saved_model", "onnxruntime"], (4,), 24)
    assert [(row.runtime, row.precision, row.status) for row in found.rows] == [
        ("saved_model", "float32", "ok"),
        ("onnxruntime", "float32", "ok"),
        ("onnxruntime", "int8", "ok"),
        ("onnxruntime", "fp16", "WRONG"),
    ]
    assert found.rows[-1].said.startswith("the score falls by 0.") and (found.rows[-1].score or 0) < 0.3


def test_without_its_data_a_bundle_is_asked_about_its_sample(tmp_path):
    recipe = json.loads((SHIPPED / "digits-lenet5" / "card.json").read_text(encoding="utf-8"))["recipe"]
    gone = {**recipe, "data": ["kerasdl.data.image_folder:image_folder", {"folder": str(tmp_path / "gone")}]}
    folder = digits_with(tmp_path, recipe=gone)
    found = measure.bench(folder, ["onnxruntime"], (4,), 24)
    assert found.examples.startswith("only the 8 real examples of sample.npz: the data is not at hand (")
    assert [(row.status, row.equal, row.count, row.score) for row in found.rows] == [("ok", 8, 8, None)]
    (folder / "variants" / "int8").mkdir(parents=True)
    shutil.copy(folder / "model.onnx", folder / "variants" / "int8" / "model.onnx")
    digits = json.loads((folder / "card.json").read_text(encoding="utf-8")) | {"recipe": None}
    (folder / "card.json").write_text(json.dumps(digits), encoding="utf-8")
    found = measure.bench(folder, ["onnxruntime"], (4,), 24)
    assert "the card has no recipe" in found.examples
    assert [(row.precision, row.status, row.said) for row in found.rows][1] == ("int8", "not judged", "its score needs the data")
    assert "nothing to score" in report.as_text(found)


def test_names_and_options_that_are_none_are_told(tmp_path, capsys):
    assert main(["bench", "digits-lenet", "--out", str(SHIPPED)]) == 1
    assert capsys.readouterr().err == f"export: there must be a bundle {SHIPPED / 'digits-lenet'}. Did you mean 'digits-lenet5'?\n"
    assert main(["bench", "--out", str(tmp_path)]) == 1
    assert "there must be a bundle to measure. Received: none in" in capsys.readouterr().err
    for words in (["--runtimes", "opencv"], ["--batches", "1,0"], ["--samples", "many"]):
        with pytest.raises(SystemExit) as stopped:
            main(["bench", *words])
        assert stopped.value.code == 2 and "Received: " in capsys.readouterr().err


def test_the_names_of_the_command_are_the_runtimes():
    from export.verbs.bench import NAMES

    assert tuple(runtimes.RUNTIMES) == NAMES


# --- what is right and what is wrong ---


def test_another_decision_is_wrong_unless_it_was_nearly_tied():
    wanted = {"probabilities": np.array([[0.9, 0.1], [0.500001, 0.499999], [0.2, 0.8]], np.float32)}
    found = {"probabilities": np.array([[0.9, 0.1], [0.499999, 0.500001], [0.8, 0.2]], np.float32)}
    said = agreement.agreement(Classification(), {}, wanted, found)
    assert (said.count, said.equal, said.tied) == (3, 1, 1) and said.error == pytest.approx(0.6)
    assert (
        agreement.problem("float32", said, 1.0, 1.0, 1.0, 3)
        == "1 of 3 examples are answered otherwise, with an error of 6.0e-01 beyond 1e-05"
    )
    close = agreement.agreement(Classification(), {}, wanted, {"probabilities": wanted["probabilities"] + np.float32(1e-4)})
    assert close.equal == 3 and "an error of 1.0e-04 beyond 1e-05" in agreement.problem("float32", close, 1.0, 1.0, 1.0, 3)


def test_rows_of_a_table_are_equal_within_the_tolerance_or_what_a_step_of_float32_makes_of_them():
    targets = [{"name": "y", "std": 2.0, "low": 0.0, "high": 1.0}]
    wanted = {"value": np.zeros((3, 1), np.float32), "interval": np.zeros((3, 1, 2), np.float32)}
    found = {**wanted, "value": np.array([[0], [0.2], [0]], np.float32)}
    said = agreement.agreement(Regression(), {"table": {"targets": targets}}, wanted, found)
    assert (said.count, said.equal) == (3, 2) and said.error == pytest.approx(0.1)  # in standard deviations
    moved = agreement.agreement(Regression(), {"table": {"targets": targets}}, wanted, found, {**wanted, "value": found["value"] * 2})
    assert moved.equal == 3 and agreement.problem("float32", moved, 1.0, 1.0, 1.0, 3) == ""  # Keras itself is not surer of that row
    fewer = agreement.agreement(Regression(), {"table": {"targets": targets}}, wanted, {**found, "value": found["value"][:2]})
    assert fewer.equal == 0 and agreement.problem("int8", fewer, 1.0, 1.0, 1.0, 3) == "numbers that are missing or none"


@pytest.mark.parametrize(
    "score, trials, fine",
    [(0.896, 1000, True), (0.894, 1000, False), (0.894, 200, True), (0.88, 100, True), (0.87, 100, False), (0.95, 1000, True)],
)
def test_a_smaller_precision_may_cost_half_a_point_or_two_examples(score, trials, fine):
    many_others = agreement.Agreement(100, 50, 0, 0.3, 1e-5)
    assert (agreement.problem("int8", many_others, score, 0.9, 1.0, trials) == "") is fine


def test_an_example_is_run_once():
    seen = []

    def run(feeds):
        seen.extend(feeds["x"].tolist())
        return {"y": feeds["x"] * 2}

    predict = measure.Remembered(run)
    np.testing.assert_array_equal(predict({"x": np.array([3, 1, 3])})["y"], [6, 2, 6])
    np.testing.assert_array_equal(predict({"x": np.array([1, 4, 3])})["y"], [2, 8, 6])
    assert sorted(seen) == [1, 3, 4]


def test_some_people_come_with_all_of_their_pictures():
    from kerasdl.data.splits import ArraySplit, Splits

    def part(pids):
        return ArraySplit({"image": np.zeros((len(pids), 2, 2, 3), np.uint8), "pid": np.array(pids), "camid": np.arange(len(pids))})

    query, gallery = part([1, 2, 3, 4]), part([1, 1, 2, 2, 3, 3, 4, 4, 0, -1])
    splits = Splits(gallery, gallery, gallery, spec=None, card={}, roles={"query": query, "gallery": gallery})
    few = samples.scored(Embedding(), splits, 5)
    assert few.roles["query"].fields["pid"].tolist() == [1, 4]
    assert few.roles["gallery"].fields["pid"].tolist() == [1, 1, 4, 4]
    assert samples.scored(Embedding(), dataclasses.replace(splits, roles={}), 5) is None


def test_the_time_of_an_answer_is_that_of_all_its_calls():
    watch = runtimes.Watch({"model": lambda feeds: (feeds, 2.0)})

    def predict(feeds):
        return watch.runs["model"](watch.runs["model"](feeds))

    assert measure.latencies(watch, predict, {"x": np.zeros(3)}, 8) == {"p50_ms": 4.0, "p95_ms": 4.0}


# --- Keras itself ---


def test_another_run_of_the_same_name_is_not_measured(tmp_path):
    for name in ("model.keras", "spec.json"):
        (tmp_path / name).write_text("{}", encoding="utf-8")
    (tmp_path / "metrics.json").write_text('{"train_minutes": 1, "seed": 0, "commit": "b"}', encoding="utf-8")
    card = {"source": {"training_minutes": 2, "seed": 0, "commit": "b"}}
    with pytest.raises(npm.Unavailable, match="must be the one that was exported. Received: .* with another train_minutes"):
        runtimes.run_of(Subject(tmp_path, card, {}, "float32", tmp_path, None, None))


@pytest.mark.slow
def test_keras_is_the_same_as_its_bundle(tmp_path):
    from export import export_recipe_run
    from kerasdl import find_recipe
    from kerasdl.train import train

    train(dataclasses.replace(find_recipe("digits-lenet5"), epochs=1), tmp_path / "runs", verbose=0)
    folder = export_recipe_run("digits-lenet5", tmp_path / "runs", tmp_path / "out")
    found = measure.bench(folder, ["keras"], (1, 4), 24, run=tmp_path / "runs" / "digits-lenet5")
    assert [(row.status, row.equal) for row in found.rows] == [("ok", 24), ("ok", 24)]
    assert isinstance(found.rows[0].size, int) and set(found.versions) == {"keras", "tensorflow"}
