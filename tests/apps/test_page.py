"""The page, in a real headless Chromium and through gradio_client: a picture in, a label out, and no other host asked."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.apps.browsing import PATIENCE, watched

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 1000


@pytest.fixture(scope="module")
def page(browser, server):
    with watched(browser) as opened:
        yield opened(reduced_motion="no-preference", service_workers="block")


@pytest.fixture(scope="module")
def phone(browser, server):
    with watched(browser) as opened:
        yield opened(width=390, height=844, reduced_motion="no-preference", service_workers="block")


def open_classification(page, server, model: str) -> None:
    page.goto(f"{server.url}/classify?model={model}")
    page.wait_for_selector("#trust .figure")
    assert page.locator("#model input").input_value() == model


def wait_for_answer(page, label: str) -> None:
    page.wait_for_function(
        "label => document.querySelector('#answer .said .label')?.textContent === label && "
        "document.querySelector('#program')?.textContent.includes(`answer above: ${label},`)",
        arg=label,
    )


def draw_seven(page) -> None:
    page.get_by_role("tab", name="Draw").click()
    page.wait_for_selector("#sketch button[aria-label=Brush].highlight")
    page.locator("#sketch canvas").first.scroll_into_view_if_needed()
    box = page.locator("#sketch canvas").first.bounding_box()
    middle, top, side = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2 - 80, 60
    page.mouse.move(middle - side, top)
    page.mouse.down()
    page.mouse.move(middle + side, top, steps=6)
    page.mouse.move(middle - side / 2, top + 3 * side, steps=8)
    page.mouse.up()


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.fixture
def red_file(tmp_path) -> Path:
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


@pytest.mark.browser
def test_the_home_page_lists_the_bundles_with_their_accuracy(page, server):
    page.goto(server.url)
    page.wait_for_selector("#cards .card")
    page.wait_for_selector("#program details")
    assert page.locator("#cards .card h2").all_inner_texts() == ["colors-templates", "digits-templates"]
    text = page.locator("#cards .card").first.inner_text()
    assert "97.5\u00a0%" in text and "200 test pictures" in text and "not real" in text
    assert server.url in page.locator("#program details[open] pre").inner_text()
    page.locator("#cards .card a").nth(1).click()
    page.wait_for_selector("#trust .figure")
    assert page.locator("#model input").input_value() == "digits-templates"


@pytest.mark.browser
def test_an_uploaded_picture_gets_its_label_beside_the_measured_accuracy(page, server, red_file):
    open_classification(page, server, "colors-templates")
    page.set_input_files("#picture input[type=file]", red_file)
    wait_for_answer(page, "red")
    assert page.locator("#answer .bars li").count() == 5
    assert page.locator("#answer figure img").evaluate("image => [image.naturalWidth, image.naturalHeight]") == [32, 32]
    trust = page.locator("#trust").inner_text()
    assert all(word in trust for word in ("97.5\u00a0%", "94.3\u00a0%", "200 test pictures", "CC0", "Knows only its templates."))


@pytest.mark.browser
def test_an_example_is_one_click(page, server):
    open_classification(page, server, "colors-templates")
    page.locator("#examples button").nth(1).click()
    wait_for_answer(page, "blue")


@pytest.mark.browser
def test_a_bad_file_gets_a_sentence_and_no_stale_answer(page, server, red_file, tmp_path):
    open_classification(page, server, "colors-templates")
    page.set_input_files("#picture input[type=file]", red_file)
    wait_for_answer(page, "red")
    (tmp_path / "text.png").write_text("not a picture")
    page.get_by_label("Remove Image").or_(page.get_by_label("Clear")).first.click()
    page.set_input_files("#picture input[type=file]", tmp_path / "text.png")
    page.wait_for_selector(".toast-body")
    assert "not a picture in one of the accepted formats" in page.locator(".toast-body").inner_text()
    page.wait_for_function("document.querySelector('#answer')?.textContent.includes('Show it a picture')")


@pytest.mark.browser
def test_a_drawn_digit_gets_its_label(page, server):
    open_classification(page, server, "digits-templates")
    draw_seven(page)
    wait_for_answer(page, "7")


@pytest.mark.browser
def test_drawing_is_offered_for_grey_networks_only(page, server):
    open_classification(page, server, "colors-templates")
    page.get_by_role("tab", name="Draw").wait_for(state="hidden")


@pytest.mark.browser
def test_a_folder_becomes_a_table_and_a_csv(page, server, red_file, tmp_path):
    open_classification(page, server, "colors-templates")
    page.get_by_role("tab", name="Folder to CSV").click()
    page.wait_for_selector("#start")
    (tmp_path / "text.png").write_text("not a picture")
    page.set_input_files("#files input[type=file]", [red_file, tmp_path / "text.png"])
    page.wait_for_function("document.querySelectorAll('#files .file-preview tr').length === 2")
    page.click("#start")
    page.wait_for_selector("#csv:visible")
    with page.expect_download() as download:
        page.click("#csv")
    rows = list(csv.DictReader(Path(download.value.path()).read_text().splitlines()))
    assert [(row["file"], row["label"]) for row in rows] == [("red.png", "red"), ("text.png", "")]
    assert "not a picture" in rows[1]["problem"]
    assert "1 of 2 pictures classified. 1 could not be read" in page.locator("#answer").inner_text()
    assert page.locator("#table tbody tr").count() == 2
    assert "for picture in folder/*" in page.locator("#program details[open] code").inner_text()


@pytest.mark.browser
def test_everything_fits_a_phone(phone, server, red_file):
    phone.goto(server.url)
    phone.wait_for_selector(".card")
    assert fits(phone)
    open_classification(phone, server, "colors-templates")
    phone.set_input_files("#picture input[type=file]", red_file)
    wait_for_answer(phone, "red")
    assert fits(phone)
    phone.get_by_role("tab", name="Folder to CSV").click()
    phone.wait_for_selector("#start")
    assert fits(phone)


@pytest.mark.browser
def test_a_bundle_that_comes_later_is_on_the_pages_when_they_are_opened_again(browser, own_server, make_bundle, tmp_path):
    (tmp_path / "bundles").mkdir()
    make_bundle(tmp_path / "bundles", "digits")
    late = own_server(tmp_path / "bundles", tmp_path / "sockets.log")
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(late.url)
    page.wait_for_selector("#cards .card")
    assert page.locator("#cards .card h2").all_inner_texts() == ["digits-templates"]
    make_bundle(tmp_path / "bundles", "colors")
    assert httpx.post(f"{late.url}/v2/repository/reload", timeout=60).status_code == 200
    page.reload()
    page.wait_for_selector("#cards .card >> nth=1")
    page.wait_for_function("[...document.querySelectorAll('#cards img')].every(image => image.naturalWidth === 32)")
    open_classification(page, late, "colors-templates")
    page.locator("#examples button", has_text="blue").click()
    wait_for_answer(page, "blue")
    page.close()


@pytest.fixture(scope="module")
def client(server):
    from gradio_client import Client

    running = Client(server.url, verbose=False)
    yield running
    running.close()


@pytest.mark.filterwarnings("default")
def test_gradio_client_gets_labels_with_probabilities(client, red_file):
    from gradio_client import handle_file

    answer, programs = client.predict("colors-templates", handle_file(str(red_file)), api_name="/classify")
    assert "red" in answer and "From a program" in programs


@pytest.mark.filterwarnings("default")
def test_gradio_client_gets_sentences(client, tmp_path):
    from gradio_client import handle_file
    from gradio_client.exceptions import AppError

    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(AppError, match="not a picture in one of the accepted formats"):
        client.predict("colors-templates", handle_file(str(tmp_path / "text.png")), api_name="/classify")


@pytest.mark.filterwarnings("default")
def test_gradio_client_gets_a_folder_as_csv(client, red_file):
    from gradio_client import handle_file

    table, file, *_ = client.predict("colors-templates", [handle_file(str(red_file))], api_name="/classify_files")
    assert "<td>red.png</td><td>red</td>" in table
    rows = list(csv.reader(io.StringIO(Path(file["value"] if isinstance(file, dict) else file).read_text())))
    assert rows[1][:2] == ["red.png", "red"]


def programs(page) -> dict[str, str]:
    """The programs as the page shows them, by what runs them."""
    return {fold.locator("summary").inner_text(): fold.locator("code").text_content() for fold in page.locator("#program details").all()}


def said(page) -> tuple[str, float]:
    """The page's own answer."""
    return page.locator("#answer .said .label").inner_text(), float(page.locator("#answer .said data").get_attribute("value"))


