"""Graphs that take pictures of any size, or channels first: proven as all are, told by card and README, served by apps.runtime."""

import json
import re
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import onnxruntime
import pytest
from PIL import Image

from apps import calls, facts, page
from apps.runtime import BundleError, Choice, caption, load_bundle
from export import ExportRefused, contract_words, contracts, export_run, fitting, npm, readme, verify_bundle
from export.__main__ import FLAGS, main
from export.contracts import Form
from kerasdl.tasks import Classification, Regression

FORMS = {
    "any": Form(dynamic_size=True),
    "letterbox-nchw": Form(letterbox=True, nchw=True),
    "nchw-external": Form(nchw=True, external_data=True),
}
OTHERS = [(64, 64), (24, 40)]


def bilinear(picture, height, width):
    """(H,W,C) to (height,width,C): half-pixel centres, edges repeated, no antialiasing, in float64."""
    x = np.asarray(picture, np.float64)
    for axis, size in ((0, height), (1, width)):
        given = x.shape[axis]
        places = np.clip((np.arange(size) + 0.5) * given / size - 0.5, 0, given - 1)
        low = np.floor(places).astype(int)
        part = (places - low).reshape([-1 if other == axis else 1 for other in range(3)])
        x = (1 - part) * x.take(low, axis) + part * x.take(np.minimum(low + 1, given - 1), axis)
    return x


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def fit(picture, rule, size=(8, 6), color=(10, 20, 30)):
    layer = fitting.Fit(size, rule, False, color)
    return np.asarray(layer(keras.ops.convert_to_tensor(picture[None])))[0]


@pytest.mark.parametrize("given", [(8, 6), (16, 12), (5, 9), (37, 20), (1, 1), (2, 50)])
def test_stretching_is_bilinear_with_half_pixel_centres(given):
    picture = noise(*given, 3)
    np.testing.assert_allclose(fit(picture, "stretch"), bilinear(picture, 8, 6), atol=2e-3)


@pytest.mark.parametrize("rule", ["stretch", "letterbox"])
def test_a_picture_of_the_networks_size_passes_unchanged(rule):
    picture = noise(8, 6, 3)
    np.testing.assert_array_equal(fit(picture, rule), picture)


def test_the_crop_is_the_square_in_the_middle():
    picture = noise(9, 20, 3)
    np.testing.assert_allclose(fit(picture, "crop", (4, 4)), bilinear(picture[:, 5:14], 4, 4), atol=2e-3)


@pytest.mark.parametrize(
    ("given", "inner"), [((8, 6), (8, 6)), ((16, 6), (8, 3)), ((8, 60), (1, 6)), ((1, 900), (1, 6)), ((100, 50), (8, 4)), ((6, 5), (7, 6))]
)
def test_a_letterbox_keeps_the_proportions_between_bars_of_the_mean_colour(given, inner):
    picture = noise(*given, 3)
    found = fit(picture, "letterbox").copy()
    top, left = (8 - inner[0]) // 2, (6 - inner[1]) // 2
    rows, columns = slice(top, top + inner[0]), slice(left, left + inner[1])
    np.testing.assert_allclose(found[rows, columns], bilinear(picture, *inner), atol=5e-3)
    found[rows, columns] = (10, 20, 30)
    np.testing.assert_array_equal(found, np.broadcast_to((10, 20, 30), found.shape))


@pytest.fixture(scope="module", params=FORMS)
def formed(request, trained, splits, tmp_path_factory):
    """(form, folder, card) of the digits' classifier in another form."""
    form = FORMS[request.param]
    out = tmp_path_factory.mktemp("forms")
    folder = export_run(
        trained, Classification(), splits.test.arrays(), out, spec=splits.spec, name=request.param, splits=splits, form=form
    )
    return form, folder, json.loads((folder / "card.json").read_text(encoding="utf-8"))


def picture_entry(card):
    return card["graphs"]["model.onnx"]["inputs"][0]


