"""POST /api/regress and the page /regression of one server: rows and files in, numbers with intervals out, sentences for the rest."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from apps.runtime import Regressor, load_bundle
from tests.apps.browsing import findings, watched
from tests.apps.houses import HALF, ROW, price, regressor

ROOT = Path(__file__).resolve().parents[2]
TABLE = "name,area,age,rooms,town,price\nA,100,10,4,Modena,355\nB,100,x,4,Modena,\nC,300,10,4,Parma,1395\n"


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    """Nothing but networks for rows."""
    folder = tmp_path_factory.mktemp("rows")
    regressor(folder)
    regressor(folder, "houses-two", ("price", "rent"))
    return folder


@pytest.fixture(scope="module")
def server(bundles, tmp_path_factory, own_server):
    return own_server(bundles, tmp_path_factory.mktemp("audit") / "sockets.log", "--max-batch", "8")


@pytest.fixture
def ask(api):
    def post(rows=None, model="houses", headers=None, **given):
        return api.post("/api/regress", params={"model": model}, json=rows, headers=headers, **given)

    return post


# --- over HTTP ---


def test_one_row_gets_its_number_with_interval_and_unit(ask):
    answer = ask(ROW)
    assert answer.status_code == 200
    assert answer.json() == {
        "model": "houses",
        "level": 0.95,
        "units": {"price": "kEUR"},
        "rows": [{"values": {"price": 360.0}, "intervals": {"price": [310.0, 410.0]}, "warnings": []}],
    }


def test_many_rows_are_answered_in_order_whatever_the_batch(ask, bundles):
    rows = [ROW | {"area": 40 + number, "town": ("Modena", "Parma")[number % 2]} for number in range(30)]
    told = ask(rows, "houses-two").json()
    truth = Regressor(load_bundle(bundles / "houses-two"))
    right = truth.predict(truth.rows(rows))
    assert told["units"] == {"price": "kEUR", "rent": "EUR"}
    assert [[row["values"]["price"], row["values"]["rent"]] for row in told["rows"]] == right.values.tolist()
    assert [[row["intervals"]["price"], row["intervals"]["rent"]] for row in told["rows"]] == right.intervals.tolist()


def test_a_row_outside_the_training_rows_is_answered_with_a_warning(ask):
    [row] = ask([ROW | {"area": 300, "town": "Rimini"}]).json()["rows"]
    assert row["values"]["price"] == price(300, 10, 4, "Rimini")
    assert row["warnings"] == ["area is 300 m²; the training rows had 30 to 250.", "No training row had town Rimini."]


def test_a_file_is_answered_line_by_line(ask):
    form = ask(files={"table": ("rows.csv", TABLE)})
    assert form.status_code == 200 and form.json() == ask(content=TABLE, headers={"content-type": "text/csv; charset=utf-8"}).json()
    told = form.json()
    assert told["unread"] == ["name"] and [row["line"] for row in told["rows"]] == [2, 3, 4]
    assert [row["values"] and row["values"]["price"] for row in told["rows"]] == [360, None, 1530]
    assert [row["problem"] for row in told["rows"]] == [None, 'age must be a number. Received: "x"', None]
    assert [len(row["warnings"]) for row in told["rows"]] == [0, 0, 1]


def test_a_file_comes_back_as_a_file_when_that_is_asked_for(ask):
    answer = ask(files={"table": ("rows.csv", TABLE)}, headers={"accept": "text/csv"})
    assert answer.headers["content-type"].startswith("text/csv") and "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["name"] for row in rows] == ["A", "B", "C"] and [row["price low [kEUR]"] for row in rows] == ["310.0", "", "1480.0"]
    assert ask(ROW, headers={"accept": "text/csv"}).json()["rows"][0]["values"] == {"price": 360}


DEEP = b"[" * 100_000 + b"]" * 100_000
REFUSED = {
    "no model": ({"rows": ROW, "model": ""}, 400, "Name the bundle: /api/regress?model=NAME. There is houses, houses-two."),
    "an unknown model": ({"rows": ROW, "model": "house"}, 404, "Did you mean houses?"),
    "nothing": ({"content": b" "}, 400, "The body is empty."),
    "no JSON": ({"content": b"{area: 1}"}, 400, "The body must be JSON: a row, or a list of rows. Received: Expecting property name"),
    "deep JSON": ({"content": DEEP}, 400, "The body must be JSON: a row, or a list of rows. Received: maximum recursion"),
    "many lists": ({"content": b"[" + b"{}," * 500_000 + b"{}]"}, 413, "at most 500,000 lists and objects"),
    "no text": ({"content": b"\xff"}, 400, "The body must be JSON"),
    "no rows": ({"rows": []}, 400, "a list of rows. Received: a list of 0"),
    "a number": ({"rows": 7}, 400, "Received: 7"),
    "a list in a list": ({"rows": [[1, 2]]}, 422, "A row must be an object of column names and values. Received: a list of 2"),
    "a column missing": ({"rows": {"area": 1}}, 422, "Received: none named age, rooms, town"),
    "a column twice": ({"content": b'{"area": 1, "area": 2}'}, 422, 'Each column must be given once. Received: "area" twice'),
    "NaN": ({"content": json.dumps(ROW | {"area": float("nan")})}, 422, "The numbers of a row must be finite. Received: NaN"),
    "half a character": ({"content": b'{"\\ud800": 1}'}, 422, '"\\ud800", which is none of them'),
    "too many rows": ({"rows": [{}] * 10_001}, 413, "At most 10,000 rows at once are accepted. Received: 10,001"),
    "too far away": (
        {"rows": [ROW, ROW | {"area": 1e30}]},
        422,
        "so far outside the training rows that nothing finite follows. Received: row 2",
    ),
    "a form without a file": ({"files": {"rows": b"x"}}, 422, "a file field named table. Received: rows"),
    "an empty file": ({"files": {"table": b""}}, 400, "The body is empty."),
    "a file of another table": ({"files": {"table": b"a,b\n1,2\n"}}, 422, "must have the columns area, age, rooms, town"),
    "too large a file": ({"files": {"table": bytes(9_000_000)}}, 413, "too large: at most 8 MB"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence(ask, case):
    given, status, sentence = REFUSED[case]
    answer = ask(**given)
    assert (answer.status_code, sentence in answer.json()["error"], len(answer.text) < 500) == (status, True, True), answer.text[:500]


def test_the_protocol_takes_the_features_themselves(api, bundles):
    facts = api.get("/v2/models/houses").json()
    assert facts["inputs"] == [{"name": "features", "datatype": "FP32", "shape": [-1, 6]}]
    assert [entry["shape"] for entry in facts["outputs"]] == [[-1, 1], [-1, 1, 2]]
    features = Regressor(load_bundle(bundles / "houses")).row(ROW).tolist()
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 6], "data": features}
    outputs = api.post("/v2/models/houses/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert {entry["name"]: entry["data"] for entry in outputs} == {"value": [360], "interval": [310, 410]}


def test_the_interface_is_described(api):
    operation = api.get("/openapi.json").json()["paths"]["/api/regress"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", "multipart/form-data", "text/csv"}
    assert set(operation["responses"]) == {"200", "400", "403", "404", "408", "413", "422", "503", "504"}
    assert set(operation["responses"]["200"]["content"]) == {"application/json", "text/csv"}
    assert api.get("/api/nothing").json()["error"].endswith("POST /api/regress?model=NAME.")


# --- the page ---


@pytest.fixture(scope="module")
def opened(browser):
    """opened(url, width, scheme) -> a page; in the end all must have asked this host only, without an error."""
    with watched(browser) as pages:
        yield pages


@pytest.fixture(scope="module")
def page(opened, server):
    """Opened from the card on the home page; used by all tests of a desk."""
    page = opened(server.url)
    page.wait_for_selector("#program details")
    card = page.locator("#cards .card").first.inner_text()
    assert all(words in card for words in ("21.5", "kEUR", "mean absolute error of price", "120 test rows", "area, age, rooms, town"))
    assert "/api/regress?model=houses" in page.locator("#program details[open] pre").inner_text()
    page.locator("#cards .card a").first.click()
    page.wait_for_url("**/regression?model=houses")
    page.wait_for_selector("#answer .predicted")
    page.wait_for_selector("#trust .figure")
    return page


def set_number(page, name: str, text: str) -> None:
    page.locator(f"[data-field={name}] input[type=number]").fill(text)


def wait_for_figure(page, value: float) -> None:
    """The answer and the program that gives it are those of the value."""
    page.wait_for_function(
        """value => [document.querySelector('#answer data')?.value,
          document.querySelector('#program')?.textContent.match(/answer above: price ([0-9.]+[0-9])/)?.[1]]
          .every(found => Math.abs(Number(found) - value) < 0.01)""",
        arg=value,
    )


def fits(page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.browser
def test_it_starts_from_a_test_row_with_its_true_value_beside_the_prediction(page):
    start = price(50.5, 0, 2, "Parma")
    page.select_option("#start-from", "0")
    wait_for_figure(page, start)
    answer = page.locator("#answer").inner_text()
    assert all(words in answer for words in ("true value 164 kEUR: off by 7, inside the interval", "95\u00a0% interval 107 to 207"))
    places = page.locator("#answer .span").evaluate("span => [...span.children].map(part => [part.tagName, parseFloat(part.style.left)])")
    marks = {tag: left for tag, left in places}
    assert (
        marks["U"] == 0 and marks["I"] < marks["B"] < marks["EM"] < marks["I"] + 2 * HALF["price"] / 10.6
    )  # 1060 kEUR are the whole width
    page.select_option("#start-from", "3")  # a row of which the true value lies outside
    wait_for_figure(page, price(110.5, 15, 5, "Modena"))
    assert "off by 90, outside the interval" in page.locator("#answer").inner_text()


@pytest.mark.browser
def test_a_slider_a_box_and_a_list_set_the_row_and_the_true_value_goes(page):
    page.select_option("#start-from", "0")
    wait_for_figure(page, price(50.5, 0, 2, "Parma"))
    set_number(page, "area", "100")
    page.select_option("[data-field=town] select", "Modena")
    set_number(page, "rooms", "4")
    slider = page.locator("[data-field=age] input[type=range]")
    slider.evaluate("slider => { slider.value = 10.3; slider.dispatchEvent(new Event('input', {bubbles: true})); }")
    wait_for_figure(page, 360)
    assert page.locator("[data-field=age] input[type=number]").input_value() == "10"  # a column of whole numbers
    assert slider.get_attribute("aria-valuetext") == "10 years"
    assert "true value" not in page.locator("#answer").inner_text() and page.locator("#start-from").input_value() == ""
    slider.focus()
    page.keyboard.press("ArrowRight")
    wait_for_figure(page, 359)


@pytest.mark.browser
def test_outside_the_training_rows_it_says_so_and_a_box_without_a_number_asks_nothing(page):
    page.select_option("#start-from", "8")
    wait_for_figure(page, price(100, 40, 4, "Parma"))
    set_number(page, "area", "300")
    wait_for_figure(page, price(300, 40, 4, "Parma"))
    assert page.locator("#answer .warned li").all_inner_texts() == ["area is 300 m²; the training rows had 30 to 250."]
    assert "outside" in page.locator("[data-field=area]").get_attribute("class")
    assert page.locator("#curve rect").count() == 1  # beyond 250
    set_number(page, "area", "")
    assert page.locator("[data-field=area] input[type=number]").get_attribute("aria-invalid") == "true"
    set_number(page, "area", "100")
    wait_for_figure(page, price(100, 40, 4, "Parma"))
    assert page.locator("#answer .warned").count() == page.locator("#curve rect").count() == 0


@pytest.mark.browser
def test_the_effect_of_a_column_is_a_curve_with_a_band_and_of_words_a_bar_each(page):
    page.select_option("#start-from", "8")
    wait_for_figure(page, price(100, 40, 4, "Parma"))
    assert page.locator("#effect-of select").input_value() == "area"  # the one that moves the price furthest
    points = page.locator("#curve polyline").get_attribute("points").split()
    x, y = np.array([point.split(",") for point in points], float).T
    assert len(points) in (61, 62) and (np.diff(x) > 0).all() and (np.diff(y) < 0).all()
    assert y[-2] - y[-1] > 2 * (y[0] - y[1])  # it bends upwards
    assert page.locator("#curve polygon").count() == 1
    dot = page.locator("#curve .area b").evaluate("dot => [parseFloat(dot.style.left), parseFloat(dot.style.top)]")
    assert dot[0] == pytest.approx(100 * (100 - 30) / 220, abs=0.01) and f"{dot[0]:.2f},{dot[1]:.2f}" in points
    told = page.locator("#curve .area").get_attribute("aria-label")
    assert told == "price over area: from 69 at 30.0 to 1,125 at 250.0; now 300 at 100.0"
    page.select_option("#effect-of select", "town")
    page.wait_for_selector("#curve .words")
    rows = page.locator("#curve .words li").all_inner_texts()
    assert [row.split("\n")[0] for row in rows] == ["Modena", "Parma (set)", "Rimini"] and "330 280 to 380" in rows[0].replace("\n", " ")
    page.select_option("#effect-of select", "area")
    page.wait_for_selector("#curve polyline")


@pytest.mark.browser
def test_the_programs_on_the_page_repeat_the_answer(page, tmp_path):
    page.select_option("#start-from", "1")
    wait_for_figure(page, price(70.5, 5, 3, "Modena"))
    programs = [fold.locator("code").text_content() for fold in page.locator("#program details").all()]
    for command in (["sh", "-c", programs[0]], [sys.executable, "-c", programs[1]], [sys.executable, "-c", programs[2]]):
        ran = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert "250.70" in ran.stdout  # 20 + 141 - 5 + 15 + 30 + 49.7


@pytest.mark.browser
def test_a_file_becomes_a_table_and_a_csv_and_a_wrong_one_a_sentence(page, tmp_path):
    page.get_by_role("tab", name="Table from CSV").click()
    (tmp_path / "my rows.csv").write_text(TABLE)
    page.set_input_files("#file input[type=file]", tmp_path / "my rows.csv")
    page.wait_for_selector("#csv:visible")
    page.wait_for_selector("#table table")
    lines = [line.split("\t") for line in page.locator("#table tbody tr").all_inner_texts()]
    assert lines[0] == ["2", "360", "310 to 410", "355", ""] and lines[1] == ["3", "", "", "", 'age must be a number. Received: "x"']
    answer = page.locator("#answer").inner_text()
    assert all(
        words in answer
        for words in ("2 of 3 rows predicted. 1 could not be", "Outside the training rows in places: 1.", "kept in the CSV: name")
    )
    assert "off by 70 kEUR on average, 1 of 2 inside their intervals" in answer
    with page.expect_download() as saved:
        page.click("#csv")
    rows = list(csv.DictReader(Path(saved.value.path()).read_text().splitlines()))
    assert saved.value.suggested_filename == "houses-predictions.csv" and rows[0]["price predicted [kEUR]"] == "360.0"
    assert "Accept: text/csv" in page.locator("#program details[open] code").inner_text()
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    page.get_by_label("Remove this file").or_(page.get_by_label("Clear")).first.click()
    page.set_input_files("#file input[type=file]", tmp_path / "other.csv")
    page.wait_for_selector(".toast-body")
    assert "must have the columns area, age, rooms, town" in page.locator(".toast-body").inner_text()
    page.wait_for_function("document.querySelectorAll('#table table').length === 0")
    page.get_by_role("tab", name="One row").click()


@pytest.mark.browser
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_grave_and_a_phone_is_wide_enough(opened, server, tmp_path, scheme, width):

    page = opened(f"{server.url}/regression?model=houses-two", width, scheme)
    page.wait_for_selector("#answer .predicted")
    page.wait_for_selector("#program details")
    assert fits(page) and page.locator("h1").count() == 1
    set_number(page, "area", "300")
    page.wait_for_selector("#answer .warned")
    short = page.locator(".fields .mini")
    assert short.is_visible() == (width < 640) and "rent 1,300" in short.text_content()
    found = findings(page)
    page.select_option("#effect-of select", "town")
    page.wait_for_selector("#curve .words")
    page.get_by_role("tab", name="Table from CSV").click()
    (tmp_path / "rows.csv").write_text(TABLE)
    page.set_input_files("#file input[type=file]", tmp_path / "rows.csv")
    page.wait_for_selector("#table table")
    page.wait_for_selector("#csv:visible")
    assert found + findings(page) == [] and fits(page)
    page.context.close()


@pytest.mark.filterwarnings("default")
def test_gradio_client_gets_a_table_or_a_refusal(server, tmp_path):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    (tmp_path / "rows.csv").write_text(TABLE)
    client = Client(server.url, verbose=False)
    try:
        table, saved, answer, _ = client.predict("houses", handle_file(str(tmp_path / "rows.csv")), api_name="/regress")
        assert "<td>310 to 410</td>" in table and "2 of 3 rows predicted" in answer and saved
        with pytest.raises(AppError, match="no bundle named nobody"):
            client.predict("nobody", handle_file(str(tmp_path / "rows.csv")), api_name="/regress")
    finally:
        client.close()
