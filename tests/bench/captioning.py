"""How long a caption takes through onnxruntime on 2 threads: p50 and p95 of greedy choice and of beam 3, beside the goals of 40 and 100 ms.

    python tests/bench/captioning.py                                      saved_models/scenes-captioner
    python tests/bench/captioning.py --bundle saved_models/mine --beam 5  another bundle, and a beam beside the two

Prepared pictures, one at a time, encoder and all steps; the ways take turns, so that a busy machine slows all alike. Without a bundle the
graphs are those of --untrained, "transformer" or "recurrent", with random weights: they say <end> late, which is the longest that it takes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from apps.runtime import decoding, load_bundle  # noqa: E402
from apps.runtime.pictures import open_picture  # noqa: E402

GOALS = {"greedy": 40.0, "beam 3": 100.0}
THREADS = 2
Arrays = dict[str, np.ndarray]


def of_bundle(folder: Path) -> tuple[dict[str, Callable[[Arrays], Arrays]], np.ndarray, int]:
    """(graphs, pictures, length of a caption)."""
    bundle = load_bundle(folder, threads=THREADS)
    pictures = [bundle.prepare(open_picture(path, bundle.color)) for path in sorted((folder / "examples").glob("*.png"))]
    graphs = {graph: lambda feeds, graph=graph: bundle.run(feeds, graph) for graph in ("encoder", "decoder")}
    return graphs, np.stack(pictures), bundle.card["caption"]["length"]


def untrained(decoder: str) -> tuple[dict[str, Callable[[Arrays], Arrays]], np.ndarray, int]:
    """The same of a network as large as that of scenes, without training."""
    from export import convert, gates, parity
    from kerasdl.data.spec import Spec
    from kerasdl.models import resnet20
    from kerasdl.tasks import Captioning

    words = ("<pad>", "<start>", "<end>", "<unk>", *(f"word{i}" for i in range(96)))
    spec = Spec((64, 64, 3), words, (0.5,) * 3, (0.25,) * 3, (), "noise", caption_length=24)
    task = Captioning(decoder, units=256, width=96)
    served = task.serving(task.trained(task.build(resnet20(spec.image_shape), spec)), spec)
    protos = {name: convert.to_onnx(graph).SerializeToString() for name, graph in served.items()}
    graphs = {name: parity.onnx_runner(gates.open_session(proto, THREADS)) for name, proto in protos.items()}
    return graphs, np.random.default_rng(0).integers(0, 256, (24, *spec.image_shape)).astype("uint8"), spec.caption_length


def ways(graphs: dict[str, Callable[[Arrays], Arrays]], length: int, beams: list[int]) -> dict[str, Callable[[np.ndarray], Any]]:
    def speak(pictures: np.ndarray, beam: int) -> decoding.Captions:
        memory = graphs["encoder"]({"image": pictures})
        if beam == 1:
            return decoding.greedy(graphs["decoder"], memory, length)
        return decoding.beam(graphs["decoder"], memory, length, beam)

    return {"greedy" if beam == 1 else f"beam {beam}": lambda pictures, beam=beam: speak(pictures, beam) for beam in beams}


def measure(calls: dict[str, Callable[[np.ndarray], Any]], pictures: np.ndarray, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each picture, each way."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for picture in pictures:
            for name, call in calls.items():
                start = time.perf_counter()
                call(picture[np.newaxis])
                if turn:  # the first round warms up
                    times[name].append(1000 * (time.perf_counter() - start))
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "saved_models" / "scenes-captioner", help="default: %(default)s")
    parser.add_argument("--untrained", choices=("transformer", "recurrent"), help="graphs with random weights in place of a bundle")
    parser.add_argument("--beam", type=int, action="append", default=[], help="a further beam")
    parser.add_argument("--rounds", type=int, default=10, help="over all pictures (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    graphs, pictures, length = untrained(options.untrained) if options.untrained else of_bundle(options.bundle)
    calls = ways(graphs, length, sorted({1, 3, *options.beam}))
    words = {name: float(np.mean((call(pictures).tokens > 3).sum(axis=1))) for name, call in calls.items()}
    found = {}
    for name, times in measure(calls, pictures, options.rounds).items():
        p50, p95 = np.percentile(times, [50, 95])
        met = None if name not in GOALS else bool(p50 <= GOALS[name])
        found[name] = {"p50_ms": p50, "p95_ms": p95, "words": words[name], "goal_ms": GOALS.get(name), "met": met}
    if options.json:
        print(json.dumps(found | {"load": os.getloadavg()[0]}))
    else:
        name = options.untrained or options.bundle.name
        print(f"{name}: {len(pictures)} pictures, {options.rounds} times, {THREADS} threads; load {os.getloadavg()[0]:.1f}")
        print(f"{'':10}{'p50 ms':>10}{'p95 ms':>10}{'words':>8}{'goal ms':>10}")
        for way, row in found.items():
            print(f"{way:10}{row['p50_ms']:10.2f}{row['p95_ms']:10.2f}{row['words']:8.1f}{row['goal_ms'] or '-':>10}")
    return int(any(row["met"] is False for row in found.values()))


if __name__ == "__main__":
    raise SystemExit(main())
