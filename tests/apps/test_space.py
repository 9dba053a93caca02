"""The folder for a Hugging Face Space: what is in it, and that it starts as a Space starts it, in an environment made from its own list."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from apps.app import settle

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "space.py"
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")


def run_tool(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, TOOL, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def space(tmp_path_factory, bundles) -> Path:
    folder = tmp_path_factory.mktemp("space") / "out"
    done = run_tool(folder, "--bundles", bundles)
    assert done.returncode == 0, done.stderr
    assert "colors-templates, digits-templates" in done.stdout
    return folder


@pytest.fixture
def front_matter(space) -> dict[str, str]:
    _, head, _ = (space / "README.md").read_text().split("---\n", 2)
    return {name: value.strip().strip('"') for name, _, value in (line.partition(":") for line in head.splitlines())}


def test_the_front_matter_is_what_the_hub_asks_for(front_matter, space):
    assert front_matter["sdk"] == "gradio" and (space / front_matter["app_file"]).is_file()
    assert front_matter["python_version"] in ("3.11", "3.12", "3.13") and front_matter["license"] == "apache-2.0"
    assert {front_matter["colorFrom"], front_matter["colorTo"]} <= set(COLORS)
    assert len(front_matter["short_description"]) <= 60


def test_the_requirements_are_those_of_the_apps_at_the_versions_tested(space, front_matter):
    names = {re.sub(r"\[.*|[<>=~].*", "", line) for line in (ROOT / "apps" / "requirements.txt").read_text().splitlines() if line[0] != "#"}
    pins = dict(line.split("==") for line in (space / "requirements.txt").read_text().splitlines())
    assert set(pins) == names and "tensorflow" not in names
    assert pins["gradio"] == front_matter["sdk_version"]
    assert all(f"{name}=={version}" in (ROOT / "constraints.txt").read_text().splitlines() for name, version in pins.items())


def test_the_space_holds_the_server_and_the_bundles_and_nothing_else(space, bundles):
    assert {entry.name for entry in space.iterdir()} == {
        "README.md",
        ".gitattributes",
        "app.py",
        "apps",
        "requirements.txt",
        "saved_models",
    }
    modules = {path.relative_to(ROOT) for path in (ROOT / "apps").rglob("*.py")} - {Path("apps/app.py")}
    assert {path.relative_to(space) for path in (space / "apps").rglob("*") if path.is_file()} == modules
    for file in bundles.rglob("*.*"):
        assert (space / "saved_models" / file.relative_to(bundles)).read_bytes() == file.read_bytes()


def test_every_binary_file_goes_by_lfs(space):
    patterns = [line.split()[0] for line in (space / ".gitattributes").read_text().splitlines()]
    for file in (path for folder in (space / "saved_models", ROOT / "saved_models") for path in folder.rglob("*") if path.is_file()):
        large = any(file.match(pattern) for pattern in patterns)
        assert large != (file.suffix in (".json", ".md", ".csv")), file.name


def test_a_second_run_replaces_what_the_first_wrote_and_keeps_the_rest(space, bundles):
    (space / ".git").mkdir()
    (space / "apps" / "gone.py").write_text("")
    assert run_tool(space, "--bundles", bundles).returncode == 0
    assert (space / ".git").is_dir() and not (space / "apps" / "gone.py").exists()
    (space / ".git").rmdir()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path, bundles):
    (tmp_path / "thesis.txt").write_text("years of work")
    done = run_tool(tmp_path, "--bundles", bundles)
    assert done.returncode == 1 and "must be new, empty or a Space" in done.stderr and "Traceback" not in done.stderr
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_broken_bundle_is_not_shipped(tmp_path, make_bundle):
    (make_bundle(tmp_path / "models", "digits") / "model.onnx").write_bytes(b"x")
    done = run_tool(tmp_path / "out", "--bundles", tmp_path / "models")
    assert done.returncode == 1 and "sha256 differs" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_the_owner_of_a_space_sets_is_kept():
    environment = {"KERASDL_APPS_PORT": "80", "GRADIO_SERVER_NAME": "127.0.0.1", "KERASDL_APPS_CONTROL": "true"}
    settle(environment, Path("/space"))
    assert environment["KERASDL_APPS_PORT"] == "80" and environment["KERASDL_APPS_CONTROL"] == "true"
    assert environment["KERASDL_APPS_HOST"] == "127.0.0.1" and environment["KERASDL_APPS_BUNDLES"] == "/space/saved_models"
    other: dict[str, str] = {"PORT": "8000"}
    settle(other, Path("/space"))
    assert other["KERASDL_APPS_HOST"] == "0.0.0.0" and other["KERASDL_APPS_PORT"] == "8000" and other["KERASDL_APPS_CONTROL"] == "false"


# --- as a Space starts it ---


@pytest.fixture(scope="module")
def environment_of_the_space(tmp_path_factory, space) -> Path:
    """The python of a new environment with what the Space's requirements.txt brings."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", space / "requirements.txt"]
    done = subprocess.run(install, capture_output=True, text=True, env=plain_environment())
    assert done.returncode == 0, done.stderr[-3000:]
    return python