def run(name: str, program: str, folder: Path) -> tuple[str, float]:
    """What a program of the page prints, run in a folder where the visitor's picture lies."""
    command = ["bash", "-ec", program] if name == "curl" else [sys.executable, "-c", program]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    if name == "curl":
        best = json.loads(ran.stdout)["predictions"][0]
        return best["label"], best["probability"]
    label, probability = ran.stdout.split()
    return label, float(probability)


def assert_all_repeat(page, folder: Path) -> None:
    found = programs(page)
    assert list(found) == ["curl", "Python, httpx", "Python, tritonclient"]
    label, probability = said(page)
    for name, program in found.items():
        if name == "curl" and shutil.which("curl") is None:
            continue
        assert run(name, program, folder) == (label, pytest.approx(probability, abs=1e-6)), name


@pytest.mark.browser
def test_the_programs_on_the_page_repeat_the_answer_to_an_example(page, server, tmp_path):
    open_classification(page, server, "digits-templates")
    page.locator("#examples button", has_text="7").click()
    wait_for_answer(page, "7")
    assert_all_repeat(page, tmp_path)


@pytest.mark.browser
def test_the_programs_on_the_page_repeat_the_answer_to_an_upload(page, server, draw, tmp_path):
    """A name with everything that a shell or curl takes for its own, and a picture that must be turned, cut and made smaller."""
    file = tmp_path / 'my 3; it\'s, "so" $HOME.png'
    draw(3).save(file)
    open_classification(page, server, "digits-templates")
    page.set_input_files("#picture input[type=file]", file)
    wait_for_answer(page, "3")
    assert_all_repeat(page, tmp_path)


