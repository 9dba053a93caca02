"""`python -m export deploy --web`: the page prepares pictures and answers as apps.runtime does, asks nobody else, and can be read by all.

Not marked `browser`: the page needs onnxruntime-web besides, and where npm cannot fetch it these tests are left out.
"""

import base64
import functools
import io
import json
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from apps.runtime import Choice, Regressor, caption, embed, load_bundle, open_picture, prepare
from export import npm
from tests.apps.browsing import FLAGS, PATIENCE, findings, watched
from tests.export.deploying import BUNDLES, deploy_shipped

SHIPPED = {
    "classification": "digits-lenet5",
    "captioning": "scenes-captioner",
    "matching": "pedestrians-reid",
    "regression": "california-mlp",
}
RULES = {  # the bundles' own, and what they leave out
    "digits-lenet5": None,
    "mnist-lenet5": None,
    "cifar10-resnet20": None,
    "pedestrians-reid": None,
    "bicubic": ((40, 56, 3), [{"op": "resize", "size": [40, 56], "method": "bicubic"}]),
    "nearest": ((40, 56, 1), [{"op": "resize", "size": [40, 56], "method": "nearest"}]),
    "enlarged": ((300, 700, 3), [{"op": "center_crop"}, {"op": "resize", "size": [300, 700], "method": "bicubic"}]),
}
READ = """async ([picture, rules]) => {
  const { open, prepare } = await import(new URL("pictures.js", document.baseURI));
  const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
  const opened = await open(new Blob([bytes]));
  return rules.map(([shape, steps]) => {
    const { data } = prepare(opened, { shape, steps });
    let text = "";
    for (const byte of data) text += String.fromCharCode(byte);
    return btoa(text);
  });
}"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *words: Any) -> None:
        pass


@pytest.fixture(scope="module")
def package() -> Path:
    try:
        return npm.package("onnxruntime-web")
    except npm.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def sites(package, tmp_path_factory) -> Path:
    """A folder sites/TASK of each task, made once."""
    folder = tmp_path_factory.mktemp("sites")
    for task, name in SHIPPED.items():
        deploy_shipped(name, web=folder / task)
    return folder


@pytest.fixture(scope="module")
def address(sites) -> Iterator[str]:
    """Any file server: no headers of ours, and the pages below a path."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(sites))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=chromium, args=FLAGS) as running:
            yield running


@pytest.fixture
def page_of(browser, address) -> Iterator[Callable[..., Any]]:
    """page_of(task, width, scheme): the page when it is ready; it must have asked this host only, without an error."""
    with watched(browser) as opened:

        def page(task: str, width: int = 1280, scheme: str = "light") -> Any:
            shown = opened(f"{address}/{task}/", width, scheme)
            shown.wait_for_selector("body[data-ready]")
            assert shown.get_attribute("body", "data-ready") == "yes", shown.inner_text("#ask")
            return shown

        yield page


def photo(name: str = "china.jpg") -> Path:
    """A real photo of 640 x 427 pixels that scikit-learn brings along."""
    import sklearn.datasets

    return Path(str(sklearn.datasets.__file__)).parent / "images" / name


