"""Tables: what is read from a CSV file, what is refused with its place, and what becomes of it."""

import json
from typing import Any

import numpy as np
import pytest

from kerasdl.data import Spec, TableSpec, california, diabetes, find_data, open_spec, table
from kerasdl.data.fake import fake
from kerasdl.data.pipeline import evaluation_batches, training_batches
from kerasdl.data.table_file import read_table

HOUSES = """area [m2],rooms,town,price (kEUR)
50,2,Modena,150.5
70,3,Rome,210
64,3,Modena,190
"""


def written(folder, text: str, name: str = "houses.csv", encoding: str = "utf-8"):
    (folder / name).write_text(text, encoding=encoding)
    return str(folder / name)


def long_table(folder, rows: int = 40) -> str:
    lines = [f"{40 + i},{1 + i % 4},{'Rome' if i % 3 else 'Bari'},{100 + 3 * i}" for i in range(rows)]
    return written(folder, HOUSES.splitlines()[0] + "\n" + "\n".join(lines))


# --- the file ---


def test_names_and_units_of_a_header(tmp_path):
    found = read_table(written(tmp_path, HOUSES))
    assert found.names == ("area", "rooms", "town", "price") and found.units == ("m2", "", "", "kEUR")
    assert found.numbers("price").tolist() == [150.5, 210, 190] and found.words("town") == ["Modena", "Rome", "Modena"]
    assert found.lines == [2, 3, 4]


def test_units_in_a_line_of_their_own_other_separators_and_a_byte_order_mark(tmp_path):
    text = "area;rooms\n[m2];\n50;2\n\n70;3\n"
    found = read_table(written(tmp_path, text, encoding="utf-8-sig"))
    assert found.names == ("area", "rooms") and found.units == ("m2", "")
    assert found.numbers("area").tolist() == [50, 70] and found.lines == [3, 5]
    assert read_table(written(tmp_path, "a\tf(x)\n1\t2\n")).names == ("a", "f(x)")  # no unit without a blank before it


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a table needs a header with the names of its columns. Received: houses.csv, which is empty"),
        ("a,b,a\n1,2,3\n", "columns need different names. Received: a more than once in houses.csv"),
        ("a [m],a [kg]\n1,2\n", "columns need different names. Received: a more than once"),
        ("a,,c\n1,2,3\n", "every column needs a name. Received: none for column 2 of houses.csv"),
        ("a,b\n1,2\n1,2,3\n", "every row has 2 cells, as the header. Received: 3 in line 3 of houses.csv"),
        ('a,b\n1,"2\n', "a table is text in UTF-8, its cells separated by commas. Received: houses.csv, unexpected end of data"),
    ],
)
def test_a_file_that_is_no_table_gets_a_sentence(tmp_path, text, sentence):
    with pytest.raises(ValueError) as problem:
        read_table(written(tmp_path, text))
    assert sentence in str(problem.value)


def test_a_file_that_is_absent_or_no_text_gets_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="a table is a CSV file with a header. Received: no file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "x.csv").write_bytes(b"a,b\n\xff\xfe,2\n")
    with pytest.raises(ValueError, match="a table is text in UTF-8"):
        read_table(tmp_path / "x.csv")


# --- a table of one's own ---


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "name the columns to predict, targets=NAME. Received: none; houses.csv has area, rooms, town, price"),
        ({"targets": "prize"}, "houses.csv has no column of that name. Received: 'prize'. Did you mean 'price'?"),
        ({"targets": "price", "choices": "twon"}, "has no column of that name. Received: 'twon'. Did you mean 'town'?"),
        ({"targets": "price", "columns": "area,price"}, "a target is no column to predict from. Received: price as both"),
        ({"targets": "price", "columns": "area", "choices": "town"}, "choices are among the columns to predict from. Received: 'town'"),
        ({"targets": "price"}, "the column town must hold numbers (a column of words is named in choices). Received: 'Modena' in line 2"),
        ({"targets": "price", "choices": "town"}, "a table needs at least 10 complete rows. Received: 3"),
        ({"targets": "price", "missing": "mean"}, "missing is 'refuse' or 'drop'. Received: 'mean'"),
    ],
)
def test_what_a_table_cannot_give_gets_a_sentence(tmp_path, options, sentence):
    with pytest.raises(ValueError) as problem:
        table(written(tmp_path, HOUSES), **options)
    assert sentence in str(problem.value)


