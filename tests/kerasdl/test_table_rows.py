"""Rows of somebody's CSV file for a trained model: what fits becomes numbers in the model's order, what does not a sentence."""

import numpy as np
import pytest

from kerasdl.data.table_rows import read_rows
from kerasdl.data.table_spec import Column, TableSpec


def column(name, unit="", choice=""):
    return Column(name, unit, 0.0, 10.0, 5.0, 2.0, choice)


SPEC = TableSpec(
    (column("age", "years"), column("town=Pisa", "", "town"), column("town=Ulm", "", "town"), column("size", "m²")),
    (column("price", "kEUR"),),
    "houses",
)


@pytest.fixture
def read(tmp_path):
    def write_and_read(text, spec=SPEC):
        file = tmp_path / "houses.csv"
        file.write_text(text, encoding="utf-8")
        return read_rows(file, spec)

    return write_and_read


def test_columns_come_in_any_order_and_words_become_marks(read):
    found = read("size [m²];price;town;note;age (years)\n50;1;Ulm;x;7\n60.5;;Pisa;;8\n")
    np.testing.assert_array_equal(found.features, np.array([[7, 0, 1, 50], [8, 1, 0, 60.5]], np.float32))
    assert found.features.dtype == np.float32 and found.problems == ["", ""] and found.unused == ["note"]
    assert found.good.tolist() == [0, 1]


def test_a_choice_may_come_as_its_columns(read):
    found = read("age,town=Ulm,town=Pisa,size\n1,1,0,2\n1,1,1,2\n1,0,0,2\n1,0.5,0.5,2\n")
    np.testing.assert_array_equal(found.features[0], np.array([1, 0, 1, 2], np.float32))
    assert found.good.tolist() == [0] and np.isnan(found.features[1:]).all()
    told = "one of the columns town=Pisa, town=Ulm is 1, the others are 0. Received: {}"
    assert found.problems[1] == f"row 2 (line 3): {told.format('1, 1')}" and found.problems[3].endswith(told.format("0.5, 0.5"))


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("7,Ulm", "a row has 3 cells, as the header. Received: 2"),
        ("7,Ulm,2,3", "a row has 3 cells, as the header. Received: 4"),
        ("seven,Ulm,2", "the column age must hold a number. Received: 'seven'"),
        ("1e39,Ulm,2", "the column age must hold a number. Received: '1e39'"),
        ("inf,Ulm,2", "the column age must hold a number. Received: 'inf'"),
        ("7,Ulm,", "the column size needs a value. Received: ''"),
        ("n/a,Ulm,2", "the column age needs a value. Received: 'n/a'"),
        ("7,Rome,2", "the column town is one of Pisa, Ulm. Received: 'Rome'"),
    ],
)
def test_a_bad_row_is_told_with_its_number_line_and_column_and_spares_the_others(row, problem, read):
    found = read(f"age,town,size\n[years],,[m²]\n\n{row}\n1,Pisa,2\n")
    assert found.problems == [f"row 1 (line 4): {problem}", ""]
    np.testing.assert_array_equal(found.features[1], np.array([1, 1, 0, 2], np.float32))
    assert np.isnan(found.features[0]).all()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "which is empty"),
        ("age,town,size\n", "rows below its header. Received: none in houses.csv"),
        ("Age,town,size\n1,Ulm,2\n", "no column of that name. Received: 'age'. Did you mean 'Age'?"),
        ("age,size\n1,2\n", "no column of that name. Received: 'town'"),
        ("age,town=Ulm,size\n1,1,2\n", "no column of that name. Received: 'town=Pisa'. Did you mean 'town=Ulm'?"),
        ("age [months],town,size\n1,Ulm,2\n", "the column age is in years, as it was learnt. Received: months in houses.csv"),
        ("age,town,size,age\n1,Ulm,2,3\n", "age more than once"),
        ("age,,size\n1,Ulm,2\n", "none for column 2"),
    ],
)
def test_a_wrong_header_is_one_sentence_for_the_file(text, problem, read):
    with pytest.raises(ValueError, match="houses.csv") as raised:
        read(text)
    assert problem in str(raised.value)
