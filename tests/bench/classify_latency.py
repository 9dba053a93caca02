"""What the server adds to the network: p50 and p95 of POST /api/classify beside the bare onnxruntime call, alternating in one run.

python tests/bench/classify_latency.py --bundle saved_models/digits-lenet5
"""

from __future__ import annotations

import argparse
import http.client
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from apps.runtime import load_bundle, open_picture  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "saved_models" / "digits-lenet5", help="bundle to ask (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=500, help="timed requests (default: %(default)s)")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    picture = next(iter(sorted((bundle.path / "examples").glob("*.png")))).read_bytes()
    batch = bundle.prepare(open_picture(picture, bundle.color))[None]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(bundle.path, Path(folder) / bundle.name)
        process, port, seconds = start(folder)
        try:
            ask = asker(port, bundle.name, picture)
            times = measure({"POST /api/classify": ask, "bare onnxruntime": lambda: bundle.run({"image": batch})}, options.requests)
        finally:
            process.terminate()
            process.wait(30)
    report(bundle.name, times, options.requests, seconds)


def start(folder: str) -> tuple[subprocess.Popen, int, float]:
    begin = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "apps", "--bundles", folder, "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.match(r"Ready: http://127\.0\.0\.1:(\d+)", line):
            return process, int(found[1]), time.perf_counter() - begin
    raise SystemExit("the server did not start")


def asker(port: int, name: str, picture: bytes) -> Callable[[], object]:
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask() -> None:
        connection.request("POST", f"/api/classify?model={name}", picture, {"content-type": "image/png"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200

    return ask


def measure(calls: dict[str, Callable[[], object]], requests: int) -> dict[str, np.ndarray]:
    """Milliseconds of each call; they take turns, so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(requests + 30):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if number >= 30:
                times[name].append(1000 * (time.perf_counter() - begin))
    return {name: np.array(values) for name, values in times.items()}


def report(name: str, times: dict[str, np.ndarray], requests: int, seconds: float) -> None:
    print(f"{name}: {requests} requests, one at a time; server ready after {seconds:.1f} s; load {os.getloadavg()[0]:.1f}")
    print(f"{'':24}{'p50 ms':>10}{'p95 ms':>10}")
    figures = {row: np.percentile(values, [50, 95]) for row, values in times.items()}
    figures["difference"] = figures["POST /api/classify"] - figures["bare onnxruntime"]
    for row, (p50, p95) in figures.items():
        print(f"{row:24}{p50:10.2f}{p95:10.2f}")


if __name__ == "__main__":
    main()
