"""The programs that a page shows, and the example pictures they fetch; test_page.py takes them from the page and runs them."""

import ast
import json
import shlex

import pytest

from apps.calls import Call, curl, many_pictures, one_picture, panel
from apps.runtime import load_bundle


@pytest.fixture
def bundle(bundles):
    return load_bundle(bundles / "digits-templates")


@pytest.mark.parametrize(
    ("name", "field"),
    [("seven.png", "seven.png"), ("my 7.png", '"my 7.png"'), ("a;b,c.png", '"a;b,c.png"'), ('a"b\\c.png', '"a\\"b\\\\c.png"')],
)
def test_curl_gets_the_name_of_the_file_and_no_word_more(bundle, name, field):
    words = shlex.split(curl(Call("http://127.0.0.1:1", bundle, name)))
    assert words == ["curl", "-F", f"image=@{field}", "http://127.0.0.1:1/api/classify?model=digits-templates"]


@pytest.mark.parametrize("name", ["seven.png", 'x"); import os; os.abort(); ("', "a\nb.png", "\\"])
@pytest.mark.parametrize("secured", [False, True])
def test_the_python_programs_are_python_whatever_the_file_is_called(bundle, name, secured):
    call = Call("https://example.org", bundle, name, secured=secured)
    for title, program in (one_picture(call) | {"many": many_pictures(call)["Python, httpx"]}).items():
        if title != "curl":
            literals = [node.value for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Constant)]
            assert title == "many" or name in literals


def test_the_token_is_named_and_never_written_out(bundle):
    call = Call("http://127.0.0.1:1", bundle, secured=True)
    for program in [*one_picture(call).values(), *many_pictures(call).values()]:
        assert "Authorization" in program and "TOKEN" in program
    assert "Authorization" not in "".join(one_picture(Call("http://127.0.0.1:1", bundle)).values())


def test_a_secure_server_is_asked_securely(bundle):
    assert 'InferenceServerClient("example.org", ssl=True)' in one_picture(Call("https://example.org", bundle))["Python, tritonclient"]


def test_the_panel_shows_the_program_and_runs_no_part_of_it(bundle):
    html = panel(one_picture(Call("http://127.0.0.1:1", bundle, "<script>alert(1)</script>.png")), "Each gives the answer.")
    assert "<script>" not in html and "&lt;script&gt;" in html


def test_an_example_is_served_and_nothing_else_of_the_bundle(api, bundles):
    card = json.loads((bundles / "digits-templates" / "card.json").read_text())
    answer = api.get("/examples/digits-templates/7-7.png")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    assert answer.content == (bundles / "digits-templates" / "examples" / "7-7.png").read_bytes()
    assert "examples/7-7.png" in card["files"]
    for path in (
        "digits-templates/card.json",
        "digits-templates/..%2Fmodel.onnx",
        "digits-templates/none.png",
        "none/7-7.png",
        "..%2f/7-7.png",
    ):
        refused = api.get(f"/examples/{path}")
        assert refused.status_code == 404 and "error" in refused.json(), path


def test_a_picture_that_is_not_the_card_s_any_more_is_not_served(tmp_path, make_bundle):
    from apps.engine import Engine
    from apps.examples import find
    from apps.library import Library
    from apps.repository import Repository

    folder = make_bundle(tmp_path, "digits")
    repository = Repository(tmp_path, 1)
    repository.load_all()
    library = Library(repository, Engine(1, 1, 10.0))
    assert find(library, "digits-templates", "7-7.png") == folder / "examples" / "7-7.png"
    (folder / "examples" / "7-7.png").write_bytes(b"another")
    assert find(library, "digits-templates", "7-7.png") is None