def plain_environment(**more: str) -> dict[str, str]:
    ours = ("PYTHONPATH", "VIRTUAL_ENV", "GRADIO_ANALYTICS_ENABLED", "TF_CPP_MIN_LOG_LEVEL", "MPLBACKEND")
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith(("KERASDL_", "PYTEST_"))}
    return {**kept, **more}


@pytest.fixture(scope="module")
def started(environment_of_the_space, space, tmp_path_factory) -> Iterator[str]:
    """The Space's address: a Space has 0.0.0.0 and 7860, a test has 127.0.0.1 and a free port."""
    log = tmp_path_factory.mktemp("log") / "space.log"
    as_a_space = {"SYSTEM": "spaces", "SPACE_ID": "someone/kerasdl", "SPACE_HOST": "someone-kerasdl.hf.space", "GRADIO_NUM_PORTS": "1"}
    variables = plain_environment(**as_a_space, GRADIO_SERVER_NAME="127.0.0.1", PORT="0", PYTHONUNBUFFERED="1")
    with log.open("w") as stream:
        process = subprocess.Popen([environment_of_the_space, "app.py"], cwd=space, env=variables, stdout=stream, stderr=subprocess.STDOUT)
    try:
        yield address(process, log)
        process.terminate()
        assert process.wait(60) == 0, log.read_text()[-3000:]
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in log.read_text()


def address(process: subprocess.Popen, log: Path) -> str:
    end = time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if found := re.search(r"^Ready: (http://127\.0\.0\.1:\d+)", log.read_text(), flags=re.MULTILINE):
            return found[1]
        time.sleep(0.2)
    raise AssertionError(f"app.py did not say that it is ready:\n{log.read_text()[-3000:]}")


@pytest.mark.slow
def test_the_space_needs_no_tensorflow(environment_of_the_space):
    listing = subprocess.run(
        [environment_of_the_space, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )
    installed = {package["name"].lower() for package in json.loads(listing.stdout)}
    assert "gradio" in installed
    assert not [name for name in installed if name.startswith(("tensorflow", "keras", "jax", "torch"))] and "onnx" not in installed


@pytest.mark.slow
def test_the_space_classifies_a_picture_and_shows_itself_inside_the_hub(started, bundles):
    with httpx.Client(base_url=started, timeout=60) as space:
        picture = (bundles / "colors-templates" / "examples" / "red-0.png").read_bytes()
        assert space.post("/api/classify?model=colors-templates", content=picture).json()["label"] == "red"
        page = space.get("/")
        assert page.status_code == 200 and "frame-ancestors" in page.headers["content-security-policy"]
        assert "https://huggingface.co" in page.headers["content-security-policy"].partition("frame-ancestors")[2]
        assert "x-frame-options" not in page.headers
        assert space.post("/v2/repository/reload").status_code in (403, 404)  # nobody reloads a Space from outside
