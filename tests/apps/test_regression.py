"""Rows to numbers: by name, by hand-made figures, with intervals and warnings; sentences for what does not fit; files line by line."""

import csv
import io
import json

import numpy as np
import pytest

from apps.calls import Call, programs
from apps.curves import FEW_WHOLE, POINTS, sweep, ticks
from apps.engine import Engine, TooLate
from apps.library import Library
from apps.prediction import example_rows, measured, rounded
from apps.repository import Repository, UnknownModel, warm_up
from apps.runtime import BundleError, Predicted, Regressor, RowError, load_bundle
from apps.sliders import step_of, wholes
from apps.tables import MAX_COLUMNS, MAX_ROWS, Outcome, predict_table, read_table, write_table
from tests.apps.houses import COLUMNS, HALF, PRICE, ROW, TARGETS, graph, price, regressor


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    parent = tmp_path_factory.mktemp("rows")
    regressor(parent)
    regressor(parent, "houses-two", ("price", "rent"))
    return parent


@pytest.fixture(scope="module")
def houses(folder):
    return Regressor(load_bundle(folder / "houses"))


@pytest.fixture(scope="module")
def two(folder):
    return Regressor(load_bundle(folder / "houses-two"))


# --- rows ---


def test_a_row_gets_the_number_worked_out_by_hand_with_its_interval(houses):
    found = houses.predict(houses.rows([ROW, ROW | {"town": "Parma"}]))
    assert found.values.tolist() == [[360.0], [330.0]]
    assert found.intervals.tolist() == [[[310.0, 410.0]], [[280.0, 380.0]]]
    assert found.values.dtype == found.intervals.dtype == np.float32


def test_several_targets_have_a_number_each(two):
    found = two.predict(two.rows([ROW]))
    assert found.values.tolist() == [[360.0, 500.0]] and found.intervals.tolist() == [[[310.0, 410.0], [440.0, 560.0]]]


def test_a_word_and_its_columns_are_the_same_row(houses):
    plain = {name: value for name, value in ROW.items() if name != "town"}
    marks = plain | {"town=Modena": 1, "town=Parma": 0.0, "town=Rimini": np.float32(0)}
    assert houses.row(marks).tolist() == houses.row(ROW).tolist() == houses.row(ROW | {"town": " Modena "}).tolist()
    assert houses.mapping(houses.row(marks)) == ROW


def test_a_row_goes_back_to_what_was_given(houses):
    given = ROW | {"area": 98.6, "rooms": 1e-7}
    assert houses.mapping(houses.row(given)) == given
    assert houses.mapping(houses.means) == {"area": 100, "age": 40, "rooms": 4, "town": "Parma"}


