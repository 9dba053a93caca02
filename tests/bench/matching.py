"""What a search among 10,000 people takes over HTTP: p50 and p95 of POST /api/match beside its parts in process, alternating in one run.

    python tests/bench/matching.py [--people 10000] [--pictures 2] [--requests 300]

In process are the parts of one request: decode and prepare the picture, embed it, search the gallery. The people are clusters around
random directions: an exact search takes as long whatever the vectors are. Ends with 1 when the goal is missed.
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

from apps.gallery import Gallery, NewPicture, Quota, open_gallery  # noqa: E402
from apps.gallery.importing import mark_of  # noqa: E402
from apps.runtime import Bundle, embed, load_bundle, open_picture  # noqa: E402
from tests.service.serving import OwnServer  # noqa: E402
from tests.service.traffic import Client, Request  # noqa: E402

GOAL = 60.0  # ms at the median
WARM_UP = 30
TOP = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "saved_models" / "pedestrians-reid", help="network (default: %(default)s)")
    parser.add_argument("--people", type=int, default=10_000, help="in the gallery (default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=2, help="of each (default: %(default)s)")
    parser.add_argument("--requests", type=int, default=300, help="timed (default: %(default)s)")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    picture = next((options.bundle / "examples").glob("*.png")).read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        bundles, path = Path(folder) / "saved_models", Path(folder) / "people.gallery"
        bundles.mkdir()
        (bundles / bundle.name).symlink_to(options.bundle.resolve())
        with open_gallery(path, mark_of(bundle), Quota(options.people, options.people * options.pictures)) as gallery:
            enrol_all(gallery, options.people, options.pictures)
            server = OwnServer(bundles, Path(folder) / "server.log", "--gallery", str(path))
            try:
                return 0 if measure(bundle, gallery, picture, options.requests, Client("127.0.0.1", server.port)) else 1
            finally:
                server.stop()


def enrol_all(gallery: Gallery, people: int, pictures: int) -> None:
    generator = np.random.default_rng(0)
    begin = time.perf_counter()
    for number in range(people):
        centre = generator.normal(size=gallery.model.dimensions)
        vectors = centre + 0.5 * generator.normal(size=(pictures, len(centre)))
        vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
        gallery.enrol(f"person {number}", [NewPicture(vector, camera=str(place)) for place, vector in enumerate(vectors)])
    seconds = time.perf_counter() - begin
    told = f"{gallery.people:,} people, {gallery.pictures:,} pictures of {gallery.model.dimensions} numbers"
    print(f"{told}; {people / seconds:,.0f} enrolments/s, each on disk; load {os.getloadavg()[0]:.1f}")


def measure(bundle: Bundle, gallery: Gallery, picture: bytes, requests: int, client: Client) -> bool:
    """All sides take turns, so that a busy machine slows them alike."""
    seen = bundle.prepare(open_picture(picture, bundle.color))
    vector = embed(bundle, [seen]).vectors[0]
    request = Request(f"/api/match?model={bundle.name}&top={TOP}", picture, {"Content-Type": "image/png"})
    calls: dict[str, Callable[[], object]] = {
        "prepare": lambda: bundle.prepare(open_picture(picture, bundle.color)),
        "embed": lambda: embed(bundle, [seen]),
        "search": lambda: gallery.search(vector, TOP),
        "POST /api/match": lambda: asked(client, request),
    }
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(WARM_UP + requests):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            if number >= WARM_UP:
                times[name].append(1000 * (time.perf_counter() - begin))
    for name, values in times.items():
        p50, p95 = np.percentile(values, [50, 95])
        print(f"{name:20} p50 {p50:8.2f} ms   p95 {p95:8.2f} ms")
    median = float(np.median(times["POST /api/match"]))
    print(f"goal: at most {GOAL:g} ms at the median; {'met' if median <= GOAL else 'MISSED'}")
    return median <= GOAL


def asked(client: Client, request: Request) -> None:
    answer = client.ask(request)
    if answer.status != 200 or len(answer.json()["people"]) != TOP:
        raise SystemExit(f"{request.path} answered {answer.status}: {answer.body[:200]!r}")


if __name__ == "__main__":
    sys.exit(main())
