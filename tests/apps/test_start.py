"""`python -m apps` says what is wrong in one sentence, needs no TensorFlow, and stops when told."""

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from apps.__main__ import bind
from apps.engine import Engine
from apps.home import all_cards
from apps.library import Library
from apps.repository import Repository

ROOT = Path(__file__).resolve().parents[2]

ISOLATED = """
import importlib.abc, pkgutil, sys

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "keras", "kerasdl", "tf2onnx", "onnx", "export"):
            raise ImportError(f"{name} must not be imported")

sys.meta_path.insert(0, Refuse())
import apps
for module in pkgutil.walk_packages(apps.__path__, "apps."):
    if module.name != "apps.__main__":
        __import__(module.name)
import apps.__main__
from apps.engine import Engine
from apps.library import Library
from apps.repository import Repository
repository = Repository(sys.argv[1])
repository.load_all()
library = Library(repository, Engine())
picture = library.examples("colors-templates")[0]
print(picture.stem, library.classify("colors-templates", picture).predictions[0]["label"])
"""


def run_apps(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "apps", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=240)


def one_sentence(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip().splitlines()[-1]


def test_every_module_of_apps_works_without_tensorflow_keras_and_kerasdl(bundles):
    done = subprocess.run([sys.executable, "-c", ISOLATED, str(bundles)], cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.stdout.strip() == "black-0 black", done.stderr


def test_help_helps():
    done = run_apps("--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("--bundles", "--host", "--port", "--open", "curl"))


def test_no_bundles_is_one_sentence(tmp_path):
    sentence = one_sentence(run_apps("--bundles", str(tmp_path)))
    assert "No bundle was found" in sentence and "python -m export NAME" in sentence


def test_only_broken_bundles_is_one_sentence(bundles, tmp_path):
    broken = shutil.copytree(bundles / "colors-templates", tmp_path / "colors-templates")
    (broken / "model.onnx").write_bytes(b"x")
    assert "sha256 differs from card.json" in one_sentence(run_apps("--bundles", str(tmp_path), "--port", "0"))


def test_a_port_in_use_is_one_sentence(bundles):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        sentence = one_sentence(run_apps("--bundles", str(bundles), "--port", str(port)))
    assert f"Cannot listen on 127.0.0.1:{port}" in sentence and f"--port {port + 1}" in sentence


def test_a_broken_bundle_keeps_readiness_red_while_the_others_are_served_and_sigterm_stops(bundles, tmp_path, own_server):
    folder = tmp_path / "saved_models"
    shutil.copytree(bundles / "colors-templates", folder / "colors-templates")
    (shutil.copytree(bundles / "digits-templates", folder / "digits-templates") / "model.onnx").write_bytes(b"x")
    server = own_server(folder, tmp_path / "sockets.log")
    with httpx.Client(base_url=server.url, timeout=60) as api:
        ready = api.get("/healthz/ready")
        assert ready.status_code == 503 and "sha256" in ready.json()["broken"]["digits-templates"]
        picture = (folder / "colors-templates" / "examples" / "red-0.png").read_bytes()
        assert api.post("/api/classify?model=colors-templates", content=picture).json()["label"] == "red"
        answer = api.post("/api/classify?model=digits-templates", content=picture)
        assert answer.status_code == 503 and "is broken" in answer.json()["error"]
    server.process.terminate()
    assert server.process.wait(60) == 0
    assert not any("Traceback" in line for line in server.lines)
    with pytest.raises(httpx.ConnectError), httpx.Client() as api:
        api.get(server.url)


def test_a_broken_bundle_has_a_card_that_says_why(bundles, tmp_path):
    (shutil.copytree(bundles / "digits-templates", tmp_path / "digits-templates") / "model.onnx").write_bytes(b"x")
    repository = Repository(tmp_path)
    repository.load_all()
    engine = Engine()
    cards = all_cards(Library(repository, engine))
    engine.close()
    assert "not served" in cards and "sha256 differs from card.json" in cards and str(tmp_path) not in cards


def test_the_listener_is_named_tcp_so_that_answers_are_not_held_back():
    """asyncio turns Nagle's algorithm off only for a socket whose protocol says TCP; else every answer waits 40 ms."""
    with bind("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP
