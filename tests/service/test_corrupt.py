"""Spoilt bundles end in a sentence or run: never another error, a crash, a hang, or a file elsewhere. `corrupt.py` tries thousands."""

import json

import pytest

from tests.service import corrupt, corruptions


def check(report: corrupt.Report, cases: int) -> None:
    print(report.table())
    assert report.wrong == [], report.table()
    assert sum(counts["cases"] for counts in report.counts.values()) == cases
    assert all(report.counts[kind]["refused"] for kind in corruptions.KINDS), "every kind reaches a rule"


def test_some_hundred_spoilt_bundles_are_refused_or_run(tmp_path):
    check(corrupt.campaign(150, seed=10_000, batch=150, home=tmp_path), 150)


@pytest.mark.slow
def test_thousands_of_spoilt_bundles_are_refused_or_run():
    check(corrupt.campaign(1500, seed=20_000), 1500)


CRASH = """
import json, os, sys
first, last = int(sys.argv[2]), int(sys.argv[3])
for seed in range(first, last):
    print(json.dumps({"begin": seed}), flush=True)
    if seed == 2:
        os.kill(os.getpid(), 11)
    print(json.dumps({"end": seed, "kind": "signature", "outcomes": ["refused"], "problem": "", "seconds": 0}), flush=True)
"""


def test_a_crash_is_seen_names_its_seed_and_the_next_case_goes_on(tmp_path, monkeypatch):
    (tmp_path / "cases").mkdir()
    script = tmp_path / "crash.py"
    script.write_text(CRASH)
    monkeypatch.setattr(corrupt, "__file__", str(script))
    monkeypatch.setattr(corrupt, "prepare", lambda home: None)
    report = corrupt.campaign(5, batch=5, home=tmp_path)
    assert [seed for seed, _ in report.wrong] == [2] and "exit code -11" in report.wrong[0][1]
    assert report.counts["signature"]["refused"] == 4 and report.counts["died"]["crashed"] == 1


def test_a_hang_is_seen(tmp_path, monkeypatch):
    (tmp_path / "cases").mkdir()
    script = tmp_path / "hang.py"
    script.write_text("import json, time; print(json.dumps({'begin': 0}), flush=True); time.sleep(60)")
    monkeypatch.setattr(corrupt, "__file__", str(script))
    monkeypatch.setattr(corrupt, "prepare", lambda home: None)
    monkeypatch.setattr(corrupt, "SECONDS", 0.3)
    report = corrupt.campaign(1, home=tmp_path)
    assert report.wrong == [(0, "more than 0.3 s")]


def test_a_mended_card_tells_the_sums_of_its_files(tmp_path):
    from apps.runtime import load_bundle
    from tests.apps.houses import regressor

    folder = regressor(tmp_path)
    (folder / "examples" / "rows.csv").write_text("area\n")
    corruptions.mend(folder)
    load_bundle(folder)
    assert json.loads((folder / "card.json").read_text())["files"]["examples/rows.csv"]
