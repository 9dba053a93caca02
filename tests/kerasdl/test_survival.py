"""Killed at any moment, on a full disk, with damaged files: a run goes on and ends where the uninterrupted one ends."""

import contextlib
import csv
import dataclasses
import errno
import io
import os
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest

from kerasdl import checkpoint
from kerasdl.data.augment import cutout, flip, pad_crop
from kerasdl.data.fake import fake
from kerasdl.data.spec import Spec
from kerasdl.data.splits import Splits
from kerasdl.layers import StochasticDepth
from kerasdl.npz import read_arrays, write_arrays
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle
from kerasdl.tasks import Classification
from kerasdl.train import train

ROOT = Path(__file__).parents[2]
SPEC = Spec((8, 8, 1), ("a", "b", "c"), (0.5,), (0.25,), ({"op": "resize", "size": [8, 8], "method": "bilinear"},), "a set")


def data(train: int = 96) -> Splits:
    return fake(SPEC, train=train, valid=12, test=12)


def net(image_shape) -> keras.Model:
    layers = keras.layers
    image = keras.Input(image_shape, name="image")
    x = layers.Conv2D(8, 3, padding="same")(image)
    y = layers.Dropout(0.2)(layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x)))
    x = x + StochasticDepth(0.3)(layers.Conv2D(8, 3, padding="same")(y))
    return keras.Model(image, layers.BatchNormalization(momentum=0.9)(x), name="net")


BASE = Recipe(
    name="survivor",
    note="Everything that a resumed run could get wrong.",
    data=data,
    augment=(partial(pad_crop, pad=1), flip, partial(cutout, size=3)),
    model=net,
    task=Classification(dropout=0.1),
    epochs=3,
    batch_size=16,
    optimizer=partial(keras.optimizers.SGD, momentum=0.9, nesterov=True, weight_decay=1e-3),
    schedule=partial(one_cycle, peak=0.05),
    ema=0.9,
    deterministic=True,
)
ADAMW = dataclasses.replace(BASE, optimizer=partial(keras.optimizers.AdamW, weight_decay=0.01), ema=None)
CASES = {
    "momentum, averaged weights": BASE,
    "AdamW, half precision": dataclasses.replace(ADAMW, precision="mixed_bfloat16"),
    "scaled losses of float16": dataclasses.replace(BASE, precision="mixed_float16"),
    "mean of the last epochs": dataclasses.replace(ADAMW, average=2),
    "accumulated gradients": dataclasses.replace(
        ADAMW, optimizer=partial(keras.optimizers.Adam, gradient_accumulation_steps=4), early_stopping=3
    ),
}


class Killed(Exception):
    pass


def kill_at(monkeypatch, moments: set[tuple[int, int]]) -> None:
    """Ends training right after the checkpoint of a moment (epochs, steps of the next) was written; each of them once."""
    save = checkpoint.save

    def save_and_die(model, folder, epoch, history, minutes, step, seconds):
        save(model, folder, epoch, history, minutes, step, seconds)
        if (epoch, step) in moments:
            moments.remove((epoch, step))
            raise Killed

    monkeypatch.setattr(checkpoint, "save", save_and_die)
    monkeypatch.setattr(checkpoint, "WITHIN_EPOCH", 0.0)  # a checkpoint at every step


def results(run: Path) -> tuple[list[np.ndarray], list[dict[str, str]]]:
    with (run / "history.csv").open() as file:
        rows = [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in csv.DictReader(file)]
    return keras.saving.load_model(run / "model.keras", compile=False).get_weights(), rows


def assert_same(run: Path, other: Path) -> None:
    (weights, rows), (expected_weights, expected_rows) = results(run), results(other)
    assert rows == expected_rows
    for a, b in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [name if case is BASE else pytest.param(name, marks=pytest.mark.slow) for name, case in CASES.items()])
def test_a_run_ended_within_epochs_and_between_them_is_the_uninterrupted_one(name, tmp_path, monkeypatch):
    recipe = CASES[name]
    whole = train(recipe, tmp_path / "whole", verbose=0)
    moments = {(0, 4), (1, 5), (2, 0)}  # an epoch has 6 steps
    with monkeypatch.context() as patch:
        kill_at(patch, moments)
        for _ in range(3):
            with pytest.raises(Killed):
                train(recipe, tmp_path / "parts", resume=True, verbose=0)
    assert not moments
    assert_same(train(recipe, tmp_path / "parts", resume=True, verbose=0), whole)