def test_the_card_says_what_the_graph_takes(formed, splits):
    form, folder, card = formed
    entry = picture_entry(card)
    sides = ["height", "width"] if form.any_size else [32, 32]
    assert entry["shape"] == (["batch", 1, *sides] if form.nchw else ["batch", *sides, 1])
    assert entry.get("layout") == ("NCHW" if form.nchw else None) and entry["color"] == "grey"
    steps = [step["op"] for step in entry["prepare"]]
    assert steps == (["ink"] if form.any_size else [step["op"] for step in splits.spec.prepare])
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == entry["shape"]
    assert json.loads(session.get_modelmeta().custom_metadata_map["kerasdl.input"]) == [entry]
    if form.any_size:
        resize = entry["resize"]
        assert resize["where"] == "graph" and resize["size"] == [32, 32] and resize["antialias"] is False
        assert resize["rule"] == ("letterbox" if form.letterbox else "stretch") and ("color" in resize) == form.letterbox


def test_parity_is_shown_at_two_other_sizes_in_both_runtimes(formed):
    form, _, card = formed
    found = {(row["runtime"], tuple(row["size"]), row["batch"]) for row in card["parity"] if "size" in row}
    wanted = {(runtime, size, batch) for runtime in ("onnxruntime", "saved_model") for size in OTHERS for batch in (1, 2, 7)}
    assert found == (wanted if form.any_size else set())
    assert all(row["max_error"] <= row["tolerance"] and row["decisions_equal"] and row["samples"] >= 256 for row in card["parity"])


def test_a_card_without_parity_at_other_sizes_is_refused(formed):
    form, _, card = formed
    fewer = {**card, "parity": [row for row in card["parity"] if row.get("size") != [24, 40]]}
    contracts.check_section(card)
    if form.any_size:
        with pytest.raises(
            ExportRefused, match=r"parity of onnxruntime must be shown at 2 other sizes of pictures. Received: \[\(64, 64\)\]"
        ):
            contracts.check_section(fewer)


def test_the_metrics_are_measured_on_pictures_of_other_sizes(formed, splits):
    form, folder, card = formed
    if not form.any_size:
        assert contracts.SECTION not in card
        return
    bundle, test = load_bundle(folder), splits.test.arrays()
    for row in card[contracts.SECTION]["scores"]:
        height, width = row["size"]
        pictures = [Image.fromarray(one[..., 0]).resize((width, height), Image.Resampling.BICUBIC) for one in test["image"]]
        answers = bundle.classify([np.asarray(one)[..., None] for one in pictures], top=1)
        right = [answer[0]["label"] == str(label) for answer, label in zip(answers, test["label"], strict=True)]
        assert row["graph"]["accuracy"] == pytest.approx(np.mean(right)) and row["client"]["accuracy"] > 0.8
    assert [row["size"] for row in card[contracts.SECTION]["scores"]] == [[64, 64], [24, 24]]


def test_it_answers_as_the_plain_bundle_does(formed, bundle):
    _, folder, _ = formed
    plain, other = load_bundle(bundle), load_bundle(folder)
    assert other.shape == plain.shape == (32, 32, 1)
    pictures = [Image.open(path) for path in sorted((bundle / "examples").glob("*.png"))]
    for one, two in zip(plain.classify(pictures), other.classify(pictures), strict=True):
        assert [entry["label"] for entry in one] == [entry["label"] for entry in two]
        np.testing.assert_allclose([entry["probability"] for entry in one], [entry["probability"] for entry in two], atol=1e-5)