@pytest.mark.parametrize("cell", ["", "NA", "nan", "?"])
def test_a_missing_value_is_refused_with_its_place_or_its_row_left_out(tmp_path, cell):
    lines = [f"{i},{i * i}" for i in range(12)]
    lines[4] = f"{cell},16"
    path = written(tmp_path, "x,y\n" + "\n".join(lines))
    with pytest.raises(ValueError, match="Received: none in line 6 of houses.csv, column x$"):
        table(path, "y")
    splits = table(path, "y", missing="drop")
    assert sum(splits.card["counts"].values()) == 11 and splits.card["left_out"] == "1 rows with a missing value"
    assert 16 not in np.concatenate([part.arrays()["target"] for part in (splits.train, splits.valid, splits.test)])


@pytest.mark.parametrize("cell", ["inf", "1,5", "12a"])
def test_what_is_no_finite_number_is_refused_with_its_place(tmp_path, cell):
    path = written(tmp_path, "x;y\n" + "\n".join(f"{i};{i}" for i in range(11)) + f"\n{cell};3\n")
    with pytest.raises(ValueError, match=f"the column x must hold numbers .* Received: '{cell}' in line 13 of houses.csv"):
        table(path, "y")


def test_a_table_becomes_splits_with_units_ranges_and_choices(tmp_path):
    splits = table(long_table(tmp_path), "price", choices=["town"])
    assert splits.card["counts"] == {"train": 25, "valid": 7, "test": 8} and splits.card["name"] == "houses"
    area, rooms, bari, rome = splits.spec.columns
    rows = splits.train.arrays()
    assert (area.name, area.unit, area.title) == ("area", "m2", "area [m2]")
    assert (area.low, area.high) == (rows["features"][:, 0].min(), rows["features"][:, 0].max())
    assert rooms.mean == pytest.approx(rows["features"][:, 1].mean()) and rooms.std == pytest.approx(rows["features"][:, 1].std())
    assert (bari.name, bari.choice, rome.name, rome.choice) == ("town=Bari", "town", "town=Rome", "town")
    np.testing.assert_array_equal(rows["features"][:, 2] + rows["features"][:, 3], 1)
    assert splits.spec.targets[0].unit == "kEUR" and splits.spec.image_shape == (1, 1, 4)
    assert rows["features"].dtype == rows["target"].dtype == np.float32 and rows["target"].shape == (25, 1)


