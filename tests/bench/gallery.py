"""Search among many people: the exact search of the SQLite gallery, and the indexes of Milvus Lite beside it, recall beside latency.

    python tests/bench/gallery.py [--pictures 100000] [--dimensions 256] [--queries 200] [--stores sqlite,flat,hnsw]

Vectors are clustered, as people are: 500 groups of look-alikes, in each of them people, each person 20 pictures. Random directions would
make every approximate index look bad. A query is another picture of someone who is there. Recall@10 is measured against the definition,
reckoned here. Everybody is enrolled one by one and kept before the next comes; `enrol/s` is the rate at the end,
of people with two pictures each.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from apps.gallery import Gallery, ModelMark, NewPicture, Quota, open_gallery  # noqa: E402

GOAL = 10.0  # ms at the median for the exact search among 100,000 x 256
GROUPS = 500
TOP = 10
QUOTA = Quota(people=10_000_000, pictures=10_000_000, pictures_per_person=10_000)
EACH = 20  # pictures a person
NEW = 100  # people whose enrolment is timed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=100_000, help="in the gallery (default: %(default)s)")
    parser.add_argument("--dimensions", type=int, default=256, help="of a vector (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=200, help="searches that are timed (default: %(default)s)")
    parser.add_argument("--stores", default="sqlite,flat,hnsw", help="which (default: %(default)s)")
    options = parser.parse_args()
    vectors, queries = clusters(options.pictures, options.dimensions, options.queries)
    print(f"{len(vectors):,} x {options.dimensions}, {GROUPS} groups, load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    header = ("store", "fill s", "open s", "p50 ms", "p95 ms", "cpu ms", "mean p50", "filter p50", "recall@10", "enrol/s", "delete ms")
    print("".join(f"{word:>11}" for word in header))
    p50 = 0.0
    for store in options.stores.split(","):
        with tempfile.TemporaryDirectory() as folder:
            found = measure(store, folder, vectors, queries)
        p50 = found["p50 ms"] if store == "sqlite" else p50
        print(f"{store:>11}" + "".join(f"{found[word]:11.3f}" for word in header[1:]), flush=True)
    verdict = "met" if p50 <= GOAL else "MISSED"
    print(f"goal: the exact search among 100,000 x 256 in {GOAL:g} ms at the median; {verdict}; load {os.getloadavg()[0]:.1f}")
    return 0 if p50 <= GOAL else 1


def clusters(count: int, dimensions: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 [N, D] and [Q, D] of length one; 20 rows in a row are one person's."""
    random = np.random.default_rng(0)
    groups = random.normal(size=(GROUPS, dimensions))
    people = groups[random.integers(0, GROUPS, count // EACH)] + 0.7 * random.normal(size=(count // EACH, dimensions))
    vectors = np.repeat(people, EACH, axis=0) + 0.4 * random.normal(size=(EACH * len(people), dimensions))
    seen = people[random.choice(len(people), queries, replace=False)] + 0.4 * random.normal(size=(queries, dimensions))
    return unit(vectors), unit(seen)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def measure(store: str, folder: str, vectors: np.ndarray, queries: np.ndarray) -> dict[str, float]:
    mark = ModelMark("bench", "a" * 64, vectors.shape[1])
    address = f"{folder}/people.gallery" if store == "sqlite" else f"milvus:{folder}/people?index={store}"
    with open_gallery(address, mark, QUOTA) as gallery:
        fill = seconds(lambda: enrol_many(gallery, vectors))
    begin = time.perf_counter()
    with open_gallery(address, mark, QUOTA) as gallery:
        gallery.search(queries[0])
        found = {"fill s": fill, "open s": time.perf_counter() - begin}
        cpu = time.process_time()
        times, hits = searches(gallery, queries, {})
        found["cpu ms"] = 1000 * (time.process_time() - cpu) / len(queries)  # of all threads: on a busy machine the fairer figure
        found |= {"p50 ms": percentile(times, 50), "p95 ms": percentile(times, 95), "recall@10": recall(vectors, queries, hits)}
        found["mean p50"] = percentile(searches(gallery, queries[:50], {"by": "mean"})[0], 50)
        found["filter p50"] = percentile(searches(gallery, queries[:50], {"cameras": ["1", "2"]})[0], 50)
        ids: list[str] = []
        pictures = [NewPicture(vector, camera="7") for vector in vectors[:2]]
        taken = seconds(lambda: ids.extend(gallery.enrol("new", pictures).id for _ in range(NEW)))
        some = ids if store == "sqlite" else ids[:1]
        found |= {"enrol/s": NEW / taken, "delete ms": 1000 * seconds(lambda: [gallery.delete(one) for one in some]) / len(some)}
    return found


def enrol_many(gallery: Gallery, vectors: np.ndarray) -> None:
    """A name says the person's number."""
    for number, own in enumerate(vectors.reshape(-1, EACH, vectors.shape[1])):
        gallery.enrol(str(number), [NewPicture(vector, camera=str(camera % 6)) for camera, vector in enumerate(own)])


def searches(gallery: Gallery, queries: np.ndarray, options: dict) -> tuple[list[float], list[list[int]]]:
    for query in queries[:5]:
        gallery.search(query, TOP, **options)
    times, hits = [], []
    for query in queries:
        begin = time.perf_counter()
        found = gallery.search(query, TOP, **options)
        times.append(1000 * (time.perf_counter() - begin))
        hits.append([int(hit.person.name) for hit in found])
    return times, hits


def recall(vectors: np.ndarray, queries: np.ndarray, hits: list[list[int]]) -> float:
    """Share of the ten people with the best picture that were found."""
    shares = []
    for query, found in zip(queries, hits, strict=True):
        best = (vectors @ query).reshape(-1, EACH).max(1)
        shares.append(len(set(np.argsort(-best, kind="stable")[:TOP]) & set(found)) / TOP)
    return float(np.mean(shares))


def seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def percentile(values: list[float], which: int) -> float:
    return float(np.percentile(values, which))


if __name__ == "__main__":
    sys.exit(main())
