"""Thousands of spoilt bundles through load_bundle, the server's repository and verify_bundle.

    python tests/service/corrupt.py 5000            5000 cases of every kind together; the table says what became of them
    python tests/service/corrupt.py 1 --seed 4711   one case again

Each case is the kind and the bundle that its seed chooses. Cases run in child processes, so that a crash is seen as one and names its seed;
a child may take 6 GB of addresses. After each case nothing may have changed but the folder of the case, which is then compared, too.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import os
import random
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from tests.service import corruptions  # noqa: E402

ADDRESSES = 6 * 2**30  # bytes
SECONDS = 30.0  # of one case
GENERAL = ("its card complete. Received", "The bundle must be readable and its card complete")
SHIPPED = ("diabetes-ridge", "digits-lenet5")


@dataclass
class Report:
    """What became of the cases: by kind how many were refused, loaded and so on, and the seeds of those that went wrong."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[tuple[int, str]] = field(default_factory=list)
    general: list[tuple[int, str]] = field(default_factory=list)  # refused, but only by the last net
    slowest: tuple[float, int] = (0.0, 0)

    def add(self, kind: str, outcomes: list[str]) -> None:
        self.counts.setdefault(kind, Counter()).update(["cases", *outcomes])

    def table(self) -> str:
        columns = ["cases", "refused", "loaded", "verified", "general sentence", "crashed", "hung", "other error", "wrote"]
        lines = [f"| kind | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
        total: Counter[str] = Counter()
        for kind in [*corruptions.KINDS, "died"]:
            if kind in self.counts:
                total.update(self.counts[kind])
                lines.append(f"| {kind} | {' | '.join(str(self.counts[kind][column]) for column in columns)} |")
        return "\n".join([*lines, f"| all | {' | '.join(str(total[column]) for column in columns)} |"])


# --- the child: cases one after the other, a line before and after each ---


def child(first: int, last: int, home: Path) -> None:
    """Cases `first` to `last`, the last one left out, in home/cases; what they start from is in home/sound."""
    faulthandler.enable()
    channel = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # native code prints, too
    limit_addresses()
    for name in ("tensorflow", "keras"):
        sys.modules[name] = None  # type: ignore[assignment]  # a SavedModel is a program: verify would run it
    import logging

    import apps.repository  # noqa: F401
    import export.verify  # noqa: F401  # what imports write is written before the first case

    logging.disable(logging.CRITICAL)
    for seed in range(first, last):
        print(json.dumps({"begin": seed}), file=channel)
        began = time.monotonic()
        kind, outcomes, problem = one_case(seed, home)
        told = {"end": seed, "kind": kind, "outcomes": outcomes, "problem": problem, "seconds": time.monotonic() - began}
        print(json.dumps(told), file=channel)


def limit_addresses() -> None:
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))