def test_pictures_of_several_sizes_are_answered_one_by_one(formed, trained):
    form, folder, _ = formed
    bundle = load_bundle(folder)
    arrays = [noise(*size, 1, seed=seed) for seed, size in enumerate([(32, 32), (50, 20), (32, 32), (9, 9)])]
    if not form.any_size:
        with pytest.raises(BundleError, match=r"must be uint8 \(32, 32, 1\)"):
            bundle.look(arrays)
        return
    found = bundle.look(arrays)["probabilities"]
    with pytest.raises(BundleError, match="of one batch must be of one size"):
        bundle.batch(arrays)
    rule = picture_entry(bundle.card)["resize"]
    fitted = np.stack([fit(array, rule["rule"], (32, 32), rule.get("color", ())) for array in arrays])
    wanted = keras.ops.softmax(trained.predict_on_batch({"image": fitted})["logits"])
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_many_pixels_are_never_in_one_batch(formed, monkeypatch):
    form, folder, _ = formed
    bundle, sizes = load_bundle(folder), []
    run = bundle.run
    monkeypatch.setattr(bundle, "run", lambda inputs, *rest: sizes.append(len(inputs["image"])) or run(inputs, *rest))
    monkeypatch.setattr("apps.runtime.bundle.MAX_PIXELS", 3000)
    bundle.look([noise(32, 32, 1)] * 2)
    bundle.look([noise(32, 32, 1)] * 3)
    assert sizes == ([2, 1, 1, 1] if form.any_size else [2, 3])


@pytest.mark.parametrize("array", [noise(32, 32, 3), noise(32, 32), np.zeros((0, 32, 1), np.uint8), np.zeros((32, 32, 1), np.float32)])
def test_what_is_no_picture_is_refused(array, formed):
    with pytest.raises(BundleError, match="A picture must be uint8"):
        load_bundle(formed[1]).batch([array])


@pytest.mark.parametrize("resize", [None, {}, {"size": [32]}, {"size": [0, 32]}, {"size": ["a", 32]}])
def test_a_card_that_does_not_say_the_size_is_refused_in_a_sentence(formed, resize):
    bundle = load_bundle(formed[1])
    bundle.card = json.loads(json.dumps(bundle.card))
    picture_entry(bundle.card)["resize"] = resize
    with pytest.raises(BundleError, match="must tell the height, width and channels of `image`"):
        bundle.batch([noise(32, 32, 1)])