WRONG = {
    "an unknown column": ({"are": 1}, 'Received: "are", which is none of them. Did you mean area?'),
    "a missing column": ({"age": ...}, "must have the columns area, age, rooms, town. Received: none named age"),
    "text for a number": ({"age": "10"}, 'age must be a number. Received: "10"'),
    "a truth for a number": ({"age": True}, "age must be a number. Received: true"),
    "nothing for a number": ({"age": None}, "age must be a number. Received: none"),
    "a list for a number": ({"age": [10]}, "age must be a number. Received: a list of 1"),
    "no number": ({"age": float("nan")}, "age must be a finite number of float32. Received: nan"),
    "too large for float32": ({"age": 1e39}, "finite number of float32. Received: 1e+39"),
    "too large for float64": ({"age": 10**400}, "finite number of float32. Received: 1000"),
    "an unknown word": ({"town": "Modna"}, 'town must be one of Modena, Parma, Rimini. Received: "Modna". Did you mean Modena?'),
    "a number for a word": ({"town": 1}, "town must be one of Modena, Parma, Rimini. Received: 1"),
    "a word and its column": ({"town=Parma": 0}, "town must be given once. Received: the word and its columns"),
    "some of a word's columns": ({"town": ..., "town=Parma": 1}, "by all its columns. Received: none named town=Modena, town=Rimini"),
    "two words": ({"town": ..., "town=Parma": 1, "town=Modena": 1, "town=Rimini": 0}, "one must be 1 and the others 0. Received: 1, 1, 0"),
    "half a word": ({"town": ..., "town=Parma": 0.5, "town=Modena": 0.5, "town=Rimini": 0}, "Received: 0.5, 0.5, 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_row_is_refused_in_a_sentence(houses, case):
    changes, sentence = WRONG[case]
    row = {name: value for name, value in (ROW | changes).items() if value is not ...}
    with pytest.raises(RowError) as refused:
        houses.row(row)
    assert sentence in str(refused.value) and len(str(refused.value)) < 300


def test_of_many_rows_the_wrong_one_is_named(houses):
    with pytest.raises(RowError, match="Row 2: age must be a number"):
        houses.rows([ROW, ROW | {"age": "x"}])
    with pytest.raises(RowError, match="Row 1: A row must be an object of column names and values. Received: 3"):
        houses.rows([3, ROW])
    with pytest.raises(RowError, match="There must be a row"):
        houses.rows([])


@pytest.mark.parametrize(
    "features", [np.zeros((1, 5), np.float32), np.zeros(6, np.float32), np.zeros((1, 6)), np.zeros((0, 6), np.float32)]
)
def test_arrays_must_be_rows_of_float32(houses, features):
    with pytest.raises(RowError, match=r"Rows must be float32 \[B, 6\]. Received: float"):
        houses.predict(features)


def test_an_array_that_is_not_finite_is_named_by_its_column(houses):
    with pytest.raises(RowError, match="age must be a finite number. Received: inf in row 2"):
        houses.predict(np.array([[1, 1, 1, 1, 0, 0], [1, np.inf, 1, 1, 0, 0]], np.float32))


def test_rows_go_through_the_network_some_at_a_time_and_a_late_one_stops(houses):
    features, looks = np.tile(houses.row(ROW), (7, 1)), []
    features[:, 0] = np.arange(100, 107)
    together, parts = houses.predict(features), houses.predict(features, batch=3, check=lambda: looks.append(1))
    assert together.values.tolist() == parts.values.tolist()
    np.testing.assert_allclose(together.values[:, 0], [price(area, 10, 4, "Modena") for area in range(100, 107)], rtol=1e-6)
    assert len(looks) == 3

    def late() -> None:
        raise TooLate

    with pytest.raises(TooLate):
        houses.predict(features, check=late)


def test_outside_the_training_rows_it_warns_and_answers(houses):
    rows = houses.rows([ROW, ROW | {"area": 30, "age": 120}, ROW | {"area": 29.9, "age": 121}, ROW | {"town": "Rimini"}])
    assert houses.warnings(rows) == [
        [],
        [],
        ["area is 29.9 m²; the training rows had 30 to 250.", "age is 121 years; the training rows had 0 to 120."],
        ["No training row had town Rimini."],
    ]


def test_an_end_of_the_range_counts_as_inside_whatever_float32_makes_of_it(folder, tmp_path):
    columns = [COLUMNS[0] | {"low": 0.1, "high": 0.7, "mean": 0.3}, *COLUMNS[1:]]
    card = json.loads((folder / "houses" / "card.json").read_text())
    bundle = load_bundle(regressor(tmp_path, table=card["table"] | {"columns": columns}))
    ends = Regressor(bundle)
    assert ends.warnings(ends.rows([ROW | {"area": 0.1}, ROW | {"area": 0.7}])) == [[], []]


# --- bundles that must not serve ---


def table_with(**changes):
    return {"columns": COLUMNS, "targets": [PRICE], "interval": {"level": 0.95, "measured_on": "valid"}} | changes


CARDS = {
    "no table": ({"table": None}, "must describe the table. Received: houses without it"),
    "no columns": ({"table": table_with(columns=[])}, "must have names, each its own. Received: houses with none"),
    "two of a name": ({"table": table_with(columns=[COLUMNS[0]] * 2 + COLUMNS[2:])}, "each its own. Received: houses with area, area"),
    "no range": (
        {"table": table_with(columns=[COLUMNS[0] | {"low": None}, *COLUMNS[1:]])},
        'low, high, mean and std. Received: houses with "area"',
    ),
    "a mean outside": ({"table": table_with(columns=[COLUMNS[0] | {"mean": 999}, *COLUMNS[1:]])}, "low <= mean <= high"),
    "a choice apart": ({"table": table_with(columns=[COLUMNS[3], *COLUMNS[:3], *COLUMNS[4:]])}, "columns of a choice must stand together"),
    "a choice misnamed": ({"table": table_with(columns=[*COLUMNS[:3], COLUMNS[3] | {"name": "Modena"}, *COLUMNS[4:]])}, "named town=WORD"),
    "no interval": ({"table": table_with(interval=None)}, "must describe the interval"),
    "a strange level": ({"table": table_with(interval={"level": 95, "measured_on": "valid"})}, "level between 0 and 1"),
    "a column too few": ({"table": table_with(columns=COLUMNS[:5])}, r"must take features float32 \[batch, 5\]. Received: houses"),
    "other targets": ({"table": table_with(targets=TARGETS)}, "must give value float32"),
    "other labels": ({"labels": ["cost"]}, "labels must be the targets of the card's table. Received: houses with cost"),
    "another order": ({"table": table_with(columns=[COLUMNS[1], COLUMNS[0], *COLUMNS[2:]])}, "columns must be those of the card's table"),
}


@pytest.mark.parametrize("case", CARDS)
def test_a_card_that_does_not_fit_is_refused(tmp_path, case):
    changes, sentence = CARDS[case]
    with pytest.raises(BundleError, match=sentence):
        warm_up(load_bundle(regressor(tmp_path, **changes)))


def test_a_whole_bundle_warms_up_and_a_value_outside_its_interval_does_not(folder, tmp_path, monkeypatch):
    warm_up(load_bundle(folder / "houses-two"))
    monkeypatch.setitem(HALF, "price", -50.0)
    assert graph(["price"]).graph.name == "model"
    with pytest.raises(BundleError, match="A value must lie in its interval"):
        warm_up(load_bundle(regressor(tmp_path)))


# --- files ---

HEADER = "area,age,rooms,town"
GOOD = "100,10,4,Modena"


def outcome_of(houses, text: str | bytes) -> Outcome:
    data = text if isinstance(text, bytes) else text.encode()
    return predict_table(houses, data, lambda features: houses.predict(features), lambda: None)


def table_text(*lines: str) -> str:
    return "\n".join([HEADER, *lines]) + "\n"


SAME = {
    "plain": table_text(GOOD),
    "with a byte order mark": "\ufeff" + table_text(GOOD),
    "semicolons": table_text(GOOD).replace(",", ";"),
    "tabs and other line ends": table_text(GOOD).replace(",", "\t").replace("\n", "\r\n"),
    "units in the names": f"area [m²],age (years),rooms,town\n{GOOD}\n",
    "units below": f"{HEADER}\n[m²],[years],,\n{GOOD}\n",
    "another order, blank lines": "\ntown,rooms,area,age\n\nModena,4,100,10\n\n",
    "columns of the word": "area,age,rooms,town=Modena,town=Parma,town=Rimini\n100,10,4,1,0,0\n",
    "blanks around": "area , age,rooms,town\n 100 ,10, 4 , Modena \n",
    "quotes": 'area,age,rooms,town\n"100","10",4,"Modena"\n',
}


@pytest.mark.parametrize("form", SAME)
def test_one_table_in_many_forms_is_the_same_row(houses, form):
    outcome = outcome_of(houses, SAME[form])
    assert outcome.predicted.values.tolist() == [[360.0]] and not outcome.problems and not outcome.unread


def test_every_row_gets_its_number_or_its_reason(houses):
    lines = [GOOD, "100,,4,Modena", "1e2,ten,4,Modena", '"99,5",10,4,Modena', "100,10,4,Bonn", "100,10", "inf,10,4,Parma", "300,10,4,Parma"]
    outcome = outcome_of(houses, table_text(*lines))
    assert outcome.places == [0, 7] and outcome.table.lines == list(range(2, 10))
    assert outcome.predicted.values.ravel().tolist() == [360.0, price(300, 10, 4, "Parma")]
    assert outcome.problems == {
        1: "age must be a number. Received: an empty cell",
        2: 'age must be a number. Received: "ten"',
        3: 'area must be a number (with a point, not a comma). Received: "99,5"',
        4: 'town must be one of Modena, Parma, Rimini. Received: "Bonn"',
        5: "A row must have 4 cells, as the header. Received: 2",
        6: "area must be a finite number of float32. Received: inf",
    }
    assert outcome.warnings == [[], ["area is 300 m²; the training rows had 30 to 250."]]


def test_the_file_comes_back_whole_with_the_predictions_behind_it(two):
    text = "name,area,age,rooms,town,price\n=cmd(),100,10,4,Modena,355\nB,100,x,4,Modena,\n-1.5,29,10,4,Parma,60\n"
    outcome = outcome_of(two, text)
    assert outcome.unread == ["name"] and np.nan_to_num(outcome.truths[:, 0], nan=-1).tolist() == [355, -1, 60]
    rows = list(csv.DictReader(io.StringIO(write_table(two, outcome))))
    assert [row["name"] for row in rows] == ["'=cmd()", "B", "-1.5"] and [row["price"] for row in rows] == ["355", "", "60"]
    first = {key: float(rows[0][key]) for key in rows[0] if "predicted" in key or "low" in key or "high" in key}
    assert first == {
        "price predicted [kEUR]": 360,
        "price low [kEUR]": 310,
        "price high [kEUR]": 410,
        "rent predicted [EUR]": 500,
        "rent low [EUR]": 440,
        "rent high [EUR]": 560,
    }
    assert rows[1]["price predicted [kEUR]"] == rows[1]["warning"] == "" and rows[1]["problem"] == 'age must be a number. Received: "x"'
    assert rows[2]["warning"] == "area is 29 m²; the training rows had 30 to 250." and rows[2]["problem"] == ""
    assert np.float32(rows[2]["price predicted [kEUR]"]) == np.float32(outcome.predicted.values[1, 0])


FILES = {
    "empty": (b" \n", "malformed", "must have a header with the names of its columns and a row. Received: 0 lines"),
    "a header alone": (HEADER.encode(), "malformed", "Received: 1 lines"),
    "no text": (b"\xff\xfe\x00", "malformed", "must be text in UTF-8"),
    "an open quote": (f'{HEADER}\n"100,10'.encode(), "malformed", "its cells separated by commas. Received: unexpected end of data"),
    "a column missing": (b"area,age,rooms\n1,2,3\n", "row", "must have the columns area, age, rooms, town. Received: none named town"),
    "a column misspelt": (b"area,age,room,town\n1,2,3,Parma\n", "row", 'none named rooms. Perhaps "room" is meant. Did you mean rooms?'),
    "a column twice": (b"area,area,age,rooms,town\n1,1,1,1,Parma\n", "row", 'must be named once. Received: "area" twice'),
    "another unit": (b"area [ft],age,rooms,town\n1,1,1,Parma\n", "row", 'area must be in m². Received: "ft"'),
    "a unit too many": (b"area,age,rooms [m],town\n1,1,1,Parma\n", "row", 'rooms must be in no unit. Received: "m"'),
    "too many rows": (table_text(*[GOOD] * (MAX_ROWS + 1)).encode(), "many", "At most 10,000 rows at once are accepted. Received: 10,001"),
    "too many columns": ((",".join(f"c{n}" for n in range(MAX_COLUMNS + 1)) + "\n1\n").encode(), "many", "At most 200 columns"),
    "too many cells": (b"," * (MAX_ROWS * MAX_COLUMNS + 1), "many", "At most 2,000,000 cells"),
}


@pytest.mark.parametrize("case", FILES)
def test_what_is_no_table_for_it_is_refused_in_a_sentence(houses, case):
    data, reason, sentence = FILES[case]
    with pytest.raises(RowError) as refused:
        outcome_of(houses, data)
    assert sentence in str(refused.value) and refused.value.reason == reason


def test_as_many_rows_as_are_accepted_are_read_and_looked_at_between(houses):
    looks = []
    data = table_text(*[GOOD] * MAX_ROWS).encode()
    outcome = predict_table(
        houses, data, lambda features: Predicted(np.zeros((len(features), 1)), np.zeros((len(features), 1, 2))), lambda: looks.append(1)
    )
    assert len(outcome.places) == MAX_ROWS and len(looks) == 20


def test_a_prediction_beyond_float32_is_the_row_s_problem(houses):
    outcome = outcome_of(houses, table_text("1e30,10,4,Parma", GOOD))
    assert outcome.places == [1] and outcome.problems == {0: "The prediction is no finite number."}


def test_a_table_of_words_alone_keeps_its_cells():
    assert read_table(b"a;b\n1,5;x\n").rows == [["1,5", "x"]]


# --- what the page draws ---


def test_a_column_goes_through_its_range_and_passes_the_row(houses):
    row = houses.row(ROW)
    swept = sweep(houses, row, houses.field("area"))
    at = swept.features[:, 0]
    assert len(at) in (POINTS, POINTS + 1) and (np.diff(at) > 0).all() and (at[0], at[-1], at[swept.now]) == (30, 250, 100)
    assert (swept.features[:, 1:] == row[1:]).all()
    outside = sweep(houses, houses.row(ROW | {"area": 300}), houses.field("area"))
    assert outside.features[-1, 0] == 300 and outside.now == len(outside.features) - 1
    assert sweep(houses, row, houses.field("rooms"), whole=True).features[:, 2].tolist() == list(range(1, 10))
    assert len(sweep(houses, row, houses.field("age"), whole=True).features) >= POINTS > FEW_WHOLE
    words = sweep(houses, row, houses.field("town"))
    assert words.now == 0 and words.features[:, 3:].tolist() == np.eye(3).tolist()
    with pytest.raises(RowError, match='The column must be one of area, age, rooms, town. Received: "aera". Did you mean area?'):
        houses.field("aera")


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (97, 286, [100, 150, 200, 250]),
        (-0.3, 0.4, [-0.2, 0, 0.2, 0.4]),
        (1, 2, [1, 1.2, 1.4, 1.6, 1.8, 2]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round_numbers_inside(low, high, found):
    assert ticks(low, high) == pytest.approx(found)


@pytest.mark.parametrize(
    ("number", "std", "text"),
    [
        (152.312, 73.8, "152.3"),
        (2.0685, 1.15, "2.07"),
        (206855.2, 115000, "206,855"),
        (-0.001, 1.0, "0.00"),
        (3e38, 1, "3e+38"),
        (1, 0, "1.00"),
    ],
)
def test_numbers_are_rounded_to_what_the_spread_can_tell(number, std, text):
    assert rounded(number, std) == text


def test_sliders_have_round_steps_and_whole_columns_step_by_one(folder, houses):
    repository = Repository(folder)
    repository.load_all()
    engine = Engine(1, 4)
    rows, truths = example_rows(Library(repository, engine), houses)
    engine.close()
    assert rows.shape == (8, 6) and truths.shape == (8, 1) and truths[3, 0] - truths[2, 0] != truths[2, 0] - truths[1, 0]
    assert wholes(houses, rows) == {"age", "rooms"}
    assert [step_of(column, column.name in ("age", "rooms")) for column in houses.columns[:3]] == [0.5, 1, 1]


def test_errors_are_said_for_each_target_and_a_card_without_them_says_so(two):
    told = measured(two.bundle.card)
    assert all(words in told for words in ("21.5", "kEUR", "mean absolute error of rent", "30.2", "R\u00b2 0.91 (0.88 to 0.94)", "95.0"))
    assert measured({"table": {"targets": [PRICE]}}) == '<p class="soft small">Its errors were not measured.</p>'


def test_names_of_columns_are_escaped_wherever_they_are_shown(tmp_path):
    from apps.curves import choice_of, effect_card
    from apps.prediction import answer_card, table_of
    from apps.sliders import form

    name = '<b>&"a'
    card = {"table": table_with(columns=[COLUMNS[0] | {"name": name, "unit": "<i>"}, *COLUMNS[1:]])}
    bundle = load_bundle(regressor(tmp_path))
    bundle.card |= card
    odd = Regressor(bundle)
    row = odd.row({name: 1, **{key: value for key, value in ROW.items() if key != "area"}})
    swept = sweep(odd, row, odd.field(name))
    predicted = odd.predict(swept.features)
    parts = [
        choice_of(odd, name),
        effect_card(odd, swept, predicted),
        form(odd, row[np.newaxis], row),
        answer_card(odd, predicted, odd.warnings(row[np.newaxis])[0], [1.0]),
        table_of(odd, outcome_of(odd, table_text(GOOD).replace("area", '"<b>&""a"'))),
    ]
    assert not any("<b>&" in part or "<i>" in part for part in parts)


# --- the library and the programs ---


def test_the_library_knows_the_regressors_and_refuses_the_others(folder, make_bundle, tmp_path):
    make_bundle(tmp_path, "colors")
    regressor(tmp_path)
    repository = Repository(tmp_path)
    repository.load_all()
    engine = Engine(1, 4)
    library = Library(repository, engine)
    assert library.names("regression") == ["houses"] and library.example_rows("colors-templates") is None
    with pytest.raises(UnknownModel, match="must predict numbers from rows. Received: colors-templates, a bundle for classification"):
        library.regressor("colors-templates")
    (tmp_path / "houses" / "examples" / "rows.csv").write_text("changed")
    assert library.example_rows("houses") is None
    engine.close()


def test_the_programs_carry_the_row(houses):
    told = programs(Call("http://127.0.0.1:7860", houses.bundle, row=ROW, secured=True))
    assert list(told) == ["curl", "Python, httpx", "Python, tritonclient"]
    assert all("Bearer" in text for text in told.values())
    assert '"town": "Modena"' in told["curl"] and '"town=Modena": 1.0' in told["Python, tritonclient"]
    for name in list(told)[1:]:
        compile(told[name], name, "exec")
