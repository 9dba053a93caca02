"""An embedding's bundle: the ranking in its card, its parity in onnxruntime, its pictures, and the service that lists it."""

import copy
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import onnx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from apps import api, home, v2
from apps.engine import Engine
from apps.library import Library
from apps.metrics import Metrics
from apps.repository import Repository
from apps.runtime import load_bundle
from apps.server import add_errors
from apps.settings import Settings
from export import ExportRefused, convert, demo, export_run, parity, readme, reid, verify_bundle
from export import bundle as writing
from export import card as cards
from kerasdl import reid_facts
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, Splits
from kerasdl.metrics import accept_rates, calibrate
from kerasdl.models.conv import conv_bn
from kerasdl.reid_facts import Search, agreement
from kerasdl.tasks import Embedding

SHAPE = (16, 8, 3)
SPEC = Spec(SHAPE, ("1", "2", "3"), (0.5,) * 3, (0.25,) * 3, (), "patterns")
TASK = Embedding(distances=(), size=8)


def part(pids, cameras, seed):
    """Noise around a pattern of each pid; a picture of nobody has a pattern of its own."""
    random = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).normal(size=(200, *SHAPE))
    levels = 127 + 30 * patterns[pids] + 40 * random.normal(size=(len(pids), *SHAPE))
    image = levels.clip(0, 255).astype(np.uint8)
    return ArraySplit({"image": image, "label": np.full(len(pids), -1), "pid": np.array(pids), "camid": np.array(cameras)})


def query_and_gallery(first, people, seed, extra=()):
    pids = np.repeat(np.arange(first, first + people), 4)
    cameras = np.tile([1, 2, 3, 4], people)
    gallery = part([*pids, *extra], [*cameras, *[9] * len(extra)], seed)
    lonely = [150] if extra else []  # a query of somebody the gallery does not hold
    return part([*range(first, first + people), *lonely], [1] * (people + len(lonely)), seed + 1), gallery


def together(*parts):
    return ArraySplit({name: np.concatenate([part.arrays()[name] for part in parts]) for name in parts[0].arrays()})


@pytest.fixture(scope="module")
def splits():
    roles = {}
    for prefix, first, people, extra in (("", 1, 60, (0, 0, -1)), ("valid_", 70, 40, ()), ("cross_", 120, 20, ())):
        roles[f"{prefix}query"], roles[f"{prefix}gallery"] = query_and_gallery(first, people, first, extra)
    test, valid = together(roles["query"], roles["gallery"]), together(roles["valid_query"], roles["valid_gallery"])
    card = {"name": "patterns", "source": "drawn", "licence": "CC0", "synthetic": True, "counts": {"train": 3, "valid": 200, "test": 304}}
    return Splits(valid, valid, test, SPEC, card, roles)


@pytest.fixture(scope="module")
def model():
    """As it was initialised: what is exported need not be good."""
    keras.utils.set_random_seed(0)
    image = keras.Input(SHAPE)
    backbone = keras.Model(image, conv_bn(image, 16, 3, 2, name="conv"), name="tiny")
    return TASK.build(backbone, SPEC)


