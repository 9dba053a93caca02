"""How long one answer takes in each runtime, batch 1, in milliseconds."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import numpy as np

from export.parity import Arrays, Run


def measure(run: Run, feeds: Arrays, seconds: float = 1.5, most: int = 100) -> dict[str, float]:
    """p50 and p95 of `run` on one example after the other: a few calls to warm up, then at most `most` calls or `seconds`."""
    count = len(next(iter(feeds.values())))
    singles = [{name: values[i : i + 1] for name, values in feeds.items()} for i in range(min(count, most))]
    for i in range(5):
        run(singles[i % len(singles)])
    times, end = [], time.perf_counter() + seconds
    while len(times) < 10 or (len(times) < most and time.perf_counter() < end):
        one = singles[len(times) % len(singles)]
        start = time.perf_counter()
        run(one)
        times.append(1000 * (time.perf_counter() - start))
    p50, p95 = np.percentile(times, [50, 95])
    return {"p50_ms": round(float(p50), 3), "p95_ms": round(float(p95), 3)}


def processor() -> str:
    """The processor's name and its core count, as `Some CPU, 2 cores`."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {cores()} cores"


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
