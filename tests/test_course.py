"""docs/course.md keeps its promises: every row is there, every name imports, every test exists, every command is understood."""

import ast
import functools
import importlib
import inspect
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
COURSE = ROOT / "docs" / "course.md"
REQUIRED = [
    *(f"A{n}" for n in range(1, 10)),
    *(f"B{n}" for n in range(1, 23)),
    *(f"C{n}" for n in range(1, 24)),
    *(f"D{n}" for n in range(1, 10)),
    *(f"E{n}" for n in (1, 3, 5, 6, 7, 8, 9, 11, 12, 13)),
    "F1",
    "F2",
    *(f"G{n}" for n in (10, 11, *range(13, 25))),
    *(f"L{n}" for n in (*range(1, 31), 35, 36, 37)),
    "M5",
    "M6",
    "N5",
    *(f"P{n}" for n in range(1, 8)),
]
NAME = r"\[`(kerasdl\.[\w.]+)`\]\(\.\./([\w/.]+)\)"  # the dotted name of a thing of ours, linked to its file
TEST = r"\[([\w ]+)\]\(\.\./([\w/.]+)\)"  # the name of a test in plain words, linked to its file


class Row(NamedTuple):
    ids: list[str]
    concept: str
    code: str
    tests: str


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def table_lines() -> list[str]:
    return [line for line in COURSE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]


def rows() -> list[Row]:
    found = [cells(line) for line in table_lines() if re.match(r"\| [A-Z]\d", line)]
    return [Row(re.split(r",\s*", ids), *rest) for ids, *rest in found]


def names() -> list[str]:
    """Every dotted name of the column "in the code", linked or not."""
    return sorted({name for row in rows() for name in re.findall(r"`((?:keras|kerasdl)\.[\w.]+)`", row.code)})


def linked_names() -> list[tuple[str, str]]:
    return sorted({pair for row in rows() for pair in re.findall(NAME, row.code)})


def linked_tests() -> list[tuple[str, str]]:
    found = {pair for row in rows() for pair in re.findall(TEST, row.tests)}
    return sorted(("test_" + words.replace(" ", "_"), file) for words, file in found)


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", COURSE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return [shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()]


@functools.cache
def functions_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"), file)
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def find(name: str) -> Any:
    """The object of a dotted name: as much of it as is a module, then attributes."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError as problem:
            if problem.name and ".".join(parts[:end]).startswith(problem.name):
                continue
            raise
        return functools.reduce(getattr, parts[end:], found)
    raise ModuleNotFoundError(name)


def test_every_row_of_the_catalogue_is_there_once():
    ids = [name for row in rows() for name in row.ids]
    assert len(ids) == len(set(ids)), sorted({name for name in ids if ids.count(name) > 1})
    assert set(REQUIRED) <= set(ids), sorted(set(REQUIRED) - set(ids))


def test_every_line_of_a_table_has_four_cells():
    assert [line for line in table_lines() if len(cells(line)) != 4] == []


def test_every_row_has_a_concept_and_either_code_with_a_test_or_an_admission():
    for row in rows():
        assert len(row.concept) > 20, row.ids
        covered = row.code != "not covered"
        assert bool(re.search(r"`(keras|kerasdl)\.", row.code)) == covered, row.ids
        assert bool(re.search(TEST, row.tests)) == covered, row.ids


@pytest.mark.parametrize("name", names())
def test_the_name_imports(name):
    assert callable(find(name)) or inspect.ismodule(find(name))


@pytest.mark.parametrize("name, file", linked_names())
def test_the_link_of_a_name_leads_to_its_source(name, file):
    assert inspect.getsourcefile(inspect.unwrap(find(name))) == str(ROOT / file)


@pytest.mark.parametrize("name, file", linked_tests())
def test_the_test_exists(name, file):
    assert file.startswith("tests/") and name in functions_in(file)


def test_nothing_escapes_the_tests_above_by_a_slip_in_the_notation():
    for row in rows():
        assert re.sub(TEST, "", row.tests).strip("; ") == "", row.ids
        assert re.sub(rf"{NAME}|`keras\.[\w.]+`", "", row.code).strip(", ") in ("", "not covered"), row.ids


def test_commands_are_understood():
    from kerasdl.cli import parser

    assert commands()
    for words in commands():
        if words[0] == "kerasdl":
            parser().parse_args(words[1:])  # ends the process when it does not understand
        elif words[:3] == ["python", "-m", "pytest"]:
            assert set(words[3:]) - {"-k", "-v", "-q"}
        else:
            assert words[:2] == ["python", "-c"] or (ROOT / words[1]).is_file(), words


def test_what_the_commands_name_exists():
    from kerasdl.models import list_models
    from kerasdl.recipe import list_recipes

    known = {*list_models(), *list_recipes()}
    ours = [words for words in commands() if words[0] == "kerasdl"]
    named = {words[2] for words in ours if words[1] in ("train", "show", "kfold") and len(words) > 2 and not words[2].startswith("-")}
    named |= {words[words.index("--model") + 1] for words in ours if "--model" in words}
    assert named and named <= known, named - known
    tests = {words[words.index("-k") + 1] for words in commands() if "-k" in words}
    assert tests <= {name for name, _ in linked_tests()}


@pytest.mark.parametrize("script", [words[2] for words in commands() if words[:2] == ["python", "-c"]])
def test_a_line_of_python_runs(script, capsys):
    exec(script, {})
    assert capsys.readouterr().out.startswith("[[")


def test_the_pictures_are_drawn_by_the_layers(tmp_path):
    """The committed ones have the size of fresh ones; a byte differs with matplotlib's version."""
    from PIL import Image

    from tools.course_figures import main

    main(tmp_path)
    drawn = sorted(tmp_path.glob("*.png"))
    assert {picture.name for picture in drawn} == set(re.findall(r"\]\((course_\w+\.png)\)", COURSE.read_text(encoding="utf-8")))
    for picture in drawn:
        with Image.open(picture) as fresh, Image.open(ROOT / "docs" / picture.name) as committed:
            assert fresh.size == committed.size