@pytest.fixture(scope="module")
def bundle(model, splits, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundles")
    return export_run(model, TASK, writing.real_samples(splits), out, spec=SPEC, name="patterns-reid", splits=splits)


@pytest.fixture(scope="module")
def card(bundle):
    return json.loads((bundle / "card.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def keras_search(model, splits):
    return TASK.search(TASK.serving(model, SPEC)["model"].predict_on_batch, splits, "test")


def test_the_section_has_the_ranking_and_its_counts(card, keras_search):
    section, wanted = card["reid"], keras_search.evaluate()
    assert list(card)[: list(card).index("parity")] == [*list(cards.FIELDS)[:9], "reid"]
    assert section["protocol"] == "cross-camera" and section["average_precision"] == "plain" and section["split"] == "test"
    assert len(section["cmc"]) == 50 and section["cmc"] == pytest.approx(wanted["cmc"])
    assert section["queries"] == {"valid": 60, "invalid": 1}
    assert section["gallery"] == {"pictures": 243, "identities": 60, "distractors": 2, "junk": 1}
    assert card["metrics"]["rank1"]["value"] == section["cmc"][0] and card["metrics"]["mAP"]["value"] == section["mAP"]
    assert section["mAP"] == pytest.approx(wanted["mAP"]) and section["mINP"] == pytest.approx(wanted["mINP"])
    again = keras_search.evaluate(rerank=True)
    assert section["reranked"] == {
        "method": reid_facts.RERANKING,
        "rank1": again["cmc"][0],
        "mAP": pytest.approx(again["mAP"]),
        "mINP": pytest.approx(again["mINP"]),
    }
    assert section["cross"]["queries"] == {"valid": 20, "invalid": 0} and "distractors" in section["cross"]["gallery"]


def test_the_threshold_is_calibrated_on_the_validation_and_judged_by_the_test(card, model, splits, keras_search):
    valid = TASK.search(TASK.serving(model, SPEC)["model"].predict_on_batch, splits, "valid").pairs()
    found = card["reid"]["verification"]
    assert found["calibrated_on"] == "validation roles"
    assert found["pairs"]["calibration"] == {"one_person": 120, "two_people": 40 * 39 * 4}
    assert found["pairs"]["test"] == {"one_person": 180, "two_people": 60 * 59 * 4 + 60 * 2 + 242}
    for point, far in zip(found["thresholds"], (1e-2, 1e-3), strict=True):
        threshold = calibrate(valid, far)["threshold"]
        rates = accept_rates(keras_search.pairs(), threshold)
        assert point["target_far"] == far and point["threshold"] == pytest.approx(threshold, abs=1e-5)
        assert point["far"] == pytest.approx(rates["far"], abs=1e-3) and point["tpr"] == pytest.approx(rates["tpr"], abs=0.01)
        assert point["tpr_interval"][0] <= point["tpr"] <= point["tpr_interval"][1]
        assert set(point["cross"]) == {"far", "far_interval", "tpr", "tpr_interval"}


def test_a_rate_that_cannot_be_seen_in_so_few_pairs_is_a_sentence(keras_search):
    few = np.arange(5)
    pids, gallery_pids, camids, gallery_camids = keras_search.people
    people = (pids[few], gallery_pids[:20], camids[few], gallery_camids[:20])
    calibration = Search(keras_search.queries[few], keras_search.gallery[:20], people, "all")
    points = reid_facts.verification_facts(calibration, keras_search.pairs())["thresholds"]
    assert [point["problem"][:40] for point in points] == [
        "a FAR of 0.01 is seen in 100 wrong answe",
        "a FAR of 0.001 is seen in 1,000 wrong an",
    ]
    rows = [row for point in points for row in reid.threshold_rows("test", point)]
    assert rows[0][:2] == ("0.01", "-") and "at least. Received: 80" in rows[0][2]


def test_the_validation_is_no_judge_of_its_own_threshold(keras_search):
    facts, _ = reid_facts.section(keras_search, "valid", None, None)
    assert "judged by them too" in facts["verification"]["problem"] and "cross" not in facts
    assert reid.verification(facts, readme.table) == [f"No threshold: {facts['verification']['problem']}."]


def test_too_few_pictures_to_re_rank_are_a_sentence():
    people = (np.array([1]), np.array([1, 2]), np.array([1]), np.array([2, 2]))
    tiny = Search(np.eye(1, 2), np.eye(2), people, "cross-camera")
    assert "k1 < pictures" in reid_facts.reranking_facts(tiny)["problem"]


def test_both_runtimes_rank_alike(card):
    found = card["reid"]["ranking_parity"]
    assert (found["first"], found["queries"], found["gallery"]) == (50, 61, 243)
    assert found["different"] == 0 and found["mAP_difference"] <= 1e-5


def search_on_a_line(*gallery, queries=(0.0,)):
    """Cosine distances by angles."""
    q, g = (np.stack([np.cos(angles), np.sin(angles)], axis=1) for angles in (np.array(queries), np.array(gallery)))
    people = (np.full(len(q), 1), np.array([2, 1, 3, 1][: len(g)]), np.full(len(q), 1), np.full(len(g), 2))
    return Search(q, g, people, "cross-camera")


def test_a_swap_of_near_ties_is_counted_and_another_one_is_a_difference():
    wanted = search_on_a_line(0.5, 0.50001, 1.0, 1.4)
    swapped = agreement(wanted, search_on_a_line(0.50001, 0.5, 1.0, 1.4), near=2e-5)
    assert (swapped["near_ties"], swapped["queries_with_near_ties"], swapped["different"]) == (2, 1, 0)
    assert swapped["cmc_difference"] == 1.0  # of one query, whose tie it is
    reid.check_ranking(swapped, 1)
    other = agreement(wanted, search_on_a_line(0.5, 0.50001, 1.4, 1.0), near=2e-5)
    assert (other["near_ties"], other["different"], other["queries_different"]) == (0, 2, 1)
    with pytest.raises(ExportRefused, match="must rank the first 4 as Keras does .* Received: 2 other places in 1 of 1 queries"):
        reid.check_ranking(other, 1)


def test_a_perturbed_graph_does_not_pass(bundle, splits, keras_search):
    proto = onnx.load(bundle / "model.onnx")
    kernel = max(proto.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    values = np.array(onnx.numpy_helper.to_array(kernel))
    values += 0.02 * values.std() * np.random.default_rng(0).normal(size=values.shape).astype(values.dtype)
    kernel.CopyFrom(onnx.numpy_helper.from_array(values, kernel.name))
    run = parity.onnx_runner(writing.gates.open_session(proto.SerializeToString()))
    perturbed = agreement(keras_search, TASK.search(run, splits, "test"), 2 * TASK.tolerance)
    with pytest.raises(ExportRefused, match="onnxruntime must rank the first 50 as Keras does"):
        reid.check_ranking(perturbed, keras_search.evaluate()["valid_queries"])


def test_an_export_whose_ranking_differs_writes_nothing(model, splits, tmp_path, monkeypatch):
    shipped = writing.shipped

    def disturbed(*given):
        run, random = shipped(*given), np.random.default_rng(0)
        return lambda feeds, *more: {name: x + 0.02 * random.normal(size=x.shape) for name, x in run(feeds, *more).items()}

    monkeypatch.setattr(writing, "shipped", disturbed)
    monkeypatch.setattr(convert, "to_saved_model", lambda *_: None)  # the slow half, which comes before and has tests of its own
    monkeypatch.setattr(parity, "saved_model_runner", lambda *_: None)
    monkeypatch.setattr(parity, "measure", lambda *_, **__: [])
    with pytest.raises(ExportRefused, match="onnxruntime must rank the first 50 as Keras does"):
        export_run(model, TASK, writing.real_samples(splits), tmp_path / "out", spec=SPEC, name="disturbed", splits=splits)
    assert not (tmp_path / "out").exists()


def test_the_pictures_are_small_and_in_the_bundle(bundle, card):
    assert card["reid"]["pictures"] == ["cmc.png", "ranks.png", "roc.png"] and set(card["reid"]["pictures"]) <= set(card["files"])
    assert all(5_000 < (bundle / name).stat().st_size < 400_000 for name in card["reid"]["pictures"])


def gallery_of(bundle):
    """{pid: its cameras} of gallery.zip."""
    with zipfile.ZipFile(bundle / demo.FILE) as archive:
        assert archive.testzip() is None
        signs = [found for name in archive.namelist() for found in re.findall(r"^(\d{4})_c(\d)s1_\d{6}_00\.jpg$", name)]
        with archive.open(archive.namelist()[0]) as stream, Image.open(stream) as picture:
            assert picture.format == "JPEG" and (picture.height, picture.width) == SHAPE[:2]
    return {pid: [camera for one, camera in signs if one == pid] for pid, _ in signs}


def test_gallery_zip_holds_two_of_three_people_each_by_three_cameras(bundle, card):
    found = gallery_of(bundle)
    assert card["reid"]["demo"] == {"people": 40, "pictures": 120} and demo.FILE in card["files"]
    assert len(found) == 40 and all(len(cameras) == len(set(cameras)) == 3 for cameras in found.values())
    assert {int(pid) % 3 for pid in found} == {1, 2} and f"{demo.FILE}` holds 120 pictures of 40 people" in (
        bundle / "README.md"
    ).read_text()


def test_the_examples_are_people_of_the_gallery_by_other_cameras_and_strangers(bundle, card):
    found = gallery_of(bundle)
    names = [path.name for path in (bundle / "examples").iterdir()]
    signs = [found for name in names for found in re.findall(r"^(stranger-)?id(\d+)-cam(\d)-\d+\.png$", name)]
    known = [(f"{int(pid):04d}", camera) for stranger, pid, camera in signs if not stranger]
    strangers = [f"{int(pid):04d}" for stranger, pid, _ in signs if stranger]
    assert 4 <= len(known) <= 8 and len(strangers) == 4 and len(signs) == len(names)
    assert all(camera not in found[pid] for pid, camera in known) and not set(strangers) & set(found)
    assert card["labels"] == []


def test_the_same_people_make_the_same_gallery(splits, tmp_path):
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        demo.write(tmp_path / name, splits.test)
    assert (tmp_path / "once" / demo.FILE).read_bytes() == (tmp_path / "again" / demo.FILE).read_bytes()


def test_only_drawn_people_are_put_into_a_bundle(splits):
    assert demo.can_be_made(splits, "test", TASK)
    assert not demo.can_be_made(dataclasses.replace(splits, card={**splits.card, "synthetic": False}), "test", TASK)
    assert not demo.can_be_made(dataclasses.replace(splits, card={}), "test", TASK)


def test_the_curve_rises_through_the_calibrated_thresholds(card, keras_search):
    found = card["reid"]["verification"]
    curve, pairs = found["curve"], keras_search.pairs()
    assert 60 <= len(curve["threshold"]) == len(curve["far"]) == len(curve["tpr"]) <= 62
    assert curve["threshold"][0] == 0 and curve["tpr"][-1] == 1
    for point in found["thresholds"]:
        place = curve["threshold"].index(point["threshold"])
        assert (curve["far"][place], curve["tpr"][place]) == (point["far"], point["tpr"])
    again = reid_facts.curve_facts(pairs, [0.25])
    place = again["threshold"].index(0.25)
    rates = accept_rates(pairs, 0.25)
    assert (again["far"][place], again["tpr"][place]) == (rates["far"], rates["tpr"])


def test_the_readme_tells_the_figures_and_its_client_runs(bundle, card):
    text, section = (bundle / "README.md").read_text(encoding="utf-8"), card["reid"]
    row = [f"{section['cmc'][rank - 1]:.4f}" for rank in (1, 5, 10, 20)]
    assert f"| test split | {' | '.join(row)} | {section['mAP']:.4f} | {section['mINP']:.4f} |" in text
    assert "60 queries with a match, 1 without" in text and "2 of them distractors and 1 junk" in text
    assert "re-ranked" in text and "its figures are no headline" in text
    assert all(f"({name})" in text for name in section["pictures"]) and "| another domain |" in text
    assert f"| 0.01 | {section['verification']['thresholds'][0]['threshold']:.4f} | test split |" in text
    client = text.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-W", "error", "-I", "-c", client], cwd=bundle, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3 and "distance" in lines[0] and float(lines[2].removeprefix("difference to Keras ")) <= 1e-5


def test_verify_and_the_runtime_take_the_bundle(bundle, splits):
    assert verify_bundle(bundle)["task"] == "embedding"
    loaded = load_bundle(bundle)
    found = loaded.run({"image": splits.test.arrays([0, 1])["image"]})
    assert found["embedding"].shape == (2, 8) and found["activation"].shape == (2, 8, 4)
    np.testing.assert_allclose(np.linalg.norm(found["embedding"], axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (lambda section: section.pop("mINP"), "no usable mINP"),
        (lambda section: section["cmc"].reverse(), "shares that never fall"),
        (lambda section: section["cmc"].pop(), "50 shares that never fall. Received: 49"),
        (lambda section: section.update(mAP=section["mAP"] / 2), "the metrics must be those of the section reid. Received: another mAP"),
        (lambda section: section["ranking_parity"].update(different=1), "must rank the first 50 as Keras does"),
        (lambda section: section["ranking_parity"].update(cmc_difference=0.5, queries_with_near_ties=1), "must be those of Keras, apart"),
        (lambda section: section["verification"]["thresholds"][0].update(far=1.5), "a threshold must be a cosine distance with shares"),
        (lambda section: section.update(queries={"valid": 0}), "at least one valid query"),
        (lambda section: section["verification"]["curve"]["tpr"].reverse(), "a rate for each threshold, none falling"),
        (lambda section: section["verification"]["curve"]["far"].pop(), "a rate for each threshold, none falling"),
        (lambda section: section["verification"]["thresholds"][1].update(tpr=0.999), "must go through the calibrated thresholds"),
        (lambda section: section["pictures"].append("faces.png"), "must be in the bundle. Received: no faces.png"),
    ],
)
def test_a_section_that_contradicts_itself_or_the_card_is_found(edit, sentence, card):
    forged = copy.deepcopy(card)
    edit(forged["reid"])
    with pytest.raises(ExportRefused, match=sentence):
        reid.check_section(forged)


def test_verify_looks_at_the_section(bundle, card, tmp_path):
    copied = shutil.copytree(bundle, tmp_path / bundle.name)
    forged = copy.deepcopy(card)
    forged["reid"]["mAP"] = 0.99
    text = (copied / "README.md").read_text(encoding="utf-8").replace(cards.fingerprint(card), cards.fingerprint(forged))
    (copied / "README.md").write_text(text, encoding="utf-8")
    forged["files"]["README.md"] = cards.digest_of_file(copied / "README.md")
    (copied / "card.json").write_text(json.dumps(forged), encoding="utf-8")
    with pytest.raises(ExportRefused, match="the metrics must be those of the section reid"):
        verify_bundle(copied)


def test_pictures_without_roles_have_no_figures(splits, tmp_path):
    given = writing.as_splits(splits.test.arrays(), SPEC, "test")
    assert writing.score(TASK, lambda feeds: pytest.fail("nothing can be ranked"), given, "test", given=True) == {}
    assert TASK.facts(lambda feeds: {}, lambda feeds: {}, given, "test", tmp_path) == {} and not list(tmp_path.iterdir())


def test_an_unknown_section_is_refused():
    with pytest.raises(ExportRefused, match="further sections are reid, caption, table, other_sizes. Received: faces"):
        writing.check_sections({"faces": {}})


def test_the_service_lists_and_serves_it(bundle, splits):
    metrics = Metrics()
    repository, engine = Repository(bundle.parent, 1, metrics), Engine(1, 4, 30.0, metrics)
    repository.load_all()
    library = Library(repository, engine)
    app = FastAPI()
    add_errors(app)
    app.include_router(v2.router(repository, engine, Settings()))
    app.include_router(api.router(library, engine))
    listed = home.all_cards(library)
    assert 'aria-label="patterns-reid"' in listed and 'href="match?model=patterns-reid"' in listed and "not served" not in listed
    image = splits.test.arrays([0])["image"]
    with TestClient(app) as client:
        assert client.get("/v2/models/patterns-reid").json()["outputs"][0]["name"] == "embedding"
        asked = {"name": "image", "shape": list(image.shape), "datatype": "UINT8", "data": image.ravel().tolist()}
        answer = client.post("/v2/models/patterns-reid/infer", json={"inputs": [asked]}).json()
        vector = next(output["data"] for output in answer["outputs"] if output["name"] == "embedding")
        np.testing.assert_allclose(vector, load_bundle(bundle).run({"image": image})["embedding"][0], atol=1e-5)
        refused = client.post("/api/classify?model=patterns-reid", content=b"x")
        assert refused.status_code == 404 and "a bundle for embedding" in refused.json()["error"]
    engine.close()
