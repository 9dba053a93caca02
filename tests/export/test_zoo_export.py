"""`pytest -m zoo_export`: every registered model at its own size, one process each; the table zoo_export.csv is what they measured.

A model whose row holds for the present sources and versions is not measured again; `python -m export.zoo --all --force` does it anyway.
"""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from export import zoo
from kerasdl.models import list_models

ROOT = Path(__file__).parents[2]
TABLE = ROOT / zoo.TABLE


@pytest.mark.zoo_export
@pytest.mark.parametrize("name", zoo.by_size())
def test_the_model_exports_with_parity_at_its_own_size(name):
    (row,) = zoo.sweep([name], TABLE)
    assert row["status"] == "ok"
    assert float(row["error"]) <= zoo.TOLERANCE


def test_the_sweep_knows_every_model():
    assert sorted(zoo.by_size()) == list_models()


def test_a_row_that_holds_is_not_measured_again(tmp_path, monkeypatch, capsys):
    measured = []

    def one(name, opset, memory):
        measured.append(name)
        status = "ok" if name != "mlp" else "stopped at 20.1 GB of memory"
        return {"status": status, "opset": opset, "nodes": 5, "error": "1e-07", "seconds": 1, "peak_gb": 1.0, "megabytes": 1}

    monkeypatch.setattr(zoo, "in_a_process", one)
    table = tmp_path / "table.csv"
    zoo.sweep(["lenet5", "mlp"], table)
    zoo.sweep(["lenet5", "mlp"], table)
    assert measured == ["lenet5", "mlp", "mlp"]  # what went wrong is tried again
    zoo.sweep(["lenet5"], table, opset=20)
    zoo.sweep(["lenet5"], table, force=True, opset=20)
    assert measured[3:] == ["lenet5", "lenet5"]
    monkeypatch.setattr(zoo, "signature", lambda name: "other")
    zoo.sweep(["lenet5"], table, opset=20)
    assert measured[5:] == ["lenet5"] and list(zoo.read_table(table)) == ["lenet5", "mlp"]
    told = capsys.readouterr().out
    assert "[1/2] lenet5: measured before" in told and "mlp: stopped at 20.1 GB" in told


def test_the_signature_changes_with_a_source_and_not_with_its_comments(monkeypatch):
    def signature(change):
        read = Path.read_bytes
        monkeypatch.setattr(Path, "read_bytes", lambda path: change(read(path)) if path.name == "lenet.py" else read(path))
        value = zoo.signature("lenet5")
        monkeypatch.undo()
        return value

    before = zoo.signature("lenet5")
    assert signature(lambda text: text + b"\n# a comment\n") == before
    assert signature(lambda text: text + b"\nx = 1\n") != before
    with pytest.raises(ValueError, match="unknown model. Received: 'lenet6'. Did you mean 'lenet5'"):
        zoo.signature("lenet6")


def test_a_process_that_takes_too_much_memory_is_stopped_and_one_that_fails_says_why(monkeypatch):
    real = subprocess.Popen

    def instead(code):
        monkeypatch.setattr(zoo.subprocess, "Popen", lambda command, **options: real([sys.executable, "-c", code], **options))

    instead("import time; held = bytearray(300_000_000); time.sleep(60)")
    began = time.monotonic()
    row = zoo.in_a_process("lenet5", 17, memory=0.2)
    assert re.match(r"stopped at 0\.[23] GB", row["status"]) and time.monotonic() - began < 30
    instead("raise SystemExit('no such model')")
    assert zoo.in_a_process("lenet5", 17, 1.0)["status"] == "no such model"


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="the system does not tell what a process holds")
def test_the_memory_of_a_process_is_seen():
    assert 0.01 < zoo.resident(os.getpid()) < 50
    assert zoo.resident(2**22 + 1) == 0.0