def one_case(seed: int, home: Path) -> tuple[str, list[str], str]:
    """The kind, what became of it, and of what went wrong the words."""
    rng = random.Random(seed)
    kind = rng.choice(list(corruptions.KINDS))
    sounds = sorted(path for path in (home / "sound").iterdir())
    sound = rng.choice([path for path in sounds if path.name in SHIPPED] if rng.random() < 0.7 else sounds)
    folder = home / "cases" / sound.name
    shutil.copytree(sound, folder)
    if kind != "signature":
        (folder / "bundle.sig").unlink()
    try:
        corruptions.KINDS[kind](rng, folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        kind = "files, links, folders"  # what is spoilt already could not be spoilt in this way: it is tried as it is
    before = contents(home)
    try:
        outcomes, problem = tried(folder, kind == "signature", home)
    finally:
        changed = sorted({path for path, *_ in set(contents(home)) ^ set(before)})
        shutil.rmtree(folder, ignore_errors=True)
    return kind, outcomes + ["wrote"] * bool(changed), f"written or changed: {', '.join(changed)}" if changed else problem


def tried(folder: Path, signed: bool, home: Path) -> tuple[list[str], str]:
    from apps.repository import Repository
    from apps.runtime import BundleError, load_bundle
    from apps.runtime.signature import read_public_key
    from export.gates import ExportRefused
    from export.verify import verify_bundle

    key = read_public_key(home / "public.pem") if signed else None
    outcomes, problem = [], ""
    try:
        load_bundle(folder, key=key)
        outcomes.append("loaded")
    except BundleError as error:
        outcomes += ["refused", *[problem_of(str(error))] * bool(problem_of(str(error)))]
    except Exception as error:
        return ["other error"], f"load_bundle: {type(error).__name__} {error}"
    repository = Repository(folder.parent, key=key)
    try:
        sentence = repository.reload().get(folder.name, "")
    except Exception as error:
        return ["other error"], f"repository: {type(error).__name__} {error}"
    if sentence != "loaded" and any(mark in sentence for mark in GENERAL):
        outcomes.append("general sentence")
        problem = sentence
    if sentence == "loaded" and "loaded" not in outcomes:
        return ["other error"], "the repository serves what load_bundle refuses"
    try:
        verify_bundle(folder, key=key)
        outcomes.append("verified")
    except ExportRefused as error:
        if any(mark in str(error) for mark in GENERAL):
            outcomes.append("general sentence")
            problem = str(error)
    except Exception as error:
        return ["other error"], f"verify_bundle: {type(error).__name__} {error}"
    if signed and "loaded" in outcomes and signed_part(folder) != signed_part(home / "sound" / folder.name):
        return ["other error"], "a bundle was loaded that is not the one that was signed"
    return outcomes, problem


def signed_part(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ["card.json", *corruptions.read_card(folder)["files"]]]


def problem_of(sentence: str) -> str:
    """A refusal is one sentence or two, with the rule and what was received."""
    fits = "Received:" in sentence and "\n" not in sentence and len(sentence) < 1500
    return "" if fits else "other error"


def contents(home: Path) -> list[tuple[str, int, int]]:
    """Every file under the folder of the campaign, which is also the working folder and the home of its children."""
    return sorted(
        (str(path), found.st_size, found.st_mtime_ns) for path in home.rglob("*") for found in [path.lstat()] if not path.is_dir()
    )


# --- the parent ---


def campaign(count: int, seed: int = 0, batch: int = 250, home: Path | None = None) -> Report:
    """Cases seed .. seed + count, some hundred a process."""
    with tempfile.TemporaryDirectory(prefix="kerasdl-corrupt-") as scratch:
        home = Path(scratch) if home is None else home
        prepare(home)
        report, next_one = Report(), seed
        while next_one < seed + count:
            next_one = run_batch(next_one, min(next_one + batch, seed + count), home, report)
        return report


def prepare(home: Path) -> None:
    """Sound bundles, signed, without their SavedModels, and something that no bundle may reach."""
    from apps.runtime import load_bundle
    from apps.runtime.signature import read_public_key
    from export.signing import make_keys, read_private_key, sign_bundle
    from export.verify import verify_bundle
    from tests.apps.halves import captioner, transformer
    from tests.apps.houses import regressor

    (home / "cases").mkdir()
    (home / "cases" / "secret.bin").write_bytes(b"secret" * 100)
    captioner(home / "sound", transformer(), "halves")
    regressor(home / "sound")
    for name in SHIPPED:
        folder = shutil.copytree(ROOT / "saved_models" / name, home / "sound" / name, ignore=shutil.ignore_patterns("saved_model"))
        card = corruptions.read_card(folder)
        card["files"] = {path: digest for path, digest in card["files"].items() if (folder / path).is_file()}
        corruptions.write_card(folder, card, True)
    private, public = make_keys(home / "keys")
    shutil.copy(public, home / "public.pem")
    for folder in (home / "sound").iterdir():
        sign_bundle(folder, read_private_key(private))
        load_bundle(folder, key=read_public_key(public))
    for name in SHIPPED:
        verify_bundle(home / "sound" / name, key=read_public_key(public))  # else every case would be refused for another reason


def run_batch(first: int, last: int, home: Path, report: Report) -> int:
    """One child; gives the seed to go on with, the one after a case that ended it."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", str(first), str(last), str(home)]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT), "TMPDIR": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    errors = tempfile.TemporaryFile("w+")  # closed below
    process = subprocess.Popen(command, cwd=home, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert process.stdout is not None
    here = first - 1
    try:
        for line in lines_in_time(process):
            told = json.loads(line)
            if "begin" in told:
                here = told["begin"]
                continue
            report.add(told["kind"], told["outcomes"])
            report.slowest = max(report.slowest, (told["seconds"], told["end"]))
            if "general sentence" in told["outcomes"]:
                report.general.append((told["end"], told["problem"]))
            if {"other error", "wrote"} & set(told["outcomes"]):
                report.wrong.append((told["end"], told["problem"]))
        code = process.wait()
        if code == 0:
            return last
        errors.seek(0)
        outcome, problem = ("crashed", f"exit code {code}: {errors.read()[-1500:]}")
    except TimeoutError:
        outcome, problem = "hung", f"more than {SECONDS:g} s"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        errors.close()
        for folder in (home / "cases").iterdir():
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)
    report.add("died", [outcome])
    report.wrong.append((here, problem))
    return max(here, first) + 1


def lines_in_time(process: subprocess.Popen[str]) -> Any:
    """The child's lines; TimeoutError when none comes for a while, the first one has the time of the imports besides."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        patience = SECONDS + 60
        while True:
            if not selector.select(patience):
                raise TimeoutError
            line = process.stdout.readline()
            if not line:
                return
            patience = SECONDS
            yield line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=1000, help="cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first case (default: %(default)s)")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(int(options.child[0]), int(options.child[1]), Path(options.child[2]))
        return 0
    began = time.monotonic()
    report = campaign(options.count, options.seed)
    print(report.table())
    print(f"\n{options.count} cases in {time.monotonic() - began:.0f} s; the slowest, seed {report.slowest[1]}, {report.slowest[0]:.1f} s")
    for seed, problem in [*report.general, *report.wrong]:
        print(f"seed {seed}: {problem}")
    return min(len(report.wrong), 1)


if __name__ == "__main__":
    raise SystemExit(main())
