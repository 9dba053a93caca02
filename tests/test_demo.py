"""`make demo` as a newcomer runs it: in a fresh clone, the install from the package index, everything after it without a network."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OFFLINE = ROOT / "tests" / "offline.py"

# Asked from beside the app, inside its network: is it ready, does the page answer, what is this picture?
CLIENT = """
import json, sys, urllib.error, urllib.request
url, picture = sys.argv[1:]
def get(path, data=None):
    request = urllib.request.Request(url + path, data, {"Content-Type": "image/png"} if data else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except (urllib.error.HTTPError, urllib.error.URLError, OSError) as error:
        return getattr(error, "code", 0), str(error)
ready = get("/healthz/ready")
print(json.dumps({"ready": ready} if ready[0] != 200 or not picture else {
    "ready": ready, "home": get("/"), "answer": get("/api/classify?model=digits-lenet5", open(picture, "rb").read())
}))
"""


@functools.cache
def network_can_be_cut() -> bool:
    return subprocess.run([sys.executable, OFFLINE, "run", "true"], capture_output=True).returncode == 0


class Demo:
    """A running `make demo` and the one who looks at it."""

    def __init__(self, folder: Path, port: int) -> None:
        command = ["make", "demo", f"PORT={port}", "OPEN=0"]
        if network_can_be_cut():
            command = [sys.executable, str(OFFLINE), "run", *command]
        self.url = f"http://127.0.0.1:{port}"
        self.log = folder.parent / "demo.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=plain_environment()
            )

    def ask(self, picture: Path | str = "") -> dict:
        command = [sys.executable, "-c", CLIENT, self.url, str(picture)]
        if network_can_be_cut():
            command = [sys.executable, str(OFFLINE), "join", str(self.process.pid), *command]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        return json.loads(done.stdout) if done.returncode == 0 else {"ready": [0, done.stderr]}

    def wait(self, seconds: float) -> float:
        start = time.monotonic()
        while time.monotonic() - start < seconds:
            assert self.process.poll() is None, f"make demo ended:\n{self.text()}"
            if self.ask()["ready"][0] == 200:
                return time.monotonic() - start
            time.sleep(0.5)
        pytest.fail(f"make demo was not ready after {seconds} s:\n{self.text()}")

    def text(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def plain_environment() -> dict[str, str]:
    """Without what a test run or an outer make sets: a newcomer has none of it."""
    ours = (
        "MAKEFLAGS",
        "MAKELEVEL",
        "MFLAGS",
        "PYTHONPATH",
        "VIRTUAL_ENV",
        "TFDS_DATA_DIR",
        "GRADIO_ANALYTICS_ENABLED",
        "TF_CPP_MIN_LOG_LEVEL",
    )
    return {name: value for name, value in os.environ.items() if name not in ours and not name.startswith(("KERASDL_", "PYTEST_"))}


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What git would clone, and the changes that are not committed yet."""
    folder = tmp_path_factory.mktemp("demo") / "kerasdl"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    listing = subprocess.run(
        ["git", "ls-files", "--modified", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, listing.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_make_demo_works_in_a_fresh_clone_and_offline_after_the_install(clone, free_port, capsys):
    status = ["git", "status", "--porcelain"]
    before = subprocess.run(status, cwd=clone, capture_output=True, text=True, check=True).stdout
    start = time.monotonic()
    installed = subprocess.run(["make", "venv"], cwd=clone, capture_output=True, text=True, env=plain_environment())
    assert installed.returncode == 0, installed.stdout[-3000:] + installed.stderr[-3000:]
    install_seconds = time.monotonic() - start

    demo = Demo(clone, free_port())
    try:
        seconds = demo.wait(300)
        picture = next(iter(sorted((clone / "runs" / "bundles" / "digits-lenet5" / "examples").glob("*.png"))))
        seen = demo.ask(picture)
        text = demo.text()
    finally:
        demo.stop()
    with capsys.disabled():
        print(f"\nmake demo: install {install_seconds:.0f} s, train + export + start {seconds:.0f} s, network cut: {network_can_be_cut()}")

    assert seen["home"][0] == 200 and "kerasdl" in seen["home"][1]
    status_code, answer = seen["answer"]
    assert status_code == 200, answer
    best = max(json.loads(answer)["predictions"], key=lambda one: one["probability"])
    assert best["label"] == picture.stem.split("-")[0]
    assert demo.url in text and "accuracy" in text
    assert install_seconds + seconds < 540
    after = subprocess.run(status, cwd=clone, capture_output=True, text=True, check=True).stdout
    assert after == before, "make demo leaves the checkout as it was"

    again = Demo(clone, free_port())
    try:
        assert again.wait(60) < 30, "a second run reuses what is there"
        assert again.ask(picture)["answer"][0] == 200
    finally:
        again.stop()
    assert "kerasdl train" not in again.text() and "-m export" not in again.text()
