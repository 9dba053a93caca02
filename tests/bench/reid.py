"""Evaluation of re-identification at Market-1501's size, 3,368 queries against 15,913 pictures of 512 numbers: seconds and memory.

    python tests/bench/reid.py                            reid_evaluate
    python tests/bench/reid.py --what rerank              with k-reciprocal re-ranking
    python tests/bench/reid.py --what open-set            ROC and operating points

Embeddings are drawn at random around 750 people; distractors are in the gallery, as in Market-1501. Memory is the process's peak, as
Linux counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from kerasdl.metrics import identification, reid_evaluate, reid_open_set  # noqa: E402

PEOPLE, CAMERAS, DISTRACTORS = 750, 6, 2798
MB = 1_000_000


def memory(line: str) -> float:
    """MB of this process, "VmRSS" now or "VmHWM" at most. ru_maxrss would begin with that of the program that started it."""
    found = re.search(rf"{line}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024 / MB


def drawn(queries: int, gallery: int, size: int) -> tuple[Any, ...]:
    """Arguments of `reid_evaluate`."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((PEOPLE + 1, size), np.float32)
    pids = [random.integers(1, PEOPLE + 1, count) for count in (queries, gallery)]
    pids[1][: gallery * DISTRACTORS // 15_913] = 0
    embeddings = [random.standard_normal((len(p), size), np.float32) * 2.5 + centres[p] * (p > 0)[:, None] for p in pids]
    return *embeddings, *pids, *(random.integers(1, CAMERAS + 1, count) for count in (queries, gallery))


def measure(what: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
    if what == "open-set":
        found, asked = reid_open_set(*arguments), identification(*arguments)
        return {"TPR at FAR": found["tpr_at_far"], "AUC": found["auc"], "DIR at FAR 0.01": asked["dir"]}
    found = reid_evaluate(*arguments, rerank=what == "rerank")
    return {"rank-1": found["cmc"][0], "mAP": found["mAP"], "valid queries": found["valid_queries"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=("evaluate", "rerank", "open-set"), default="evaluate")
    parser.add_argument("--queries", type=int, default=3368)
    parser.add_argument("--gallery", type=int, default=15_913)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    arguments = drawn(options.queries, options.gallery, options.size)
    before, start = memory("VmRSS"), time.perf_counter()
    found = measure(options.what, arguments)
    seconds, most = time.perf_counter() - start, memory("VmHWM")
    found = {"seconds": seconds, "peak MB": most, "MB over the inputs": most - before, "load": os.getloadavg()[0]} | found
    print(json.dumps(found) if options.json else "\n".join(f"{name:<20} {value}" for name, value in found.items()))


if __name__ == "__main__":
    main()
