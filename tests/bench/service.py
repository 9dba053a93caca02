"""What the server adds to the network on /v2/models/NAME/infer: p50 and p95 beside the bare onnxruntime call, alternating in one run.

    python tests/bench/service.py [--bundle saved_models/digits-lenet5] [--batch 1] [--requests 500]

Bare is `session.run` of the same file with the server's own options, on an array that lies ready. The server is asked over one
keep-alive connection, in JSON and in binary, and by POST /api/classify with a picture. Then 16 clients ask at once.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from apps.runtime import Bundle, load_bundle  # noqa: E402
from apps.runtime.bundle import open_graph  # noqa: E402
from tests.service.serving import OwnServer  # noqa: E402
from tests.service.traffic import Client, Request, pictures_for, some_inputs, v2_binary, v2_json  # noqa: E402

GOAL = 3.0  # ms that the server may add at the median
WARM_UP = 50


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "saved_models" / "digits-lenet5", help="bundle to ask (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="pictures in a request (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=500, help="timed requests of each kind (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="clients of the second part (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of the second part for each kind (default: %(default)g)")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    with tempfile.TemporaryDirectory() as folder:
        bundles = Path(folder) / "saved_models"
        bundles.mkdir()
        (bundles / bundle.name).symlink_to(options.bundle.resolve())
        server = OwnServer(bundles, Path(folder) / "server.log")
        try:
            requests = make_requests(bundle, options.batch)
            print(f"{bundle.name}, batch {options.batch}; server ready after {server.start_seconds:.1f} s; load {os.getloadavg()[0]:.1f}")
            fine = one_at_a_time(bundle, options, requests, Client("127.0.0.1", server.port))
            for name, request in requests.items():
                together(name, request, options, server.port)
        finally:
            server.stop()
    return 0 if fine else 1


def make_requests(bundle: Bundle, batch: int) -> dict[str, Request]:
    inputs = some_inputs(bundle, "model", batch, 0)
    path = f"/v2/models/{bundle.name}/infer"
    requests = {"v2 JSON": Request(path, *v2_json(inputs)), "v2 binary": Request(path, *v2_binary(inputs))}
    if bundle.task == "classification":
        requests["picture"] = Request(f"/api/classify?model={bundle.name}", pictures_for(bundle)[0], {"Content-Type": "image/png"})
    return requests


def one_at_a_time(bundle: Bundle, options: argparse.Namespace, requests: dict[str, Request], client: Client) -> bool:
    """Both sides take turns, so that a busy machine slows them alike. True when /v2 meets the goal."""
    session, inputs = open_graph(bundle.path / "model.onnx"), some_inputs(bundle, "model", options.batch, 0)
    calls: dict[str, Callable[[], object]] = {"bare onnxruntime": lambda: session.run(None, inputs)}
    calls |= {name: asker(client, request) for name, request in requests.items()}
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP + options.requests):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if number >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - begin))
    print(f"{'one at a time':20}{'p50 ms':>10}{'p95 ms':>10}{'p50 over bare':>16}{'p95 over bare':>16}")
    figures = {name: np.percentile(values, [50, 95]) for name, values in times.items()}
    bare = figures["bare onnxruntime"]
    for name, (p50, p95) in figures.items():
        print(f"{name:20}{p50:10.2f}{p95:10.2f}{p50 - bare[0]:16.2f}{p95 - bare[1]:16.2f}")
    worst = max(figures[name][0] - bare[0] for name in figures if name.startswith("v2"))
    print(f"goal: at most {GOAL:g} ms over bare at the median; {'met' if worst <= GOAL else 'MISSED'}")
    return worst <= GOAL


def asker(client: Client, request: Request) -> Callable[[], None]:
    def ask() -> None:
        answer = client.ask(request)
        if answer.status != 200:
            raise SystemExit(f"{request.path} answered {answer.status}: {answer.body[:200]!r}")

    return ask


def together(name: str, request: Request, options: argparse.Namespace, port: int) -> None:
    """Requests a second when all clients ask as fast as they can."""
    end, times = time.perf_counter() + options.seconds, [[] for _ in range(options.clients)]

    def work(own: list[float]) -> None:
        ask = asker(Client("127.0.0.1", port), request)
        while (begin := time.perf_counter()) < end:
            ask()
            own.append(1000 * (time.perf_counter() - begin))

    threads = [threading.Thread(target=work, args=(own,)) for own in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    everything = [value for own in times for value in own]
    p50, p95, p99 = np.percentile(everything, [50, 95, 99])
    rate = len(everything) / options.seconds
    print(f"{options.clients} clients, {name:12} {rate:8.0f} requests/s   p50 {p50:.1f} ms   p95 {p95:.1f} ms   p99 {p99:.1f} ms")


if __name__ == "__main__":
    sys.exit(main())
