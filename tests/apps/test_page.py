"""The page, in a real headless Chromium and through gradio_client: a picture in, a label out, and no other host asked."""

import csv
import io
import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SECONDS = 1000
PATIENCE = 60 * SECONDS  # the two cores may be busy training


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        with playwright.chromium.launch(executable_path=chromium, args=FLAGS) as running:
            yield running


@pytest.fixture(scope="module")
def page(browser, server):
    yield from watched_page(browser, 1280, 900)


@pytest.fixture(scope="module")
def phone(browser, server):
    yield from watched_page(browser, 390, 844)


def watched_page(browser, width: int, height: int):
    """A page for several tests; afterwards it must have asked this host only and have run without an error."""
    context = browser.new_context(viewport={"width": width, "height": height}, service_workers="block")
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    hosts, errors = set(), []
    page.on("request", lambda one: hosts.add(urlsplit(one.url).hostname))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if "Content Security Policy" in line.text else None)
    yield page
    context.close()
    assert hosts <= {"127.0.0.1", None, ""}, hosts  # None: data: and blob: addresses
    assert not errors


def open_classification(page, server, model: str) -> None:
    page.goto(f"{server.url}/classify?model={model}")
    page.wait_for_selector("#trust .figure")
    assert page.locator("#model input").input_value() == model


def wait_for_answer(page, label: str) -> None:
    page.wait_for_function(
        "label => document.querySelector('#answer [data-testid=label-output-value]')?.textContent.trim() === label", arg=label
    )


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.fixture
def red_file(tmp_path) -> Path:
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.png")
    return tmp_path / "red.png"


@pytest.mark.browser
def test_the_home_page_lists_the_bundles_with_their_accuracy(page, server):
    page.goto(server.url)
    page.wait_for_selector(".card")
    assert page.locator(".card h2").all_inner_texts() == ["colors-templates", "digits-templates"]
    text = page.locator(".card").first.inner_text()
    assert "97.5\u00a0%" in text and "200 test pictures" in text and "not real" in text
    assert server.url in page.locator("pre").inner_text()
    page.locator(".card a").nth(1).click()
    page.wait_for_selector("#trust .figure")
    assert page.locator("#model input").input_value() == "digits-templates"


@pytest.mark.browser
def test_an_uploaded_picture_gets_its_label_beside_the_measured_accuracy(page, server, red_file):
    open_classification(page, server, "colors-templates")
    page.set_input_files("#picture input[type=file]", red_file)
    wait_for_answer(page, "red")
    assert page.locator("#answer dt, #answer .label").count() >= 5
    page.wait_for_selector("#seen img")
    trust = page.locator("#trust").inner_text()
    assert all(word in trust for word in ("97.5\u00a0%", "94.3\u00a0%", "200 test pictures", "CC0", "Knows only its templates."))


@pytest.mark.browser
def test_an_example_is_one_click(page, server):
    open_classification(page, server, "colors-templates")
    page.locator("#examples button.thumbnail-item").nth(1).click()
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
    page.wait_for_function("!document.querySelector('#answer [data-testid=label-output-value]')?.textContent.trim()")


@pytest.mark.browser
def test_a_drawn_digit_gets_its_label(page, server):
    open_classification(page, server, "digits-templates")
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


@pytest.fixture(scope="module")
def client(server):
    from gradio_client import Client

    running = Client(server.url, verbose=False)
    yield running
    running.close()


@pytest.mark.filterwarnings("default")
def test_gradio_client_gets_labels_with_probabilities(client, red_file):
    from gradio_client import handle_file

    answer, seen = client.predict("colors-templates", handle_file(str(red_file)), api_name="/classify")
    assert answer["label"] == "red" and len(answer["confidences"]) == 5
    with Image.open(seen) as picture:
        assert picture.size == (256, 256)


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

    table, file = client.predict("colors-templates", [handle_file(str(red_file))], api_name="/classify_files")
    assert table["data"][0][:2] == ["red.png", "red"]
    rows = list(csv.reader(io.StringIO(Path(file["value"] if isinstance(file, dict) else file).read_text())))
    assert rows[1][:2] == ["red.png", "red"]


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