def test_a_run_killed_before_its_first_checkpoint_starts_anew_and_a_finished_one_stays(tmp_path, monkeypatch, capsys):
    whole = train(BASE, tmp_path / "whole", verbose=0)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoint, "restore", lambda *_: pytest.fail("there is nothing to restore"))
        patch.setattr(checkpoint, "EveryEpoch", lambda *_: (_ for _ in ()).throw(Killed))
        train(BASE, tmp_path / "parts", resume=True, verbose=0)
    assert "holds no run yet: starting from the beginning" in capsys.readouterr().out
    assert (tmp_path / "parts" / "survivor" / "recipe.json").is_file()
    run = train(BASE, tmp_path / "parts", resume=True, verbose=0)
    assert_same(run, whole)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    assert train(BASE, tmp_path / "parts", resume=True, verbose=1) == run
    assert "is finished: nothing to resume" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    with pytest.raises(ValueError, match="Received: another seed"):
        train(dataclasses.replace(BASE, seed=1), tmp_path / "parts", resume=True, verbose=0)


def test_an_old_run_that_is_being_overwritten_is_whole_or_gone(tmp_path, monkeypatch):
    """Killed after any number of files were removed, resume never goes on from what is left of the old run."""
    recipe = dataclasses.replace(BASE, epochs=1)
    for removed in (0, 1, 2, 7):
        run = train(recipe, tmp_path / str(removed), verbose=0)
        left, unlink = [removed], Path.unlink

        def unlink_a_few(path, missing_ok=False, run=run, left=left, unlink=unlink):
            if run in path.parents and path.exists():
                if not left[0]:
                    raise Killed
                left[0] -= 1
            unlink(path, missing_ok)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(Path, "unlink", unlink_a_few)
            train(recipe, run.parent, overwrite=True, verbose=0)
        whole = (run / "recipe.json").is_file() and (run / "model.keras").is_file()
        assert whole == (removed == 0) and (run / "recipe.json").is_file() == whole


def test_every_flipped_bit_of_a_checkpoint_is_noticed_or_harmless(tmp_path):
    arrays = {"facts": np.array("{}"), "v0": np.arange(6.0), "v1": np.array(3), "m0": np.zeros((2, 0))}
    write_arrays(tmp_path / "whole.npz", arrays)
    content = (tmp_path / "whole.npz").read_bytes()
    damaged = tmp_path / "damaged.npz"
    noticed = 0
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        damaged.write_bytes(flipped)
        try:
            found = read_arrays(damaged)
        except ValueError:
            noticed += 1
            continue
        if set(found) != set(arrays):
            continue  # `restore` misses what it asks for: the next test
        for name, array in arrays.items():
            np.testing.assert_array_equal(found[name], array)
    assert noticed > len(content) / 2


def damage_nothing(content: bytes) -> bytes:
    return content


def flip_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2  # within an array
    return content[:middle] + bytes([content[middle] ^ 16]) + content[middle + 1 :]


def other_archive(_: bytes) -> bytes:
    file = io.BytesIO()
    np.savez(file, something=np.arange(3))
    return file.getvalue()


DAMAGES = {"cut": lambda c: c[:500], "empty": lambda _: b"", "bit": flip_a_bit, "other": other_archive, "text": lambda _: b"hello"}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run that was ended after its second epoch, as files, and its uninterrupted twin."""
    folder = tmp_path_factory.mktemp("stopped")
    whole = train(BASE, folder / "whole", verbose=0)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        kill_at(patch, {(2, 0)})
        patch.setattr(checkpoint, "WITHIN_EPOCH", 1e9)
        train(BASE, folder / "parts", verbose=0)
    return {path.relative_to(folder / "parts"): path.read_bytes() for path in (folder / "parts").rglob("*") if path.is_file()}, whole


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(stopped, damage, tmp_path, caplog):
    files, whole = stopped
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(DAMAGES[damage](content) if name.name == "epoch-00002.npz" else content)
    run = train(BASE, tmp_path, resume=True, verbose=0)
    assert "epoch-00002.npz is damaged" in caplog.text and "falling back" in caplog.text
    assert_same(run, whole)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int):
    """A file system of its own at `folder`; skips where the system does not let us mount one."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no right to mount a small disk here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_costs_checkpoints_and_not_the_training(tmp_path, monkeypatch, caplog):
    if sys.platform != "linux":
        pytest.skip("mounts a small disk")
    recipe = dataclasses.replace(BASE, epochs=5)
    whole = train(recipe, tmp_path / "whole", verbose=0)
    begin, seen = checkpoint.EveryEpoch.on_epoch_begin, {}
    with small_disk(tmp_path / "disk", 4) as disk:

        def fill_and_free(self, epoch, logs=None):
            begin(self, epoch, logs)
            seen[epoch] = sorted(path.name for path in (disk / "survivor" / "checkpoints").glob("*")), caplog.text
            if epoch == 1:
                fill(disk / "filler")
            if epoch == 4:
                (disk / "filler").unlink()

        monkeypatch.setattr(checkpoint.EveryEpoch, "on_epoch_begin", fill_and_free)
        run = train(recipe, disk, verbose=0)
        assert seen[1][0] == seen[2][0] == seen[4][0] == ["epoch-00001.npz"], "the last that fitted stays, and nothing half"
        assert not seen[1][1] and "checkpoints could not be written (No space left on device)" in seen[2][1]
        assert "history.csv could not be written (No space left on device)" in seen[2][1]
        assert_same(run, whole)
        assert {path.name for path in (run / "checkpoints").glob("*")} == {"epoch-00001.npz", "epoch-00005.npz"}


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1024))