def test_the_test_fifth_never_moves_and_the_rest_is_drawn_by_the_seed(tmp_path):
    first, second = (table(long_table(tmp_path), "price", "area", seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(first.test.arrays()["target"], second.test.arrays()["target"])
    assert not np.array_equal(first.valid.arrays()["target"], second.valid.arrays()["target"])
    everything = np.concatenate([part.arrays()["target"] for part in (first.train, first.valid, first.test)])
    assert sorted(everything[:, 0].tolist()) == [100 + 3 * i for i in range(40)]


def test_several_targets_and_a_constant_column(tmp_path):
    lines = [f"{i},7,{2 * i},{-i}" for i in range(20)]
    splits = table(written(tmp_path, "x,same,y,z\n" + "\n".join(lines)), "y, z")
    assert splits.spec.labels == ("y", "z") and splits.train.arrays()["target"].shape[1] == 2
    assert (splits.spec.columns[1].mean, splits.spec.columns[1].std) == (7, 1)
    assert splits.spec.summary == "2 columns; targets y, z"


def test_the_spec_of_a_table_survives_json_and_is_told_from_that_of_pictures(tmp_path):
    spec = table(long_table(tmp_path), "price", choices="town").spec
    (tmp_path / "spec.json").write_text(json.dumps(spec.to_json()))
    assert TableSpec.from_json(tmp_path / "spec.json") == spec == open_spec(tmp_path / "spec.json")
    pictures = Spec((8, 8, 3), ("a",), (0.5,) * 3, (0.2,) * 3, (), "pictures")
    assert open_spec(pictures.to_json()) == pictures and pictures.summary == "1 classes"
    with pytest.raises(ValueError, match="the spec of a table has the fields"):
        open_spec({"columns": []})
    with pytest.raises(ValueError, match="columns and targets need different names. Received: area more than once"):
        TableSpec(spec.columns, spec.columns[:1], "twice")


# --- data sets ---


def test_diabetes_ships_with_scikit_learn_in_its_own_units():
    splits = diabetes()
    assert splits.card["counts"] == {"train": 282, "valid": 71, "test": 89}
    age = splits.spec.columns[0]
    assert (age.name, age.unit) == ("age", "years") and 19 <= age.low < age.high <= 79
    assert splits.spec.columns[2].title == "body_mass_index [kg/m²]" and splits.spec.labels == ("progression",)


def test_california_reads_words_and_leaves_out_rows_without_bedrooms(tmp_path, monkeypatch):
    names = "longitude,latitude,housing_median_age,total_rooms,total_bedrooms,population,households,median_income"
    rows = [
        f"-122.{i},37.{i},{i},800,{'' if i == 5 else 100 + i},300,100,{3 + i / 10},{200000 + i},{'INLAND' if i % 2 else 'ISLAND'}"
        for i in range(30)
    ]
    (tmp_path / "housing").mkdir()
    written(tmp_path / "housing", f"{names},median_house_value,ocean_proximity\n" + "\n".join(rows), "housing.csv")
    monkeypatch.setenv("KERASDL_DATA_DIR", str(tmp_path))
    splits = california()
    assert [c.name for c in splits.spec.columns[8:]] == ["ocean_proximity=INLAND", "ocean_proximity=ISLAND"]
    assert splits.spec.columns[7].unit == "10,000 $" and splits.spec.targets[0].title == "median_house_value [$]"
    assert sum(splits.card["counts"].values()) == 29 and splits.card["left_out"] == "1 rows with a missing value"
    monkeypatch.delenv("KERASDL_DATA_DIR")
    with pytest.raises(ValueError, match="california needs the path of housing.csv, or KERASDL_DATA_DIR"):
        california()


def test_a_table_is_found_by_its_family(tmp_path):
    assert find_data("table:x.csv").args == ("x.csv",)  # pyright: ignore[reportFunctionMemberAccess]
    assert find_data("diabetes") is diabetes


def test_a_look_alike_of_a_table_has_its_columns_and_can_be_learnt(tmp_path):
    spec = table(long_table(tmp_path), "price", choices="town").spec
    splits = fake(spec, train=200)
    assert [c.name for c in splits.spec.columns] == [c.name for c in spec.columns] and splits.card["synthetic"] is True
    rows = splits.train.arrays()
    assert all(c.low <= x.min() and x.max() <= c.high for c, x in zip(spec.columns, rows["features"].T, strict=True))
    assert np.abs(np.corrcoef(rows["features"].T, rows["target"].T)[-1, :-1]).max() > 0.2


# --- the pipeline ---


def test_every_row_comes_once_in_each_pass(tmp_path):
    splits = table(long_table(tmp_path), "price", "area,rooms")
    batches = training_batches(splits.train, 5, seed=1)
    drawn = [next(iterator) for iterator in [iter(batches)] for _ in range(5)]
    values = sorted(float(v) for _, targets in drawn for v in targets["value"][:, 0])
    assert values == sorted(splits.train.arrays()["target"][:, 0].tolist())
    (inputs, targets), *_ = drawn
    assert list(inputs) == ["features"] and inputs["features"].shape == (5, 2) and targets["value"].shape == (5, 1)
    ((held, _),) = evaluation_batches(splits.valid, 8)
    np.testing.assert_array_equal(held["features"], splits.valid.arrays()["features"])


def test_rows_are_not_augmented(tmp_path):
    from kerasdl.data.augment import flip
    from kerasdl.data.mixing import mixup

    train = table(long_table(tmp_path), "price", "area").train
    both: list[dict[str, Any]] = [{"augment": (flip,)}, {"mix": mixup, "classes": 2}]
    for options in both:
        with pytest.raises(ValueError, match="augmentation and mixing are of pictures"):
            training_batches(train, 8, seed=0, **options)
