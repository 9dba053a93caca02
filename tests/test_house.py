"""The house around the code: the wheel, the pins, the requirements, the README's script, and nothing of one machine in the tree."""

import os
import re
import socket
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=500
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout


def listed_in(path: Path) -> list[str]:
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def name_of(requirement: str) -> str:
    """The name a package index knows: `tensorflow[and-cuda]>=2.20` is tensorflow."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement).group()).lower()  # pyright: ignore[reportOptionalMemberAccess]


def tracked_files() -> list[Path]:
    """What git knows or would add; nothing where there is no git."""
    try:
        listing = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    except (AssertionError, FileNotFoundError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


# --- the wheel ---


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # a copy, so that building leaves nothing in the checkout
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "kerasdl", "export", "apps"):
        run("cp", "-R", ROOT / name, source)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_kerasdl_alone(wheel):
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"kerasdl"}


def test_the_wheel_holds_every_module(wheel):
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("kerasdl/")}
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "kerasdl").rglob("*.py")} | {"kerasdl/zoo.csv"} <= shipped


def test_the_wheel_imports_in_an_empty_environment(wheel, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "empty")
    python = tmp_path / "empty" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=tmp_path, PYTHONPATH="")
    code = "import kerasdl; print(kerasdl.__version__); print(kerasdl.__file__)"
    version, file = run(python, "-c", code, cwd=tmp_path, PYTHONPATH="").split()
    assert version == wheel.name.split("-")[1] and Path(file).is_relative_to(tmp_path)
    assert "usage: kerasdl" in run(tmp_path / "empty" / "bin" / "kerasdl", "--help", cwd=tmp_path, PYTHONPATH="")


# --- requirements and pins ---


def test_requirements_of_the_apps_are_the_extras_apps_and_cpu():
    assert sorted(listed_in(ROOT / "apps" / "requirements.txt")) == sorted(EXTRAS["apps"] + EXTRAS["cpu"])


def test_every_requirement_has_an_upper_bound():
    requirements = [*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)]
    assert [one for one in requirements if "<" not in one] == []


def test_onnxruntime_is_never_a_base_dependency():
    base = {name_of(one) for extra in (PROJECT["dependencies"], EXTRAS["apps"], EXTRAS["export"]) for one in extra}
    assert base.isdisjoint({"onnxruntime", "onnxruntime-gpu"})


def test_constraints_pin_names_and_versions_only():
    wrong = [line for line in listed_in(ROOT / "constraints.txt") if not re.fullmatch(r"[a-z0-9-]+==[\w.+!]+", line)]
    assert wrong == []


def test_constraints_pin_every_direct_dependency_within_its_range():
    packaging = pytest.importorskip("packaging.requirements")
    pins = dict(line.split("==") for line in listed_in(ROOT / "constraints.txt"))
    for one in [*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)]:
        assert packaging.Requirement(one).specifier.contains(pins[name_of(one)]), one


# --- make and the tests themselves ---


def test_another_python_gets_one_sentence(tmp_path):
    old = tmp_path / "python3.10"
    old.write_text("#!/bin/sh\necho 3.10\n")
    old.chmod(0o755)
    done = subprocess.run(["sh", ROOT / "tools" / "find_python.sh", old], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert "3.11, 3.12 or 3.13" in done.stderr and f"{old} is 3.10" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize("required, outcome", [("0", "1 skipped"), ("1", "1 failed")])
def test_a_skipped_browser_test_fails_where_browsers_are_required(tmp_path, required, outcome):
    (tmp_path / "conftest.py").write_bytes((ROOT / "tests" / "conftest.py").read_bytes())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = browser\n")
    (tmp_path / "test_page.py").write_text("import pytest\n@pytest.mark.browser\ndef test_page(): pytest.skip('no browser')\n")
    environment = {**os.environ, "KERASDL_REQUIRE_BROWSER": required}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert outcome in done.stdout


def test_tests_cannot_reach_another_machine():
    with socket.socket() as client, pytest.raises(RuntimeError, match="stay on this machine"):
        client.connect(("192.0.2.1", 80))  # an address that is never in use (RFC 5737)


# --- the command and the documents ---


def test_help_needs_no_framework():
    code = (
        "import sys; sys.argv = ['kerasdl', '--help']\n"
        "from kerasdl.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    *text, loaded = run(sys.executable, "-c", code).splitlines()
    assert text[0].startswith("usage: kerasdl")
    assert set(loaded.split()).isdisjoint({"tensorflow", "keras", "numpy", "sklearn", "matplotlib"})


def marked_blocks(mark: str) -> list[str]:
    return re.findall(rf"<!-- {mark} -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def test_the_script_in_the_readme_is_short_and_makes_a_bundle(tmp_path):
    (script,) = marked_blocks("run")
    assert len(script.strip().splitlines()) <= 15
    (tmp_path / "script.py").write_text(script)
    run(sys.executable, "script.py", cwd=tmp_path, PYTHONPATH=str(ROOT))
    (card,) = tmp_path.glob("*/*/card.json")
    code = f"from apps.runtime import load_bundle; print(load_bundle({str(card.parent)!r}).task)"
    assert run(sys.executable, "-c", code).strip() == "classification"


@pytest.mark.slow
def test_the_recipe_in_the_readme_trains(tmp_path):
    (recipe,) = marked_blocks("recipe")
    (tmp_path / "my.py").write_text(recipe)
    less = [word for setting in ("data.identities=40", "epochs=1", "batch_size=16") for word in ("--set", setting)]
    command = [sys.executable, "-m", "kerasdl", "train", "my.py:REID", "--run-dir", "runs", "--quiet", *less]
    assert "mAP" in run(*command, cwd=tmp_path, PYTHONPATH=str(ROOT))
    assert (tmp_path / "runs" / "my-reid" / "ranks.png").is_file()


def test_links_in_the_documents_lead_somewhere():
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", document.read_text()):
            assert target.startswith("http") or (document.parent / target).exists(), f"{document.name}: {target}"


def test_commands_in_the_readme_exist():
    text = "\n".join(re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL))
    for target in set(re.findall(r"^make ([a-z]+)", text, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE), target
    described = run(sys.executable, "-m", "kerasdl", "--help")
    for verb in set(re.findall(r"^kerasdl ([a-z]+)", text, flags=re.MULTILINE)):
        assert verb in described, verb


def test_no_path_of_a_machine_is_in_the_tree():
    places = [
        str(Path.home()),
        str(ROOT),
        *(str(parent) for parent in ROOT.parents if len(parent.parts) > 2),
        "/home/" + "runner",
        "/" + "Users/",
    ]
    pattern = re.compile("|".join(rf"(?<![\w.]){re.escape(place)}(?![\w-])" for place in places).encode())
    found = [
        path.relative_to(ROOT) for path in tracked_files() if path.suffix not in (".png", ".jpg") and pattern.search(path.read_bytes())
    ]
    assert found == []