@pytest.mark.browser
def test_the_programs_on_the_page_repeat_the_answer_to_a_drawing_that_was_saved(page, server, tmp_path):
    open_classification(page, server, "digits-templates")
    draw_seven(page)
    wait_for_answer(page, "7")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save the drawing").click()
    download.value.save_as(tmp_path / download.value.suggested_filename)
    assert_all_repeat(page, tmp_path)


@pytest.mark.browser
def test_copy_puts_the_program_on_the_clipboard(page, server):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_classification(page, server, "colors-templates")
    page.locator("#program details[open] .copy").click()
    page.locator("#program .copy", has_text="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == programs(page)["curl"]


def call(api: httpx.Client, picture: dict) -> str:
    """The events of one call to the page's endpoint, as text."""
    number = api.post("/gradio_api/call/classify", json={"data": ["colors-templates", picture]}).json()["event_id"]
    return api.get(f"/gradio_api/call/classify/{number}").text


META = {"_type": "gradio.FileData"}


@pytest.mark.parametrize(
    ("picture", "sentence"),
    [
        ({"path": "http://example.com/a.png", "meta": META}, "Send the picture itself, not its address."),
        ({"path": None, "url": "data:image/png;base64,###", "meta": META}, "must be base64"),
        ({"path": None, "url": "data:image/png;base64,aGVsbG8=", "meta": META}, "not a picture in one of the accepted formats"),
    ],
)
def test_the_page_fetches_nothing_and_refuses_in_a_sentence(api, picture, sentence):
    events = call(api, picture)
    assert "event: error" in events and sentence in events


def test_the_page_reads_no_file_of_the_server(api):
    events = call(api, {"path": "/etc/hostname", "meta": META})
    assert re.search(r"event: error", events) and "confidences" not in events


def test_the_server_contacted_no_other_host(server):
    """Runs last in this file: the audit covers the whole session's server, its start included."""
    assert server.audit.exists()
    assert server.outside() == []
