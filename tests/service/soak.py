"""Minutes of real traffic, some of it bad: every answer is checked, and the server's memory, speed and temper are measured.

    python tests/service/soak.py --minutes 3 --clients 16                       its own server over saved_models
    python tests/service/soak.py --minutes 3 --reloads 200                      bundles are replaced, broken and mended meanwhile
    python tests/service/soak.py --url http://127.0.0.1:7860 --pid PID          a server that runs already

Right answers are computed beforehand by apps.runtime, and equal means every bit. With --reloads one bundle alternates between two
versions: an answer must be exactly one of them, and that of the disk once a reload has been confirmed. The exit status is 1 after
any wrong or lost answer, any 5xx but 503 and 504, a leak, or a traceback in the log.
"""

from __future__ import annotations

import argparse
import collections
import http.client
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from apps.runtime import Bundle, load_bundle  # noqa: E402
from tests.service.bundles import number_bundle, other_version, write_card  # noqa: E402
from tests.service.serving import OwnServer, resident  # noqa: E402
from tests.service.traffic import Answer, Bad, Case, Client, Request, bad_requests, good_cases, load_all  # noqa: E402

GROWTH = 50.0  # MB that the server may grow after its warm-up
REFUSED = 0.01  # the part of good requests that may meet 503 or 504; none while bundles are reloaded
SWAPPED = "swapped"  # the bundle with two versions
CONFIRM_SECONDS = 20
BUSY = (503, 504)


# --- the workload ---


@dataclass
class Load:
    """What the clients do, and what must come of it."""

    cases: dict[str, list[Case]]  # by kind
    bad: list[Bad]
    bad_part: float
    until: threading.Event = field(default_factory=threading.Event)
    allowed: list[set[str]] = field(default_factory=lambda: [{"A"}])  # versions of the swapped bundle that might answer, then and now

    def choose(self, dice: random.Random) -> Case | Bad:
        if dice.random() < self.bad_part:
            return dice.choices(self.bad, [bad.weight for bad in self.bad])[0]
        return dice.choice(self.cases[dice.choice(list(self.cases))])


@dataclass(frozen=True)
class Line:
    """One request: what it was, how long it took, and what became of it."""

    kind: str
    good: bool
    seconds: float
    verdict: str  # "right", "wrong", "stale", "busy", "fault", "lost"
    detail: str = ""


def work(load: Load, client: Client, seed: int, lines: list[Line]) -> None:
    dice = random.Random(seed)
    while not load.until.is_set():
        choice = load.choose(dice)
        moment = len(load.allowed) - 1
        begin = time.perf_counter()
        try:
            answer = choice.send(client)
            seconds = time.perf_counter() - begin
            verdict, detail = judge(choice, answer, set().union(*load.allowed[moment:]))
        except (OSError, http.client.HTTPException) as error:
            seconds = time.perf_counter() - begin
            verdict, detail = "lost", f"{type(error).__name__}: {error}"
        lines.append(Line(choice.kind, isinstance(choice, Case), seconds, verdict, detail))
    client.close()


def judge(choice: Case | Bad, answer: Answer | None, acceptable: set[str]) -> tuple[str, str]:
    if answer is not None and answer.status in BUSY:
        return ("busy", "") if answer.status == 504 or answer.headers.get("retry-after") else ("wrong", "503 without Retry-After")
    if answer is not None and answer.status >= 500:
        return "fault", f"{answer.status}: {answer.body[:300]!r}"
    if answer is not None and not answer.headers.get("x-request-id"):
        return "wrong", "an answer without X-Request-Id"
    if isinstance(choice, Bad):
        problem = choice.problem(answer)
        return ("wrong", problem) if problem else ("right", "")
    assert answer is not None
    if answer.status != 200:
        return "wrong", f"{answer.status}: {answer.body[:300]!r}"
    try:
        versions = choice.versions(answer)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return "wrong", f"{error!r}: {answer.body[:300]!r}"
    if not versions:
        return "wrong", f"{choice.model}: {answer.body[:300]!r}"
    if choice.model == SWAPPED and not versions & acceptable:
        return "stale", f"version {versions} where {acceptable} was loaded"
    return "right", ""


# --- replacing bundles under load ---


