"""The captioning page in a real headless Chromium: a picture in, a sentence out, and where it looked for every word."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.captioning import cloth, sentence, surety
from apps.runtime import Caption
from tests.apps.browsing import PATIENCE, findings, watched
from tests.apps.halves import captioner, halves, recurrent, transformer

ROOT = Path(__file__).resolve().parents[2]
HALF = """() => { const image = document.querySelector('.looks .cloth.now'), canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  const pen = canvas.getContext('2d'); pen.drawImage(image, 0, 0);
  const thick = (x) => pen.getImageData(x, canvas.height / 2, 1, 1).data[3];
  return [thick(1), thick(canvas.width - 2)]; }"""  # how thick the cloth lies on the left and on the right


@pytest.fixture(scope="module")
def speaker(tmp_path_factory, own_server):
    folder = tmp_path_factory.mktemp("speaking")
    captioner(folder, recurrent(), "halves")
    captioner(folder, transformer(), "halves-transformer", caption={"length": 8, "beam": 2, "grid": [4, 4]})
    return own_server(folder, tmp_path_factory.mktemp("audit") / "sockets.log")


@pytest.fixture
def open_page(browser, speaker):
    """open_page(model, width, scheme) -> the captioning page; in the end it must have asked this host only, without an error."""
    with watched(browser) as opened:

        def of_model(model: str = "halves", width: int = 1280, scheme: str = "light"):
            page = opened(f"{speaker.url}/caption?model={model}", width, scheme)
            page.wait_for_selector("#trust .figure")
            page.wait_for_selector("#examples button")
            return page

        yield of_model


def wait_for_caption(page, text: str) -> None:
    page.wait_for_function("text => document.querySelector('#answer .sentence')?.textContent === text", arg=text)
    page.wait_for_function("text => document.querySelector('#program')?.textContent.includes(`answer above: ${text},`)", arg=text)


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.fixture
def red_blue(tmp_path) -> Path:
    Image.fromarray(halves("red", "blue", 200)).save(tmp_path / "my picture.png")
    return tmp_path / "my picture.png"


@pytest.mark.browser
def test_the_home_page_leads_to_the_captioner(open_page, speaker):
    page = open_page()
    page.goto(speaker.url)
    page.wait_for_selector("#cards .card")
    text = page.locator("#cards .card").first.inner_text()
    assert all(words in text for words in ("91.0\u00a0%", "captions have every fact right", "500 test pictures", "Words", "9: beside, red"))
    assert "/api/caption?model=halves" in page.locator("#program details[open] pre").inner_text()
    page.locator("#cards .card a").first.click()
    page.wait_for_url("**/caption?model=halves")


@pytest.mark.browser
def test_without_a_captioner_the_page_says_so(browser, server):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{server.url}/caption")
    page.wait_for_function("document.querySelector('#scope')?.textContent.includes('No network for this is served yet.')")
    page.close()


@pytest.mark.browser
def test_one_of_24_examples_is_captioned_beside_what_came_with_it(open_page):
    page = open_page()
    assert page.locator("#examples button").count() == 24
    page.locator("#examples button").nth(1).click()
    wait_for_caption(page, "red beside blue")
    assert page.locator("#answer .told li").all_inner_texts() == ["red beside blue", "blue to the right of red"]
    assert page.locator("#answer .bars li").count() == 3
    trust = page.locator("#trust").inner_text()
    assert all(
        words in trust for words in ("91.0\u00a0%", "BLEU-4 0.712", "CIDEr-D 5.250", "up to 6 words", "4 x 4 places", "Knows only halves.")
    )
    honest = page.locator("#honest").inner_text()
    assert "trained on Halves, all drawn by a program, and knows 9 words" in honest and "do not believe it" in honest


@pytest.mark.browser
def test_an_upload_is_captioned_and_every_word_shows_where_it_looked(open_page, red_blue):
    page = open_page()
    page.set_input_files("#picture input[type=file]", red_blue)
    wait_for_caption(page, "red beside blue")
    assert page.locator("#answer .told").count() == 0
    assert page.locator("#answer .cloth.now").count() == 0
    page.locator(".sentence [data-word='1']").hover()
    left, right = page.evaluate(HALF)
    assert left < 20 and right > 180
    page.locator(".sentence [data-word='3']").hover()
    left, right = page.evaluate(HALF)
    assert left > 180 and right < 20
    page.mouse.move(2, 2)
    page.locator("#answer .cloth.now").wait_for(state="detached")


@pytest.mark.browser
def test_the_slider_goes_through_the_words_by_keyboard_and_says_them(open_page):
    page = open_page()
    page.locator("#examples button").nth(1).click()
    wait_for_caption(page, "red beside blue")
    slider = page.locator("#answer input[type=range]")
    assert slider.get_attribute("aria-valuetext") == "the whole picture"
    slider.focus()
    said = []
    for _ in range(4):  # one more than there are words: the end is the end
        page.keyboard.press("ArrowRight")
        said.append(
            (slider.get_attribute("aria-valuetext"), page.locator(".sentence .now").inner_text(), page.locator(".cloth.now").count())
        )
    assert said == [("red", "red", 1), ("beside", "beside", 1), ("blue", "blue", 1), ("blue", "blue", 1)]
    page.locator(".sentence [data-word='2']").click()
    assert slider.input_value() == "2"
    page.mouse.move(2, 2)
    assert page.locator(".sentence .now").inner_text() == "beside"


@pytest.mark.browser
def test_the_beam_is_the_card_s_until_another_is_chosen(open_page):
    page = open_page("halves-transformer")
    page.wait_for_selector("#beam input[value='2']:checked")
    page.locator("#examples button").nth(1).click()
    wait_for_caption(page, "red beside blue")
    assert page.locator("#answer .bars li").count() == 2
    page.locator("#beam label:has(input[value='5'])").click()
    page.wait_for_function("document.querySelectorAll('#answer .bars li').length === 5")
    page.locator("#beam label:has(input[value='1'])").click()
    page.wait_for_function("document.querySelectorAll('#answer .bars li').length === 1")
    assert "At its narrowest choice the next best was" in page.locator("#answer").inner_text()
    assert "beam=1" in page.locator("#program details[open] code").inner_text()


@pytest.mark.browser
def test_a_bad_file_gets_a_sentence_and_no_stale_answer(open_page, tmp_path):
    page = open_page()
    page.locator("#examples button").nth(1).click()
    wait_for_caption(page, "red beside blue")
    (tmp_path / "text.png").write_text("not a picture")
    page.get_by_label("Remove Image").or_(page.get_by_label("Clear")).first.click()
    page.set_input_files("#picture input[type=file]", tmp_path / "text.png")
    page.wait_for_selector(".toast-body")
    assert "not a picture in one of the accepted formats" in page.locator(".toast-body").inner_text()
    page.wait_for_function("document.querySelector('#answer')?.textContent.includes('Show it a picture')")


@pytest.mark.browser
def test_it_fits_a_phone_and_a_tap_shows_a_word(open_page, red_blue):
    page = open_page(width=390)
    assert fits(page)
    page.set_input_files("#picture input[type=file]", red_blue)
    wait_for_caption(page, "red beside blue")
    assert fits(page)
    examples = page.locator("#examples .examples").bounding_box()
    assert examples is not None and examples["height"] < 220  # 24 of them stand in two rows that slide: the answer is not far below
    page.locator(".sentence [data-word='3']").click()
    assert page.locator(".cloth.now").count() == 1 and page.locator("#answer input[type=range]").input_value() == "3"


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("dark", 1280), ("light", 390)])
def test_axe_finds_nothing_grave(open_page, scheme, width):
    page = open_page(width=width, scheme=scheme)
    page.locator("#examples button").nth(1).click()
    wait_for_caption(page, "red beside blue")
    page.locator(".sentence [data-word='3']").click()
    assert findings(page) == []


@pytest.mark.browser
@pytest.mark.parametrize("model", ["halves", "halves-transformer"])
def test_the_programs_on_the_page_repeat_the_answer(open_page, model, red_blue):
    page = open_page(model)
    page.set_input_files("#picture input[type=file]", red_blue)
    wait_for_caption(page, "red beside blue")
    programs = {
        fold.locator("summary").inner_text(): fold.locator("code").text_content() for fold in page.locator("#program details").all()
    }
    assert list(programs) == ["curl", "Python, httpx", "Python, tritonclient"]
    for name in ("Python, httpx", "Python, tritonclient"):
        ran = subprocess.run(
            [sys.executable, "-c", programs[name]],
            cwd=red_blue.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, ran.stderr
        score, text = ran.stdout.strip().split(" ", 1)
        said = re.search(r"answer above: (.*), (-?[\d.]+)\.", page.locator("#program").inner_text())
        assert said is not None
        assert text == said[1] == "red beside blue" and float(score) == pytest.approx(float(said[2]), abs=1e-5), name


@pytest.mark.filterwarnings("default")
def test_gradio_client_gets_a_sentence_or_a_refusal(speaker, red_blue):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    client = Client(speaker.url, verbose=False)
    try:
        answer, programs = client.predict("halves", handle_file(str(red_blue)), 3, api_name="/caption")
        assert '<span data-word="1">red</span>' in answer and "From a program" in programs
        for wrong in (0, 11, "many", None):
            with pytest.raises(AppError, match="The beam must be one of 1, 3, 5, 10"):
                client.predict("halves", handle_file(str(red_blue)), wrong, api_name="/caption")
        with pytest.raises(AppError, match="no bundle named nobody"):
            client.predict("nobody", handle_file(str(red_blue)), 3, api_name="/caption")
    finally:
        client.close()


# --- the parts of the answer ---


def spoken(text: str, words: list[str]) -> Caption:
    return Caption(text, words, -0.1, 1.0, np.full((len(words), 1, 2, 2), 0.25, np.float32), True, [(text, -0.1)])


def test_words_are_marked_where_they_stand_and_escaped():
    html = sentence(spoken("a dog's <b> & a a", ["a", "dog", "'s", "<b>", "&", "a", "a"]))
    assert re.sub(r"</?span[^>]*>", "", html) == "a dog&#x27;s &lt;b&gt; &amp; a a"
    assert re.findall(r'data-word="(\d)">([^<]*)<', html)[-2:] == [("6", "a"), ("7", "a")]
    assert sentence(spoken("", [])) == "<em>It says nothing.</em>"


def test_the_cloth_is_thin_where_it_looked_and_thick_where_it_did_not():
    pixels = cloth(np.array([[0.9, 0.1], [0.0, 0.0]], np.float32))
    assert pixels.shape == (8, 8, 4) and pixels.dtype == np.uint8
    assert pixels[0, 0, 3] < 10 and pixels[7, 7, 3] > 190 and pixels[7, 7, 3] <= 204
    assert (cloth(np.full((2, 2), 0.25, np.float32))[..., 3] == 0).all()  # everywhere alike: nothing is hidden


def test_the_figure_of_a_sentence_is_a_probability():
    assert surety(0.0) == 1 and surety(-0.6931472) == pytest.approx(0.5) and surety(1e-9) == 1
