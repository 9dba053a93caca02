"""tests/export/budget.csv: the operators of a graph can only fall. Models are counted where they are exported, in test_registry.py."""

from collections import Counter

import pytest

from export import budget, zoo

ROWS = budget.read_table()


@pytest.mark.parametrize("graph", sorted(name for name in budget.with_new_bundles(ROWS) if name.endswith(".onnx")))
def test_the_graphs_of_the_bundles_keep_to_their_budget(graph):
    assert graph in ROWS, f"give {graph} a row: {budget.HOW}"
    budget.check(graph, budget.of_file(budget.BUNDLES / graph), budget.parse(ROWS[graph]["operators"]))


def test_every_row_is_of_something_that_is_there_and_adds_up():
    assert set(ROWS) == set(budget.with_new_bundles(ROWS))
    for row in [*ROWS.values(), *zoo.read_table(zoo.TABLE).values()]:
        assert budget.parse(row["operators"]).total() == int(row["nodes"]), row["model"]


def test_more_of_an_operator_is_refused_with_the_two_numbers():
    with pytest.raises(budget.OverBudget, match=r"operators of net may only fall: Add 1, 3 in all. Received: Add 3, 5 in all"):
        budget.check("net", Counter(Conv=2, Add=3), Counter(Conv=2, Add=1))
    with pytest.raises(budget.OverBudget, match=r"may only fall: Gelu 0, 3 in all. Received: Gelu 1, 3 in all"):
        budget.check("net", Counter(Conv=2, Gelu=1), Counter(Conv=2, Add=1))


def test_fewer_operators_ask_for_a_lower_table():
    with pytest.raises(
        budget.OverBudget, match=r"lowered for net, with python -m export.budget --write. Received: Add 3 -> 0, Gelu 0 -> 1"
    ):
        budget.check("net", Counter(Conv=2, Gelu=1), Counter(Conv=2, Add=3))
    budget.check("net", Counter(Conv=2), Counter(Conv=2))


def test_the_command_lowers_the_table_and_never_raises_it(tmp_path, monkeypatch, capsys):
    table = tmp_path / "budget.csv"
    monkeypatch.setattr(budget, "TABLE", table)
    monkeypatch.setattr(budget, "BUNDLES", tmp_path)
    for name in ("read_table", "write_table"):
        genuine = getattr(budget, name)
        monkeypatch.setattr(budget, name, lambda *rows, genuine=genuine: genuine(*rows, table))
    counted = {"one": Counter(Conv=2), "two": Counter(Conv=1, Add=1)}
    monkeypatch.setattr(budget, "count", lambda name, row: counted[name])
    budget.write_table({name: budget.row_of(name, {}, Counter(Conv=2, Add=1)) for name in counted})
    assert budget.main(["--write"]) == 0
    assert {name: row["operators"] for name, row in budget.read_table().items()} == {"one": "2 Conv", "two": "1 Add, 1 Conv"}
    counted["one"] = Counter(Conv=5)
    before = table.read_text()
    assert budget.main(["--write"]) == 1 and table.read_text() == before
    assert "operators of one may only fall: Conv 2, 2 in all. Received: Conv 5, 5 in all" in capsys.readouterr().out


def test_a_model_measured_again_with_more_operators_keeps_its_row(tmp_path, monkeypatch, capsys):
    told = iter(["2 Conv", "3 Conv", "1 Conv"])

    def one(name, opset, memory):
        operators = next(told)
        nodes = int(operators[0])
        row = {"status": "ok", "opset": opset, "nodes": nodes, "operators": operators}
        return row | {"error": "1e-07", "seconds": 1, "peak_gb": 1.0, "megabytes": 1}

    monkeypatch.setattr(zoo, "in_a_process", one)
    table = tmp_path / "table.csv"
    for kept in ("2 Conv", "2 Conv", "1 Conv"):
        (row,) = zoo.sweep(["lenet5"], table, force=True)
        assert zoo.read_table(table)["lenet5"]["operators"] == kept
        assert (row["status"] == "ok") == (row.get("operators") == kept)
    assert "operators of lenet5 may only fall: Conv 2, 2 in all. Received: Conv 3, 3 in all" in capsys.readouterr().out
