"""apps.repository: bundles come, change and go while others are asked; what is corrupt never disturbs what serves."""

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from apps.metrics import Metrics
from apps.repository import NotLoaded, Repository, UnknownModel, warm_up
from apps.runtime import BundleError, load_bundle

DIGITS, COLORS = "digits-templates", "colors-templates"


@pytest.fixture
def folder(bundles, tmp_path) -> Path:
    return shutil.copytree(bundles, tmp_path / "saved_models")


@pytest.fixture
def repository(folder) -> Repository:
    repository = Repository(folder, metrics=Metrics())
    repository.load_all()
    return repository


def damage(folder: Path) -> None:
    """As a copy that was cut: the file is shorter than the card says."""
    whole = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(whole[: len(whole) // 2])


def adding(value: float, name: str = "model") -> onnx.ModelProto:
    """x [batch, 3] -> y = x + value"""
    info = [helper.make_tensor_value_info(one, TensorProto.FLOAT, ["batch", 3]) for one in "xy"]
    constant = onnx.numpy_helper.from_array(np.array(value, np.float32), "value")
    graph = helper.make_graph([helper.make_node("Add", ["x", "value"], ["y"])], name, info[:1], info[1:], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def put_in_place(new: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    shutil.move(new, place)


def test_all_bundles_are_loaded_by_name(repository):
    assert list(repository.bundles) == [COLORS, DIGITS] and not repository.broken
    assert repository.reload() == {COLORS: "unchanged", DIGITS: "unchanged"}
    assert repository.index() == [{"name": name, "version": "1", "state": "READY", "reason": ""} for name in (COLORS, DIGITS)]


def test_a_new_bundle_comes_in_and_a_vanished_one_goes(repository, folder, graph_bundle):
    graph_bundle(folder)
    shutil.rmtree(folder / DIGITS)
    kept = repository.bundles[COLORS]
    assert repository.reload() == {COLORS: "unchanged", DIGITS: "removed", "pair": "loaded"}
    assert list(repository.bundles) == [COLORS, "pair"] and repository.bundles[COLORS] is kept
    page = repository.metrics.page().decode()
    assert 'kerasdl_model_loaded{model="digits-templates"} 0.0' in page and 'kerasdl_model_loaded{model="pair"} 1.0' in page
    assert 'kerasdl_reloads_total{result="removed"} 1.0' in page
    with pytest.raises(UnknownModel, match="There is no bundle named digits-templates"):
        repository.get(DIGITS)


def test_a_replaced_bundle_is_exchanged_and_the_old_one_works_for_who_holds_it(tmp_path, graph_bundle):
    graph_bundle(tmp_path / "saved_models", "adder", {"model": adding(1)})
    repository = Repository(tmp_path / "saved_models")
    repository.load_all()
    old = repository.bundles["adder"]
    put_in_place(graph_bundle(tmp_path / "next", "adder", {"model": adding(2)}), tmp_path / "saved_models" / "adder")
    assert repository.reload() == {"adder": "replaced"}
    x = {"x": np.zeros((1, 3), np.float32)}
    assert old.run(x)["y"][0, 0] == 1 and repository.bundles["adder"].run(x)["y"][0, 0] == 2


@pytest.mark.parametrize("change", ["model", "card", "example", "no card"])
def test_a_corrupt_replacement_is_refused_while_the_old_serves_on(repository, folder, change):
    old = repository.bundles[DIGITS]
    if change == "model":
        damage(folder / DIGITS)
    elif change == "card":
        (folder / DIGITS / "card.json").write_text("{")
    elif change == "example":
        (folder / DIGITS / "examples" / "3-3.png").unlink()
    else:
        (folder / DIGITS / "card.json").unlink()
    sentence = repository.reload()[DIGITS]
    assert "Received: digits-templates" in sentence and str(folder) not in sentence
    assert repository.bundles[DIGITS] is old and repository.refused == {DIGITS: sentence} and not repository.broken
    assert repository.index()[1] == {"name": DIGITS, "version": "1", "state": "READY", "reason": sentence}
    with pytest.raises(BundleError):
        repository.load(DIGITS)
    assert repository.bundles[DIGITS] is old
    assert 'kerasdl_reloads_total{result="refused"} 1.0' in repository.metrics.page().decode()


def test_a_refusal_is_forgotten_when_the_bundle_is_whole_again(repository, folder, bundles):
    damage(folder / DIGITS)
    repository.reload()
    assert repository.refused
    shutil.copy(bundles / DIGITS / "model.onnx", folder / DIGITS / "model.onnx")
    assert repository.reload()[DIGITS] == "unchanged" and not repository.refused


def test_a_bundle_that_never_loaded_is_broken_until_it_is_mended(folder, bundles):
    damage(folder / DIGITS)
    repository = Repository(folder)
    repository.load_all()
    assert list(repository.bundles) == [COLORS] and "sha256 differs" in repository.broken[DIGITS]
    with pytest.raises(NotLoaded, match="digits-templates is broken. A file of the bundle has changed"):
        repository.graph(DIGITS)
    assert repository.index()[1]["state"] == "UNAVAILABLE"
    shutil.copy(bundles / DIGITS / "model.onnx", folder / DIGITS / "model.onnx")
    assert repository.reload()[DIGITS] == "loaded" and not repository.broken
    repository.get(DIGITS)


def test_a_folder_that_is_still_being_copied_is_never_half_loaded(repository, folder, graph_bundle, tmp_path):
    """After every file of the copy the repository is asked to reload: only the whole one comes in."""
    whole = graph_bundle(tmp_path / "elsewhere")
    files = sorted(file for file in whole.iterdir())
    for card_first in (True, False):
        (folder / "pair").mkdir()
        for file in sorted(files, key=lambda file: (file.name == "card.json") != card_first):
            text = file.read_bytes()
            for part in (text[: len(text) // 2], text):
                assert "pair" not in repository.bundles
                (folder / "pair" / file.name).write_bytes(part)
                repository.reload()
        assert repository.bundles["pair"].graphs == ["encoder", "decoder"] and not repository.broken
        shutil.rmtree(folder / "pair")
        repository.reload()


def test_a_bundle_exchanged_while_it_is_loaded_is_refused(repository, folder, graph_bundle, tmp_path, monkeypatch):
    graph_bundle(folder, "adder", {"model": adding(1)})
    new = graph_bundle(tmp_path / "next", "adder", {"model": adding(2)})
    import apps.repository

    genuine = apps.repository.warm_up

    def exchange_then_warm_up(bundle):
        if new.exists():
            put_in_place(new, folder / "adder")
        genuine(bundle)

    monkeypatch.setattr("apps.repository.warm_up", exchange_then_warm_up)
    assert "sha256 differs" in repository.reload()["adder"]
    assert repository.reload()["adder"] == "loaded"
    assert repository.bundles["adder"].run({"x": np.zeros((1, 3), np.float32)})["y"][0, 0] == 2


def test_an_unloaded_bundle_stays_out_until_it_is_loaded(repository, folder):
    repository.unload(DIGITS)
    assert DIGITS not in repository.bundles and repository.unloaded == {DIGITS: "It was unloaded."}
    assert repository.reload() == {COLORS: "unchanged", DIGITS: "unloaded"} and DIGITS not in repository.bundles
    with pytest.raises(NotLoaded, match="is not served: It was unloaded."):
        repository.graph(DIGITS)
    damage(folder / DIGITS)
    with pytest.raises(BundleError, match="sha256 differs"):
        repository.load(DIGITS)
    assert "sha256 differs" in repository.unloaded[DIGITS] and not repository.broken
    shutil.rmtree(folder / DIGITS)
    assert repository.reload()[DIGITS] == "removed" and not repository.unloaded


def test_load_brings_an_unloaded_bundle_back(repository):
    repository.unload(DIGITS)
    repository.load(DIGITS)
    assert repository.bundles[DIGITS].graphs == ["model"] and not repository.unloaded


def test_names_that_are_not_there_are_unknown(repository):
    for name in ("nothing", "../saved_models", "", ".", DIGITS + "/", "\x00", DIGITS + ".decoder"):
        for ask in (repository.graph, repository.get, repository.load, repository.unload):
            with pytest.raises(UnknownModel, match="There is no bundle named"):
                ask(name)


def test_graphs_are_found_by_name(repository, folder, graph_bundle):
    graph_bundle(folder)
    graph_bundle(folder, "with.dot", {"only": adding(1, "only")})
    repository.reload()
    graphs = {name: repository.graph(name)[1] for name in (DIGITS, f"{DIGITS}.model", "pair.encoder", "pair.decoder", "with.dot")}
    assert list(graphs.values()) == ["model", "model", "encoder", "decoder", "only"]
    assert repository.graph("with.dot.only")[0].name == "with.dot"
    with pytest.raises(UnknownModel, match="several graphs: name one. There is pair.encoder, pair.decoder"):
        repository.graph("pair")
    repository.unload("pair.encoder")
    assert "pair" in repository.unloaded
    with pytest.raises(NotLoaded):
        repository.graph("pair.decoder")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"graphs": {"model.onnx": {}}}, "every field of its type. Received: digits-templates with another graphs.model.onnx.inputs"),
        ({"graphs": [1]}, "with another graphs"),
        ({"files": "all"}, "with another files"),
        ({"name": ["digits-templates"]}, "with another name"),
        ({"name": "digits"}, "must bear the bundle's name"),
        ({"labels": ["0"]}, "must have a label for each probability. Received: digits-templates, 1 for [10]"),
        ({"labels": None}, "with another labels"),
    ],
)
def test_a_card_of_nonsense_is_refused_and_the_others_are_loaded(folder, changes, sentence):
    card = folder / DIGITS / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))
    repository = Repository(folder)
    repository.load_all()
    assert list(repository.bundles) == [COLORS] and sentence in repository.broken[DIGITS]