def test_an_error_of_the_disk_is_said_once_an_epoch(tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(checkpoint, "write_arrays", broken)
    run = train(dataclasses.replace(BASE, epochs=2), tmp_path, verbose=0)
    assert caplog.text.count("checkpoints could not be written (Input/output error): training goes on") == 2
    assert (run / "model.keras").is_file()


# --- real processes, killed ---

RECIPE_FILE = """
import dataclasses, functools, os, time
from kerasdl import checkpoint
from tests.kerasdl.test_survival import BASE

SURVIVOR = dataclasses.replace(BASE, epochs=12, data=functools.partial(BASE.data, train=640))
checkpoint.WITHIN_EPOCH = 0.05
sync = os.fsync


def slow_disk(handle):
    time.sleep(0.03)
    sync(handle)


os.fsync = slow_disk
"""


def start(folder: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "kerasdl", "train", "survivors.py:SURVIVOR", "--run-dir", str(folder / "runs"), "--quiet", *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT)]), "MPLBACKEND": "Agg"}
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_when(process: subprocess.Popen, happened) -> bool:
    """SIGKILL as soon as `happened()`; False where the process ended before."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit:
        if process.poll() is not None:
            return False
        if happened():
            process.kill()
            process.communicate()
            return True
        time.sleep(0.0005)
    process.kill()
    pytest.fail(f"the moment did not come: {process.communicate()[0]}")


def finished(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=180)
    assert process.returncode == 0, output
    return output


@pytest.mark.slow
def test_a_process_killed_at_any_moment_resumes_to_the_same_bits(tmp_path):
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    print("moments drawn from the seed", seed)  # pytest shows it where the test fails
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "survivors.py").write_text(RECIPE_FILE)
    finished(start(tmp_path / "whole"))
    parts, run = tmp_path / "parts", tmp_path / "parts" / "runs" / "survivor"

    def written(pattern):
        return lambda: any(run.glob(pattern))

    def newer_checkpoint(after: float):
        """Some time after this process wrote its first checkpoint."""
        old, begun = set(run.glob("checkpoints/epoch-*.npz")), []

        def happened():
            if not begun and set(run.glob("checkpoints/epoch-*.npz")) - old:
                begun.append(time.monotonic())
            return begun and time.monotonic() - begun[0] > after

        return happened

    process = start(parts)
    assert kill_when(process, lambda: (run / "recipe.json").exists()), "before the first checkpoint"
    hits = []
    for moment in ["within", "write", "within", "write"]:
        process = start(parts, "--resume")
        happened = written("checkpoints/*.tmp") if moment == "write" else newer_checkpoint(chance.uniform(0, 0.8))
        for old in run.glob("checkpoints/*.tmp"):
            old.unlink()
        hits.append(kill_when(process, happened))
        if moment == "write" and hits[-1]:
            hits.append(any(run.glob("checkpoints/*.tmp")))  # it was within the writing
    assert sum(hits) >= 4, hits
    for pattern in ("metrics.json*", "model.tmp.keras"):  # the finishing phase
        kill_when(start(parts, "--resume"), written(pattern))
        assert (run / "recipe.json").exists() and not (run / "model.keras").exists()
    finished(start(parts, "--resume"))
    assert_same(run, tmp_path / "whole" / "runs" / "survivor")
    assert "is finished: nothing to resume" in finished(start(parts, "--resume"))
