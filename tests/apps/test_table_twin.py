"""A CSV file is read alike by `kerasdl predict` and by the server, which may not import it: the same numbers, the same rows refused."""

import numpy as np
import pytest

from apps.runtime import Regressor, RowError, load_bundle
from apps.tables import read_rows, read_table
from kerasdl.data.table_rows import read_rows as read_rows_in_kerasdl
from kerasdl.data.table_spec import Column, TableSpec
from tests.apps.houses import COLUMNS, TARGETS, regressor

SPEC = TableSpec(tuple(Column(**one) for one in COLUMNS), tuple(Column(**one) for one in TARGETS[:1]), "houses")
HEAD = "area,age,rooms,town\n"
FILES = {
    "plain": f"{HEAD}100,10,4,Modena\n50.5,0,2,Rimini\n",
    "another order, semicolons, a stranger's column": "town;note;rooms;age;area\nParma;x;3;20;80\n",
    "tabs": f"{HEAD}100,10,4,Modena\n".replace(",", "\t"),
    "units in brackets": "area [m²],age (years),rooms,town\n1,2,3,Parma\n",
    "units below": f"{HEAD}[m²],[years],,\n1,2,3,Parma\n",
    "a blank line and a byte-order mark": f"\ufeff{HEAD}\n1,2,3,Parma\n\n",
    "true values": "area,age,rooms,town,price\n1,2,3,Parma,77\n1,2,3,Parma,?\n",
    "marks for words": "area,age,rooms,town=Modena,town=Parma,town=Rimini\n1,2,3,0,1,0\n1,2,3,1,1,0\n1,2,3,0,0,0\n1,2,3,0.5,0.5,0\n",
    "bad rows among good ones": f"{HEAD}1,2,3,Parma\nx,2,3,Parma\n1,,3,Parma\n1,2,3,Rome\n1,2,3\n1e39,2,3,Parma\n4,5,6,Parma\n",
    "a row too long": f"{HEAD}1,2,3,Parma,5\n1,2,3,Parma\n",
    "words for nothing": f"{HEAD}nan,2,3,Parma\nn/a,2,3,Parma\nnull,2,3,Parma\ninf,2,3,Parma\n-inf,2,3,Parma\n",
    "numbers in other dress": f'{HEAD} 7 ,+2,3e0,Parma\n1_000,2,3,Parma\n"1,5",2,3,Parma\n0x10,2,3,Parma\n',
    "words with room around them": f"{HEAD}1,2,3, Parma \n1,2,3,parma\n",
    "a column is missing": "area,age,town\n1,2,Parma\n",
    "a word's columns are missing": "area,age,rooms\n1,2,3\n",
    "some of a word's columns are missing": "area,age,rooms,town=Modena\n1,2,3,1\n",
    "a name twice": "area,area,age,rooms,town\n1,1,2,3,Parma\n",
    "the word and its columns": "area,age,rooms,town,town=Modena,town=Parma,town=Rimini\n1,2,3,Parma,0,1,0\n",
    "another unit": "area [ft²],age,rooms,town\n1,2,3,Parma\n",
    "a unit where none is known": "area,age,rooms [pieces],town\n1,2,3,Parma\n",
    "another unit of the true values": "area,age,rooms,town,price [EUR]\n1,2,3,Parma,77\n",
    "a header alone": HEAD,
    "nothing": "",
    "no text": "\xff\xfe\x00",
    "an open quote": f'{HEAD}"1,2,3,Parma\n',
}


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    return Regressor(load_bundle(regressor(tmp_path_factory.mktemp("bundles"))))


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_alike_on_both_sides(name, served, tmp_path):
    data = FILES[name].encode("latin-1" if name == "no text" else "utf-8")
    (tmp_path / "rows.csv").write_bytes(data)
    try:
        here = read_rows(served, read_table(data))
    except RowError:
        with pytest.raises(ValueError):
            read_rows_in_kerasdl(tmp_path / "rows.csv", SPEC)
        return
    there = read_rows_in_kerasdl(tmp_path / "rows.csv", SPEC)
    assert there.good.tolist() == here.places and there.unused == here.unread
    np.testing.assert_array_equal(there.features[there.good], here.features)