def encoded(picture: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def drawing(paper: int = 240, ink: int = 20) -> Image.Image:
    sheet = Image.new("L", (211, 149), paper)
    ImageDraw.Draw(sheet).line([(60, 30), (121, 33), (75, 118)], fill=ink, width=11, joint="curve")
    return sheet


def pictures() -> dict[str, bytes]:
    """Sizes that divide nothing, and what cameras and drawing programs make."""
    china, flower = Image.open(photo()), Image.open(photo("flower.jpg"))
    turned = Image.Exif()
    turned[0x0112] = 6
    clear = flower.crop((100, 50, 301, 187)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    return {
        "a photo": photo().read_bytes(),
        "a part of a photo": encoded(china.crop((13, 7, 350, 420)), "PNG"),
        "a photo held upright": encoded(flower.crop((0, 0, 333, 217)), "JPEG", quality=88, exif=turned),
        "a small picture": encoded(flower.resize((17, 23)), "PNG"),
        "one pixel": encoded(Image.new("RGB", (1, 1), (10, 200, 30)), "PNG"),
        "grey": encoded(china.convert("L").crop((0, 0, 101, 399)), "PNG"),
        "few colours": encoded(flower.crop((200, 100, 377, 251)).quantize(32), "GIF"),
        "half transparent": encoded(clear, "PNG"),
        "a drawing": encoded(drawing(), "PNG"),
        "a bright drawing": encoded(drawing(30, 250), "BMP"),
        "paper alone": encoded(Image.new("L", (50, 31), 200), "PNG"),
    }


def rules() -> list[tuple[tuple[int, int, int], list[dict[str, Any]]]]:
    """(shape, steps) of each rule."""
    found = []
    for name, rule in RULES.items():
        if rule is None:
            card = json.loads((BUNDLES / name / "card.json").read_text(encoding="utf-8"))
            entry = card["graphs"]["model.onnx"]["inputs"][0]
            rule = (tuple(entry["shape"][1:]), entry["prepare"])
        found.append(rule)
    return found


@pytest.mark.slow
def test_pictures_become_the_same_arrays_as_in_python(page_of):
    page, wanted_by = page_of("classification"), rules()
    exact = total = 0
    for name, data in pictures().items():
        found = page.evaluate(READ, [base64.b64encode(data).decode(), wanted_by])
        for (shape, steps), text in zip(wanted_by, found, strict=True):
            picture = open_picture(data, "grey" if shape[2] == 1 else "rgb")
            wanted, array = prepare(picture, shape, steps), np.frombuffer(base64.b64decode(text), np.uint8).reshape(shape)
            difference = np.abs(array.astype(int) - wanted)
            assert difference.max() <= 1, (name, steps, difference.max())
            assert name == "half transparent" or not difference.any(), (name, steps, difference.max(), difference.mean())
            exact, total = exact + (not difference.any()), total + 1
    assert exact >= total - len(wanted_by)


def test_other_input_contracts_reach_the_graph(page_of):
    """Channels first, and a graph that takes any size: how the card tells of them, and what the page makes of a picture."""
    image = {"name": "image", "shape": ["batch", 3, "height", "width"], "layout": "NCHW", "prepare": [], "resize": {"size": [8, 6]}}
    found = page_of("classification").evaluate(
        """async (entry) => {
          const { batch, imageInput } = await import(new URL("runtime.js", document.baseURI));
          const { prepare } = await import(new URL("pictures.js", document.baseURI));
          const input = imageInput({ graphs: { "model.onnx": { inputs: [entry] } } });
          const picture = { width: 2, height: 3, channels: 3, data: Uint8Array.from({ length: 18 }, (_, place) => place) };
          const { data, dims } = batch(prepare(picture, input), input);
          return [input.shape, input.anySize, dims, [...data]];
        }""",
        image,
    )
    planes = np.arange(18).reshape(3, 2, 3).transpose(2, 0, 1)
    assert found == [[8, 6, 3], True, [1, 3, 3, 2], planes.reshape(-1).tolist()]


def upload(page: Any, data: bytes, place: int = 0) -> None:
    page.locator("input[type=file]").nth(place).set_input_files({"name": "some.png", "mimeType": "image/png", "buffer": data})


def test_a_classifier_answers_as_in_python(page_of):
    page, bundle = page_of("classification"), load_bundle(BUNDLES / SHIPPED["classification"])
    for name in ("a drawing", "a photo", "a bright drawing"):
        data = pictures()[name]
        upload(page, data)
        wanted = bundle.classify([open_picture(data, bundle.color)])[0]
        page.wait_for_function("(label) => document.querySelector('.said .label')?.textContent === label", arg=wanted[0]["label"])
        rows = [tuple(row.splitlines()) for row in page.locator(".bars li").all_inner_texts()]
        assert [label for label, _ in rows] == [one["label"] for one in wanted]
        shares = [float(share.strip("<% \u00a0")) / 100 for _, share in rows]
        np.testing.assert_allclose(shares, [one["probability"] for one in wanted], rtol=6e-3, atol=1e-5)
    assert bundle.card["limits"] in page.inner_text("#trust") and "sha256 checked" in page.inner_text("#trust")
    upload(page, b"no picture")
    page.wait_for_selector("#answer .warned")
    assert "not a picture" in page.inner_text("#answer")


@pytest.mark.slow
def test_a_captioner_says_and_looks_as_in_python(page_of):
    page, bundle = page_of("captioning"), load_bundle(BUNDLES / SHIPPED["captioning"])
    examples = sorted((bundle.path / "examples").glob("*.png"))[:6]
    found = page.evaluate(
        """async (paths) => {
          const { load } = await import(new URL("runtime.js", document.baseURI));
          const { caption } = await import(new URL("captioning.js", document.baseURI));
          const { open, prepare } = await import(new URL("pictures.js", document.baseURI));
          const bundle = await load(), said = [];
          for (const path of paths) {
            const picture = prepare(await open(new Blob([await bundle.file(path)])), bundle.image);
            for (const width of [1, 3]) {
              const { text, score, looks } = await caption(bundle, picture, width);
              said.push({ text, score, looks: looks.map((look) => [...look]) });
            }
          }
          return said;
        }""",
        [f"examples/{path.name}" for path in examples],
    )
    opened = [open_picture(path, bundle.color) for path in examples]
    told = {width: caption(bundle, opened, Choice(width)) for width in (1, 3)}
    for number, said in enumerate(found):
        wanted = told[(1, 3)[number % 2]][number // 2]
        assert said["text"] == wanted.text
        assert said["score"] == pytest.approx(wanted.score, abs=1e-4)
        np.testing.assert_allclose(np.array(said["looks"]), wanted.attention.mean(1).reshape(len(wanted.words), -1), atol=1e-4)


def test_the_words_of_a_caption_show_where_it_looked(page_of):
    page, bundle = page_of("captioning"), load_bundle(BUNDLES / SHIPPED["captioning"])
    example = sorted((bundle.path / "examples").glob("*.png"))[2]
    page.click(f"[data-example='examples/{example.name}']")
    page.wait_for_selector(".sentence")
    for way, width in (("beam 3", 3), ("greedy", 1)):
        page.locator("label", has_text=way).locator("input").check()
        wanted = caption(bundle, [open_picture(example, bundle.color)], Choice(width))[0].text
        page.wait_for_function("(text) => document.querySelector('.sentence')?.textContent === text", arg=wanted)
    covered = "() => [...document.querySelector('.cloth').getContext('2d').getImageData(0, 0, 8, 8).data].some((level) => level > 0)"
    assert not page.evaluate(covered)
    page.locator(".sentence button").nth(1).click()
    assert page.evaluate(covered) and page.input_value("#word") == "2"


def test_people_are_matched_as_in_python(page_of):
    page, bundle = page_of("matching"), load_bundle(BUNDLES / SHIPPED["matching"])
    first, second, stranger = (
        bundle.path / "examples" / name for name in ("id701-cam4-0.png", "id701-cam4-1347.png", "stranger-id703-cam2-9.png")
    )
    vectors = embed(bundle, [open_picture(path, bundle.color) for path in (first, second, stranger)]).vectors
    upload(page, first.read_bytes())
    page.wait_for_selector(".ranks li")
    assert page.locator(".ranks li b").first.inner_text() == "0701"
    shown = [float(value) for value in page.locator(".ranks data").evaluate_all("(all) => all.map((one) => one.value)")]
    assert shown == sorted(shown, reverse=True) and len(shown) == 6
    best = page.locator(".ranks img").first.get_attribute("src")
    kept = embed(bundle, [open_picture(page.request.get(f"{page.url}{best}").body(), bundle.color)]).vectors[0]
    assert shown[0] == pytest.approx(float(kept @ vectors[0]), abs=1e-5)
    page.locator("input[value=compare]").check()
    least = [1 - point["threshold"] for point in bundle.card["reid"]["verification"]["thresholds"]]
    for path, vector in ((second, vectors[1]), (stranger, vectors[2])):
        upload(page, path.read_bytes(), 1)
        wanted = float(vectors[0] @ vector)
        page.wait_for_function("(told) => document.querySelector('.similarity')?.textContent === told", arg=f"{wanted:.3f}")
        for place, threshold in enumerate(sorted(least, reverse=True)):
            page.locator(f"input[name=level][value='{place}']").check()
            told = "match" if wanted >= threshold else "no match"
            assert page.inner_text(".said .label") == told


def test_a_row_of_numbers_is_answered_as_in_python(page_of):
    page, regressor = page_of("regression"), Regressor(load_bundle(BUNDLES / SHIPPED["regression"]))
    page.wait_for_selector("[data-value]")
    row = regressor.mapping(regressor.means)
    row |= {"longitude": -118.5, "median_income": 90, "ocean_proximity": "NEAR BAY"}
    page.select_option("select", "NEAR BAY")
    for field in page.locator(".field").all():
        name = field.locator("label").evaluate("(label) => label.firstChild.textContent")
        if name != "ocean_proximity":
            field.locator("input").fill(str(row[name]))
    wanted = regressor.predict(regressor.rows([row])).values[0, 0]
    found = "() => Number(document.querySelector('[data-value]')?.dataset.value)"
    page.wait_for_function(f"(wanted) => Math.abs(({found})() / wanted - 1) < 1e-5", arg=float(wanted))
    assert "median_income lies outside" in page.inner_text("#answer")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "width", "scheme"), [("classification", 390, "light"), ("captioning", 1280, "dark"), ("matching", 390, "dark")]
)
def test_axe_finds_nothing_grave_and_nothing_is_cut_off(page_of, task, width, scheme):
    page = page_of(task, width, scheme)
    page.locator("[data-example]").first.click()
    page.wait_for_selector("#answer :is(.bars, .sentence, .ranks)")
    assert findings(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_that_cannot_check_says_so(browser, address):
    """As over http from another machine: no crypto.subtle there."""
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.add_init_script("Object.defineProperty(crypto, 'subtle', { value: undefined })")
    page.goto(f"{address}/classification/")
    page.wait_for_selector("body[data-ready=yes]")
    assert "not checked" in page.inner_text("#trust")
    page.close()


def test_a_changed_graph_is_not_used(browser, sites, address):
    graph = sites / "classification" / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[:-1] + b"x")
    try:
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(f"{address}/classification/")
        page.wait_for_selector("body[data-ready=no]")
        assert "sha256" in page.inner_text("#ask") and "model.onnx" in page.inner_text("#ask")
        page.close()
    finally:
        graph.write_bytes(whole)