def test_a_folder_that_bears_another_name_is_refused(repository, folder):
    shutil.copytree(folder / DIGITS, folder / "copy")
    assert "must bear the bundle's name, digits-templates. Received: copy" in repository.reload()["copy"]


def test_a_graph_that_cannot_run_does_not_serve(repository, folder, graph_bundle):
    info = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [7, 7]),
    ]
    shape = onnx.numpy_helper.from_array(np.array([7, 7]), "shape")
    graph = helper.make_graph([helper.make_node("Reshape", ["x", "shape"], ["y"])], "model", info[:1], info[1:], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    graph_bundle(folder, "stuck", {"model": model})
    sentence = repository.reload()["stuck"]
    assert "The graph must be able to run. Received: stuck/model" in sentence and "onnxruntime_src" not in sentence
    assert "stuck" in repository.broken


def test_when_the_folder_itself_is_gone_what_was_served_is_served_on(repository, folder):
    shutil.move(folder, folder.parent / "away")
    with pytest.raises(BundleError, match="The folder of bundles must exist"):
        repository.reload()
    assert list(repository.bundles) == [COLORS, DIGITS]


def test_reloads_while_others_ask_lose_nothing(tmp_path, graph_bundle):
    """Two versions change places again and again; every answer is one of the two, whole, and none is missing."""
    versions = [graph_bundle(tmp_path / str(value), "adder", {"model": adding(value)}) for value in (1, 2)]
    place = tmp_path / "saved_models" / "adder"
    shutil.copytree(versions[0], place)
    repository = Repository(tmp_path / "saved_models")
    repository.load_all()
    done, seen, problems = threading.Event(), set(), []

    def ask() -> None:
        x = {"x": np.zeros((2, 3), np.float32)}
        while not done.is_set():
            try:
                bundle, graph = repository.graph("adder")
                seen.add(tuple(bundle.run(x, graph)["y"].ravel()))
            except Exception as problem:
                problems.append(problem)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    results = []
    for turn in range(30):
        shutil.rmtree(place)
        shutil.copytree(versions[(turn + 1) % 2], place)
        results.append(repository.reload()["adder"])
    done.set()
    for asker in askers:
        asker.join(10)
    assert results == ["replaced"] * 30 and problems == []
    assert seen == {(1.0,) * 6, (2.0,) * 6}


def test_several_reloads_at_once_are_one_after_the_other(repository, folder):
    card = folder / DIGITS / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()), indent=2))
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(repository.reload()[DIGITS])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == ["replaced", "unchanged", "unchanged", "unchanged"]


def test_a_side_that_a_graph_cannot_take_is_tried_in_silence(capfd):
    """The captioner's sentences end before the first side that is tried: onnxruntime's own error line would stand in red at every start."""
    warm_up(load_bundle(Path(__file__).parents[2] / "saved_models" / "scenes-captioner"))
    assert "onnxruntime" not in capfd.readouterr().err