class Swapper:
    """Puts one version after the other in the place of the bundle, sometimes a broken one, and has the server reload."""

    def __init__(self, load: Load, folder: Path, versions: dict[str, Path], client: Client, probe: Case, hang_up: Callable | None):
        self.load, self.place, self.versions, self.client, self.probe = load, folder / SWAPPED, versions, client, probe
        triggers = [self.reload, self.reload_one] + ([hang_up] if hang_up else [])
        self.triggers = triggers
        self.seconds: list[float] = []
        self.refused = 0
        self.problems: list[str] = []
        self.present = "A"

    def run(self, reloads: int, pace: float) -> None:
        try:
            for number in range(reloads):
                begin = time.monotonic()
                self.one(number)
                time.sleep(max(0.0, pace - (time.monotonic() - begin)))
        except Exception as error:  # a thread's exception must end the run, not hide
            self.problems.append(f"reload {len(self.seconds)}: {error!r}")

    def one(self, number: int) -> None:
        trigger = self.triggers[number % len(self.triggers)]
        if number % 10 == 9:
            self.damage(number // 10)
            self.expect_refusal(trigger)
            return
        version = "B" if self.present == "A" else "A"
        self.load.allowed.append({self.present, version})
        if number % 4 == 3:
            self.copy_file_by_file(version)
        else:
            self.exchange(self.versions[version])
        begin = time.monotonic()
        trigger()
        self.confirm(version)
        self.seconds.append(time.monotonic() - begin)
        self.present = version
        self.load.allowed.append({version})

    def exchange(self, source: Path) -> None:
        """A whole folder takes the place of another."""
        new, old = self.place.with_name(".new"), self.place.with_name(".old")
        shutil.copytree(source, new)
        self.place.rename(old)
        new.rename(self.place)
        shutil.rmtree(old)

    def copy_file_by_file(self, version: str) -> None:
        """The graph first: a reload between the two sees a bundle that its card does not vouch for."""
        self.put(self.versions[version] / "model.onnx")
        self.expect_refusal(self.reload)
        for file in self.versions[version].rglob("*"):
            if file.is_file() and file.name not in ("model.onnx", "card.json"):
                self.put(file, file.relative_to(self.versions[version]))
        self.put(self.versions[version] / "card.json")

    def put(self, file: Path, name: Path | None = None) -> None:
        shutil.copy(file, self.place.with_name(".file"))
        self.place.with_name(".file").replace(self.place / (name or file.name))

    def damage(self, number: int) -> None:
        """A version that must not be served: cut short, no JSON, or garbage that its card vouches for."""
        broken = self.place.with_name(".broken")
        shutil.copytree(self.versions["B" if self.present == "A" else "A"], broken)
        graph = broken / "model.onnx"
        if number % 3 == 0:
            graph.write_bytes(graph.read_bytes()[:-1000])
        elif number % 3 == 1:
            (broken / "card.json").write_text('{"format": "1.0", ')
        else:
            graph.write_bytes(b"no graph")
            write_card(broken, json.loads((broken / "card.json").read_text()))
        self.exchange(broken)
        shutil.rmtree(broken)

    def expect_refusal(self, trigger: Callable[[], None]) -> None:
        trigger()
        end = time.monotonic() + CONFIRM_SECONDS
        while SWAPPED not in (answer := self.client.ask(Request("/healthz/ready", method="GET"))).json().get("refused", {}):
            if time.monotonic() > end:
                self.problems.append(f"a broken {SWAPPED} was not refused: {answer.body[:300]!r}")
                return
            time.sleep(0.02)
        if answer.status != 200:
            self.problems.append(f"a refused replacement turned readiness {answer.status}")
        if self.present not in self.probe.versions(self.probe.send(self.client)):
            self.problems.append(f"a refused replacement changed the answer from {self.present}")
        self.refused += 1

    def confirm(self, version: str) -> None:
        """Wait until the new version answers."""
        end = time.monotonic() + CONFIRM_SECONDS
        while version not in self.probe.versions(self.probe.send(self.client)):
            if time.monotonic() > end:
                raise TimeoutError(f"version {version} did not answer {CONFIRM_SECONDS} s after its reload")
            time.sleep(0.02)

    def reload(self) -> None:
        self.command("/v2/repository/reload")

    def reload_one(self) -> None:
        self.command(f"/v2/repository/models/{SWAPPED}/load", refusable=True)

    def command(self, path: str, refusable: bool = False) -> None:
        answer = self.client.ask(Request(path, b"{}", {"Content-Type": "application/json"}))
        if answer.status != 200 and not (refusable and answer.status == 400):
            self.problems.append(f"{path} answered {answer.status}: {answer.body[:200]!r}")


# --- measuring ---


class Memory:
    """The server's memory, twice a second; growth is from the end of the warm-up to the end of the run."""

    def __init__(self, read: Callable[[], float] | None, warm_up: float):
        self.read, self.warm_up = read, warm_up
        self.samples: list[tuple[float, float]] = []

    def watch(self, load: Load) -> None:
        begin = time.monotonic()
        while self.read and not load.until.is_set():
            self.samples.append((time.monotonic() - begin, self.read()))
            load.until.wait(0.5)

    def between(self, begin: float, end: float) -> float:
        return float(np.median([megabytes for at, megabytes in self.samples if begin <= at <= end]))

    def figures(self) -> tuple[float, float, float]:
        """After the warm-up, at the end, and the most: medians over five seconds or a tenth of the run."""
        last = self.samples[-1][0]
        span = min(5.0, last / 10)
        return self.between(self.warm_up, self.warm_up + span), self.between(last - span, last), max(mb for _, mb in self.samples)


def report(lines: list[Line], seconds: float, options: argparse.Namespace) -> None:
    kinds: dict[tuple[bool, str], list[Line]] = collections.defaultdict(list)
    for line in lines:
        kinds[not line.good, line.kind].append(line)
    print(
        f"{'':30}{'requests':>9}{'right':>9}{'wrong':>7}{'stale':>7}{'lost':>6}{'5xx':>5}{'busy':>6}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}"
    )
    for bad, kind in sorted(kinds):
        row(("bad: " if bad else "") + kind, kinds[bad, kind])
    row("all good", [line for line in lines if line.good])
    row("all bad", [line for line in lines if not line.good])
    good = sum(line.good for line in lines)
    print(
        f"{len(lines)} requests in {seconds:.0f} s, {len(lines) / seconds:.0f} a second, {100 * (1 - good / len(lines)):.1f} % bad, "
        f"{options.clients} clients, load average {os.getloadavg()[0]:.1f}"
    )


def row(name: str, lines: list[Line]) -> None:
    count = collections.Counter(line.verdict for line in lines)
    p50, p95, p99 = np.percentile([1000 * line.seconds for line in lines], [50, 95, 99]) if lines else (0, 0, 0)
    print(
        f"{name[:29]:30}{len(lines):9}{count['right']:9}{count['wrong']:7}{count['stale']:7}{count['lost']:6}{count['fault']:5}"
        f"{count['busy']:6}{p50:9.1f}{p95:9.1f}{p99:9.1f}"
    )


def breaches(lines: list[Line], memory: Memory, swapper: Swapper | None) -> list[str]:
    found = []
    for verdict in ("wrong", "stale", "lost", "fault"):
        those = [line for line in lines if line.verdict == verdict]
        if those:
            found.append(f"{len(those)} {verdict}: " + "; ".join(f"{line.kind}, {line.detail}" for line in those[:3]))
    good = [line for line in lines if line.good]
    busy = sum(line.verdict == "busy" for line in good)
    if busy > (0 if swapper else REFUSED * len(good)):
        found.append(f"{busy} of {len(good)} good requests were refused as busy or late")
    if memory.samples:
        warm, end, _ = memory.figures()
        if end - warm > GROWTH:
            found.append(f"the memory grew by {end - warm:.0f} MB after the warm-up, more than {GROWTH:.0f}")
    return found + (swapper.problems if swapper else [])


def final_breaches(client: Client, load: Load, server: OwnServer | None) -> list[str]:
    """After the storm: it is ready, every way of asking is right, and it stops when told, without ever having crashed."""
    found = []
    ready = client.ask(Request("/healthz/ready", method="GET"))
    if ready.status != 200:
        found.append(f"not ready afterwards: {ready.body[:300]!r}")
    for cases in load.cases.values():
        verdict, detail = judge(cases[0], cases[0].send(client), load.allowed[-1])
        if verdict != "right":
            found.append(f"afterwards {cases[0].kind} was {verdict}: {detail}")
    if server:
        status = server.stop()
        if status != 0:
            found.append(f"SIGTERM ended the server with status {status}")
        if "Traceback" in server.log.read_text():
            found.append(f"its log has a traceback: {first_traceback(server.log.read_text())}")
    return found


def first_traceback(text: str) -> str:
    at = text.index("Traceback")
    return text[max(0, at - 300) : at + 1500]


# --- the run ---


def main() -> int:
    options = read_options()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        if options.url:
            return against(options, Path(folder), None)
        bundles = Path(folder) / "saved_models"
        shutil.copytree(options.bundles, bundles)
        number_bundle(bundles)
        if options.reloads:
            make_versions(bundles, Path(folder))
        server = OwnServer(bundles, Path(folder) / "server.log", "--body-seconds", str(options.body_seconds), *options.server)
        try:
            return against(options, bundles, server)
        finally:
            server.kill()
            if options.log:
                shutil.copy(server.log, options.log)


def make_versions(bundles: Path, folder: Path) -> dict[str, Path]:
    source = bundles / "digits-lenet5"
    versions = {"A": other_version(source, folder / "A", SWAPPED, 1.0, 0.0), "B": other_version(source, folder / "B", SWAPPED, 0.7, 0.2)}
    shutil.copytree(versions["A"], bundles / SWAPPED)
    return versions


def against(options: argparse.Namespace, folder: Path, server: OwnServer | None) -> int:
    """Load the server, print the table, and say what was wrong."""
    place = urllib.parse.urlsplit(options.url or f"http://127.0.0.1:{server and server.port}")
    host, port = place.hostname or "127.0.0.1", place.port or 80
    bundles: list[Bundle] = load_all(folder if server else options.bundles)
    versions = {name: load_bundle(folder.parent / name) for name in ("A", "B")} if options.reloads else {}
    load = make_load(bundles, versions, options)
    clients = [Client(host, port, options.token) for _ in range(options.clients + 1)]
    swapper = None
    if options.reloads:
        assert server is not None
        paths = {name: folder.parent / name for name in versions}
        probe = next(case for cases in load.cases.values() for case in cases if case.model == SWAPPED and case.kind == "v2 binary")
        swapper = Swapper(load, folder, paths, clients[-1], probe, server.hang_up)
    read = server.megabytes if server else (lambda: resident(options.pid)) if options.pid else None
    memory = Memory(read, min(30.0, 30 * options.minutes))
    lines: list[list[Line]] = [[] for _ in range(options.clients)]
    seconds = run(load, clients, lines, memory, swapper, options)
    everything = [line for those in lines for line in those]
    report(everything, seconds, options)
    print_memory(memory)
    found = breaches(everything, memory, swapper)
    if swapper:
        p50, most = np.percentile(swapper.seconds or [0], [50, 100])
        print(f"reloads: {len(swapper.seconds)} new versions, p50 {p50:.2f} s, most {most:.2f} s; {swapper.refused} broken ones refused")
    found += final_breaches(clients[-1], load, server)
    print("\n".join(f"BREACH: {breach}" for breach in found) or "no breach")
    return 1 if found else 0


def make_load(bundles: list[Bundle], versions: dict[str, Bundle], options: argparse.Namespace) -> Load:
    cases: dict[str, list[Case]] = collections.defaultdict(list)
    for bundle in bundles:
        copies = 4 if bundle.name == SWAPPED else 1  # as much traffic to the one that changes as to the others together
        for case in good_cases(versions if bundle.name == SWAPPED else {"": bundle}):
            cases[case.kind] += [case] * copies
    return Load(dict(cases), bad_requests(bundles, options.body_seconds), options.bad / 100)


def run(
    load: Load, clients: list[Client], lines: list[list[Line]], memory: Memory, swapper: Swapper | None, options: argparse.Namespace
) -> float:
    """Let all work until the time is over and the reloads are done; the seconds it took."""
    threads = [threading.Thread(target=work, args=(load, client, seed, lines[seed])) for seed, client in enumerate(clients[:-1])]
    threads.append(threading.Thread(target=memory.watch, args=(load,)))
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    try:
        if swapper:
            swapper.run(options.reloads, 60 * options.minutes / options.reloads)
        time.sleep(max(0.0, 60 * options.minutes - (time.monotonic() - begin)))
    finally:
        load.until.set()
    for thread in threads:
        thread.join()
    return time.monotonic() - begin


def print_memory(memory: Memory) -> None:
    if memory.samples:
        warm, end, most = memory.figures()
        print(f"server memory: {warm:.0f} MB after a warm-up of {memory.warm_up:.0f} s, {end:.0f} MB at the end, {most:.0f} MB at most")


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=3.0, help="length of the run (default: %(default)g)")
    parser.add_argument("--clients", type=int, default=16, help="clients at once (default: %(default)s)")
    parser.add_argument("--bad", type=float, default=5.0, metavar="PERCENT", help="bad requests (default: %(default)g)")
    parser.add_argument("--reloads", type=int, default=0, help="replace a bundle so many times meanwhile (own server only)")
    parser.add_argument("--bundles", type=Path, default=ROOT / "saved_models", help="what the server serves (default: saved_models)")
    parser.add_argument("--body-seconds", type=float, default=5.0, help="what the server has for it (default: %(default)g)")
    parser.add_argument("--url", help="ask this server instead of an own one")
    parser.add_argument("--pid", type=int, help="its process, to measure memory")
    parser.add_argument("--token", help="its bearer token")
    parser.add_argument("--log", type=Path, help="keep the own server's log here")
    parser.add_argument("--server", nargs=argparse.REMAINDER, default=[], help="the rest are options of the own server")
    options = parser.parse_args()
    if options.reloads and options.url:
        parser.error("--reloads needs a server of its own: it changes files and sends SIGHUP")
    return options


if __name__ == "__main__":
    sys.exit(main())