def block(folder, language):
    (text,) = re.findall(rf"```{language}\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return text


def test_the_python_client_of_the_readme_runs_on_a_picture_that_the_graph_takes(formed, tmp_path):
    form, folder, card = formed
    client = block(folder, "python")
    (example,) = re.findall(r'"(examples/.*?)"', client)
    path = folder / example
    if form.any_size:
        Image.open(folder / example).resize((50, 40)).save(tmp_path / "other.png")
        path = tmp_path / "other.png"
        client = client.replace(example, path.as_posix())
    done = subprocess.run([sys.executable, "-W", "error", "-I", "-c", client], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    *answers, difference = done.stdout.splitlines()
    best = load_bundle(folder).classify([np.asarray(Image.open(path))[..., None]], top=3)[0]
    assert answers == [f"{entry['label']} {entry['probability']:.4f}" for entry in best]
    assert float(difference.removeprefix("difference to Keras ")) <= 1e-5


def test_the_readme_tells_the_contract_in_words(formed):
    form, folder, card = formed
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert ("a picture of any height and width goes in after these steps. In the graph" in text) == form.any_size
    assert ("| onnxruntime, pictures of 24 x 40 | 7 | 256 |" in text) == form.any_size
    assert ("## Pictures of other sizes" in text) == form.any_size
    assert ("of the colour [78]" in text) == form.letterbox
    assert ("uint8 [batch, C, H, W]" in text) == form.nchw
    assert ("`model.onnx.data`: the weights of model.onnx" in text) == form.external_data


STUB = """
const shown = [];
const readFileSync = () => null;
const PNG = { sync: { read: () => ({ data: Uint8Array.from(GIVEN), height: HEIGHT, width: WIDTH }) } };
const ort = { Tensor: class { constructor(type, data, dims) { shown.push({ type, data: [...data], dims }); } } };
LINES
console.log(JSON.stringify(shown));
"""


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("form", [Form(), *FORMS.values()], ids=str)
def test_the_javascript_client_makes_the_same_array_as_the_python_one(form, channels):
    try:
        node = npm.node()
    except npm.Unavailable as why:
        pytest.skip(str(why))
    spec = SimpleNamespace(prepare=(), image_shape=(3, 5, channels), mean=(0.5,) * channels)
    sides = ["height", "width"] if form.any_size else [3, 5]
    shape = ["batch", channels, *sides] if form.nchw else ["batch", *sides, channels]
    entry = {"name": "image", "shape": shape, "color": "grey" if channels == 1 else "rgb", **form.told(spec)}
    height, width = (4, 7) if form.any_size else (3, 5)
    picture = Image.fromarray(noise(height, width, 3)).convert("L" if channels == 1 else "RGB")
    wanted = eval(contract_words.array_of("picture", entry), {"np": np, "picture": picture})
    rgba = np.asarray(picture.convert("RGBA")).ravel().tolist()
    lines = contract_words.javascript_image(entry, "picture.png")
    assert lines in readme.javascript_client(entry, "picture.png")
    code = STUB.replace("GIVEN", str(rgba)).replace("HEIGHT", str(height)).replace("WIDTH", str(width)).replace("LINES", lines)
    done = subprocess.run([str(node), "-e", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["type"] == "uint8" and found["dims"] == list(wanted.shape) and found["data"] == wanted.ravel().tolist()


def test_the_pages_say_what_it_looks_at(formed):
    form, _, card = formed
    said = facts.looked_at(card)
    assert said == ("pictures of any size, 32 x 32 pixels inside, grey" if form.any_size else "32 x 32 pixels, grey")
    assert len(page.picture_address(noise(1500, 1500, 1))) < 2_000_000


def test_the_program_for_tritonclient_prepares_the_graphs_own_array(formed, tmp_path):
    form, folder, _ = formed
    bundle = load_bundle(folder)
    path = tmp_path / "drawing.png"
    Image.fromarray(np.where(noise(60, 40) > 200, 255, 0).astype(np.uint8)).save(path)
    call = calls.Call("http://127.0.0.1:1", bundle, str(path))
    program = calls.triton(call)
    names = {"np": np, **vars(__import__("apps.runtime", fromlist=["prepare"]))}
    exec(calls.prepared(call), names)
    np.testing.assert_array_equal(names["picture"][np.newaxis], bundle.batch([names["open_picture"](path, "grey")]))
    assert "[1, *picture.shape]" in program


def test_weights_lie_beside_the_graph_and_are_checked(formed, tmp_path):
    form, folder, card = formed
    graph = card["graphs"]["model.onnx"]
    assert ((folder / "model.onnx.data").exists(), graph.get("external_data")) == (
        (True, "model.onnx.data") if form.external_data else (False, None)
    )
    if form.external_data:
        assert card["sizes"]["model.onnx.data"] > 240_000 > 10_000 > card["sizes"]["model.onnx"]
        assert facts.megabytes(card) == "0.3 MB"
        assert card["files"]["model.onnx.data"] and (folder / "model.onnx.data").stat().st_mode & 0o777 == 0o644


def test_a_form_of_pictures_is_refused_where_there_are_none():
    rule = "--dynamic-size and --nchw must be of a network that looks at pictures. Received: a run of regression"
    with pytest.raises(ExportRefused, match=rule):
        Form(dynamic_size=True, nchw=True).check(Regression(), SimpleNamespace())
    Form(external_data=True).check(Regression(), SimpleNamespace())


def test_a_square_crop_before_a_network_that_is_none_is_refused():
    spec = SimpleNamespace(prepare=({"op": "center_crop"},), image_shape=(12, 8, 3), mean=(0.5,) * 3)
    with pytest.raises(ExportRefused, match="crop is a square, so the network must be one .* Received: 12 x 8"):
        Form(dynamic_size=True).check(Classification(), spec)
    Form(letterbox=True).check(Classification(), spec)


def test_the_flags_reach_the_export_and_every_child(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr("export.__main__.missing_run", lambda *_: None)
    monkeypatch.setattr("export.bundle.export_recipe_run", lambda *given, **options: seen.append(options["form"]) or pytest.fail("no"))
    words = ["--letterbox", "--nchw", "--external-data", "--opset", "20", "--quiet", "--run-dir", str(tmp_path)]
    with pytest.raises(pytest.fail.Exception):
        main(["one", *words])
    assert seen == [Form(letterbox=True, nchw=True, external_data=True)]
    monkeypatch.setattr("subprocess.run", lambda command: seen.append(command) or SimpleNamespace(returncode=0))
    assert main(["one", "two", *words]) == 0
    for name, command in zip(("one", "two"), seen[1:], strict=True):
        assert command[1:4] == ["-m", "export", name] and command[command.index("--opset") + 1] == "20"
        assert {f"--{flag}" for flag in FLAGS} & set(command) == {"--quiet", "--letterbox", "--nchw", "--external-data"}


def test_verify_finds_the_bundle_whole(formed):
    assert verify_bundle(formed[1]) == formed[2]


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    """(folder, card) of a captioner that takes pictures of any size, channels first, with its whole loop."""
    from kerasdl.data.splits import Splits
    from kerasdl.tasks import Captioning
    from tests.export import test_caption_bundle as patterns

    keras.utils.set_random_seed(0)
    task = Captioning("recurrent", units=12, width=8, beam=1)
    image = keras.Input((12, 8, 3), name="image")
    model = task.build(keras.Model(image, keras.layers.Conv2D(8, 4, 4, activation="relu")(image), name="tiny"), patterns.SPEC)
    rng = np.random.default_rng(1)
    model.set_weights([rng.normal(size=weight.shape) for weight in model.get_weights()])
    (train, _), (valid, said), (test, told) = patterns.part(16, 1), patterns.part(16, 2), patterns.part(256, 3)
    card = {"name": "patterns", "source": "drawn", "licence": "CC0", "synthetic": True, "vocabulary": patterns.WORDS.to_json()}
    splits = Splits(train, valid, test, patterns.SPEC, card, references={"valid": said, "test": told})
    options = {"spec": patterns.SPEC, "splits": splits, "whole_loop": True, "form": Form(dynamic_size=True, nchw=True)}
    folder = export_run(model, task, test.arrays(), tmp_path_factory.mktemp("captioner"), name="any-captioner", **options)
    return folder, json.loads((folder / "card.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_captioner_takes_pictures_of_any_size_too(captioner):
    folder, card = captioner
    entry = card["graphs"]["encoder.onnx"]["inputs"][0]
    assert entry["shape"] == ["batch", 3, "height", "width"] and entry["resize"]["size"] == [12, 8] and entry["layout"] == "NCHW"
    bundle = load_bundle(folder)
    pictures = [Image.fromarray(noise(*size, 3)) for size in ((12, 8), (30, 30), (5, 40))]
    together = [said.text for said in caption(bundle, pictures)]
    assert together == [caption(bundle, [picture])[0].text for picture in pictures]
    sizes = {tuple(row["size"]) for row in card["parity"] if "size" in row}
    assert sizes == {(24, 16), (9, 10)} and len(card[contracts.SECTION]["scores"]) == 2


@pytest.mark.slow
def test_the_client_of_a_captioner_speaks_of_a_picture_of_another_size(captioner, tmp_path):
    folder, _ = captioner
    client = block(folder, "python")
    (example,) = re.findall(r'"(examples/.*?)"', client)
    Image.open(folder / example).resize((31, 17)).save(tmp_path / "other.png")
    client = client.replace(example, (tmp_path / "other.png").as_posix())
    done = subprocess.run([sys.executable, "-W", "error", "-I", "-c", client], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == caption(load_bundle(folder), [Image.open(tmp_path / "other.png")], Choice(beam=1))[0].text
