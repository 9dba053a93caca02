"""The pages for everyone: no serious or critical finding of axe, every control reached and shown by Tab, answers that are spoken."""

import pytest

from tests.apps.browsing import findings, watched

SCHEMES = ("light", "dark")
SCREENS = (("light", 390), ("dark", 1280))
FOCUS = """() => { const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect();
  return {name: one.getAttribute('aria-label') || one.textContent.trim().slice(0, 40), tag: one.tagName,
    outline: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2, box: [box.width, box.height]}; }"""


@pytest.fixture
def open_page(browser, server):
    """open_page(scheme, width) -> a page of that look; closed afterwards."""
    with watched(browser) as opened:
        yield lambda scheme="light", width=1280: opened(width=width, scheme=scheme)


def open_home(page, server) -> None:
    page.goto(server.url)
    page.wait_for_selector("#cards .card")
    page.wait_for_selector("#program details")


def open_classify(page, server, model: str = "digits-templates") -> None:
    page.goto(f"{server.url}/classify?model={model}")
    page.wait_for_selector("#trust .figure")
    page.wait_for_selector("#examples button")


def answer_example(page, label: str = "2") -> None:
    page.locator("#examples button", has_text=label).click()
    page.wait_for_function("label => document.querySelector('#answer .said .label')?.textContent === label", arg=label)
    page.wait_for_selector("#program :text('Each gives the answer above')")


@pytest.mark.browser
@pytest.mark.parametrize("scheme, width", SCREENS)
def test_axe_finds_nothing_grave_on_the_home_page(open_page, server, scheme, width):
    page = open_page(scheme, width)
    open_home(page, server)
    assert findings(page) == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme, width", SCREENS)
def test_axe_finds_nothing_grave_on_the_classification_page(open_page, server, scheme, width, tmp_path):
    page = open_page(scheme, width)
    open_classify(page, server)
    assert findings(page) == []
    answer_example(page)
    for fold in page.locator("#program summary").all()[1:]:
        fold.click()
    assert findings(page) == []
    page.get_by_role("tab", name="Draw").click()
    page.wait_for_selector("#sketch canvas")
    assert findings(page) == []
    page.get_by_role("tab", name="Folder to CSV").click()
    page.wait_for_selector("#start")
    (tmp_path / "text.png").write_text("not a picture")
    page.set_input_files("#files input[type=file]", [tmp_path / "text.png"])
    page.wait_for_selector("#files .file-preview tr")
    page.click("#start")
    page.wait_for_selector("#csv:visible")
    assert findings(page) == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_grave_in_a_refusal(open_page, server, scheme, tmp_path):
    page = open_page(scheme)
    open_classify(page, server)
    (tmp_path / "text.png").write_text("not a picture")
    page.set_input_files("#picture input[type=file]", tmp_path / "text.png")
    page.wait_for_selector(".toast-body[role=status]")
    page.wait_for_timeout(600)  # the toast fades in
    assert findings(page) == []


def walk(page, steps: int = 80) -> list[dict]:
    """What Tab reaches, in order, until it leaves the page or comes round."""
    reached: list[dict] = []
    for _ in range(steps):
        page.keyboard.press("Tab")
        one = page.evaluate(FOCUS)
        if one["tag"] in ("BODY", "HTML") or reached and one == reached[0]:
            break
        reached.append(one)
    return reached


@pytest.mark.browser
def test_tab_reaches_every_control_and_shows_where_it_is(open_page, server):
    page = open_page()
    open_classify(page, server)
    answer_example(page)
    page.evaluate("document.activeElement.blur(); window.getSelection().removeAllRanges()")
    page.mouse.click(2, 2)
    reached = walk(page)
    names = " | ".join(one["name"] for one in reached)
    for wanted in ("Home", "Network", "Picture", "Draw", "Folder to CSV", "Remove Image", "2", "curl", "Copy", "Python, tritonclient"):
        assert wanted in names.split(" | "), f"{wanted} is not among {names}"
    assert [one["name"] for one in reached if not one["outline"]] == []
    assert all(min(one["box"]) > 0 for one in reached)


@pytest.mark.browser
def test_the_keyboard_alone_gets_an_answer_and_it_is_spoken(open_page, server):
    page = open_page()
    open_classify(page, server)
    region = page.locator("#answer")
    assert [region.get_attribute(name) for name in ("role", "aria-live", "aria-atomic")] == ["status", "polite", "true"]
    page.locator("#examples button", has_text="7").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('#answer .said .label')?.textContent === '7'")
    assert page.locator("#answer img").get_attribute("alt") == "The picture as the network saw it, 32 x 32 pixels"


@pytest.mark.browser
def test_the_page_shows_that_it_waits_and_says_so(open_page, server):
    page = open_page()
    open_classify(page, server)
    questions = []

    def hold_the_second(route):
        """The first makes the example the picture; the second asks for its answer."""
        questions.append(route)
        if len(questions) != 2:
            route.continue_()

    page.route("**/queue/join*", hold_the_second)
    page.locator("#examples button", has_text="7").click()
    page.wait_for_selector("#answer[aria-busy=true] .pending")
    while len(questions) < 2:
        page.wait_for_timeout(50)
    questions[1].continue_()
    page.wait_for_selector("#answer[aria-busy=false] .said")


@pytest.mark.browser
def test_every_picture_has_a_text_and_the_page_one_heading_and_a_language(open_page, server):
    page = open_page()
    for opened in (open_home, open_classify):
        opened(page, server)
        assert page.locator("html").get_attribute("lang") == "en"
        assert page.locator("h1").count() == 1
        assert page.locator("img:not([alt])").count() == 0


@pytest.mark.browser
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_follows_the_system_into_the_dark(open_page, server, scheme):
    page = open_page(scheme)
    open_home(page, server)
    red, green, blue = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)")
    assert (red + green + blue) / 3 < 60 if scheme == "dark" else (red + green + blue) / 3 > 230
