"""The C++ program, built and run where onnxruntime's headers are; the library is that of the Python package."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.runtime import load_bundle
from tests.export.deploying import BUNDLES, deploy_shipped

HEADER = "onnxruntime_c_api.h"
PLACES = ("/usr/include/onnxruntime", "/usr/local/include/onnxruntime", "/usr/include/onnxruntime/core/session")


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A folder as onnxruntime's releases have it: include/ of this machine, lib/ of the Python package."""
    missing = [name for name in ("cmake", "c++") if not shutil.which(name)]
    if missing:
        pytest.skip(f"a C++ program needs {' and '.join(missing)} (Debian: apt-get install cmake g++)")
    named = os.environ.get("ONNXRUNTIME_INCLUDE")
    headers = next((Path(place) for place in ([named] if named else PLACES) if (Path(place) / HEADER).is_file()), None)
    if headers is None:
        pytest.skip(f"no {HEADER} here: Debian 13 has it in libonnxruntime-dev; or name its folder in ONNXRUNTIME_INCLUDE")
    spec = importlib.util.find_spec("onnxruntime")
    libraries = sorted((Path(spec.origin).parent / "capi").glob("libonnxruntime.so.*")) if spec and spec.origin else []
    if not libraries:
        pytest.skip("this onnxruntime package brings no libonnxruntime.so")
    folder = tmp_path_factory.mktemp("onnxruntime")
    (folder / "include").symlink_to(headers)
    (folder / "lib").mkdir()
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
        (folder / "lib" / name).symlink_to(libraries[0])
    return folder


def run(*words: str | Path, folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, words)), cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def built(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cpp") / "digits"
    deploy_shipped("digits-lenet5", cpp=folder)
    flags = "-Wall -Wextra -Wpedantic -Werror"
    for words in (["cmake", "-B", "build", f"-DONNXRUNTIME_ROOT={root}", f"-DCMAKE_CXX_FLAGS={flags}"], ["cmake", "--build", "build"]):
        done = run(*words, folder=folder)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def numbers(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in (line.split() for line in text.splitlines() if line.startswith("  "))}


@pytest.mark.slow
def test_the_program_says_what_python_says(built):
    bundle = load_bundle(BUNDLES / "digits-lenet5")
    picture = np.load(built / "sample.npy")
    wanted = {one["label"]: one["probability"] for one in bundle.classify([picture[0]])[0]}
    Image.fromarray(picture[0, ..., 0]).save(built / "sample.pgm")
    for name in ("sample.npy", "sample.pgm"):
        done = run("build/predict", "model.onnx", name, "labels.txt", folder=built)
        assert done.returncode == 0, done.stderr
        found = numbers(done.stdout)
        assert list(found) == list(wanted)
        np.testing.assert_allclose(list(found.values()), list(wanted.values()), atol=1e-6)


@pytest.mark.slow
def test_what_does_not_fit_is_told_in_a_sentence(built):
    picture = np.load(built / "sample.npy")
    np.save(built / "wide.npy", picture[:, :, :20])
    np.save(built / "wrong.npy", picture.astype(np.float32))
    (built / "cut.npy").write_bytes((built / "sample.npy").read_bytes()[:-3])
    (built / "short.npy").write_bytes((built / "sample.npy").read_bytes()[:9])
    for name, told in (
        ("wide.npy", "Received: 1 x 32 x 20 x 1"),
        ("wrong.npy", "Received: <f4"),
        ("cut.npy", "1021 bytes"),
        ("short.npy", "cut short"),
        ("labels.txt", "Received: labels.txt"),
        ("nothing.npy", "Received: nothing.npy"),
    ):
        done = run("build/predict", "model.onnx", name, folder=built)
        assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1, (name, done.stderr)


@pytest.mark.slow
def test_numbers_of_other_outputs_are_printed_by_name(built, tmp_path):
    deploy_shipped("california-mlp", cpp=tmp_path / "cpp")
    done = run(built / "build" / "predict", "model.onnx", "sample.npy", folder=tmp_path / "cpp")
    with np.load(BUNDLES / "california-mlp" / "sample.npz") as sample:
        value, interval = (sample[f"model/output/{name}"][0] for name in ("value", "interval"))
    lines = done.stdout.split()
    assert lines[0] == "value" and lines[2] == "interval"
    np.testing.assert_allclose([float(lines[1]), *map(float, lines[3:])], [*value, *interval.reshape(-1)], rtol=1e-5)


def test_the_folder_says_how_and_what(tmp_path):
    deploy_shipped("digits-lenet5", cpp=tmp_path / "cpp")
    text = (tmp_path / "cpp" / "README.md").read_text()
    assert "digits-lenet5" in text and "32 x 32 x 1" in text and "NAME" not in text and "RULE" not in text
    assert np.load(tmp_path / "cpp" / "sample.npy").shape == (1, 32, 32, 1)
