"""What int8 and float16 gain: float32, U8S8, S8S8 and float16 of bundles, or of registered models with random weights, in one run.

    python tests/bench/int8.py saved_models/cifar10-resnet20 saved_models/pedestrians-reid
    python tests/bench/int8.py --model resnet50 --model vit_s16

One whole answer at a time on one thread, the four taking turns of a few, so that a busy machine slows all alike; the ratio is the median
over the turns. Of a bundle the score is the task's own on the validation split; of random weights it is the share of noise pictures with
float32's best class. Every layer is int8: `python -m export variants` leaves some out where that loses too much. The goals are 3 times the
speed on a machine with VNNI, a quarter of the bytes, and at most half a point lost.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from export import latency  # noqa: E402
from export.gates import open_session  # noqa: E402
from export.parity import onnx_runner  # noqa: E402
from export.variants import half, int8, points, quantise  # noqa: E402
from export.variants.judge import FLOAT32, Judge, Protos, race  # noqa: E402
from export.variants.make import is_channels_first, opened  # noqa: E402
from export.verify import read_card  # noqa: E402

CALIBRATED, COMPARED, TOGETHER = 64, 64, 8  # noise pictures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="*", type=Path, metavar="BUNDLE", help="folders of bundles whose recipes' data is here")
    parser.add_argument("--model", action="append", default=[], metavar="NAME", help="a registered model, with random weights")
    parser.add_argument("--seconds", type=float, default=10.0, help="that a race takes (default: %(default)s)")
    options = parser.parse_args()
    if not options.bundles and not options.model:
        parser.error("give a bundle or --model NAME")
    rows = [row for folder in options.bundles for row in of_bundle(folder, options.seconds)]
    rows += [row for name in options.model for row in of_model(name, options.seconds)]
    print(f"\n{latency.processor()}, one thread, batch 1; load {os.getloadavg()[0]:.1f}")
    print(table(("of", "graphs", "p50 ms", "p95 ms", "times as fast", "MB", "of the bytes", "score", "points lost"), rows))


def of_bundle(folder: Path, seconds: float) -> list[tuple[str, ...]]:
    """A row for each of the four."""
    card = read_card(folder)
    task, splits = opened(card)
    judge = Judge(task, splits, {Path(graph).stem: onnx.load(folder / graph) for graph in card["graphs"]}, is_channels_first(card))
    calls = int8.recorded(judge)
    sets = quantised(judge.exact, {name: quantise.calibrate(proto, calls[name]) for name, proto in judge.exact.items()})
    measured = judge.race(sets, seconds)
    rows = []
    for name, protos in {FLOAT32: judge.exact, **sets}.items():
        scores = judge.score(protos)
        told = ", ".join(f"{metric} {scores[metric]:.4f}" for metric in points.main_metrics(task.name, scores))
        lost = f"{points.most(judge.lost(scores)):.2f}"
        rows.append(row(card["name"], name, measured[name], size(protos), size(judge.exact), told, lost))
    return rows


def of_model(name: str, seconds: float) -> list[tuple[str, ...]]:
    """The same of a model without training."""
    from export import convert, zoo
    from kerasdl import create_model

    model = create_model(name)
    zoo.randomise(model)
    proto = convert.to_onnx(zoo.serving(model))
    rng = np.random.default_rng(0)
    pictures = {"image": rng.integers(0, 256, (CALIBRATED + COMPARED, *model.inputs[0].shape[1:]), dtype="uint8")}
    calls = [{"image": pictures["image"][start : start + TOGETHER]} for start in range(0, CALIBRATED, TOGETHER)]
    sets = quantised({"model": proto}, {"model": quantise.calibrate(proto, calls)})
    runs = {kind: onnx_runner(open_session(one["model"].SerializeToString())) for kind, one in {FLOAT32: {"model": proto}, **sets}.items()}
    others = {"image": pictures["image"][CALIBRATED:]}
    measured = race(runs, others, seconds)
    wanted = best(runs[FLOAT32], others)
    return [
        row(
            f"{name}, random",
            kind,
            measured[kind],
            size({FLOAT32: {"model": proto}, **sets}[kind]),
            proto.ByteSize(),
            f"{(best(run, others) == wanted).mean():.0%} alike",
            "-",
        )
        for kind, run in runs.items()
    ]


def quantised(exact: Protos, calibrated: dict[str, quantise.Calibrated]) -> dict[str, Protos]:
    sets = {scheme: {name: quantise.quantise(ready, scheme) for name, ready in calibrated.items()} for scheme in quantise.SCHEMES}
    return {**sets, "float16": {name: half.halve(proto) for name, proto in exact.items()}}


def best(run: Any, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The largest logit of each picture, a few pictures at a time."""
    starts = range(0, len(feeds["image"]), TOGETHER)
    return np.concatenate([run({"image": feeds["image"][start : start + TOGETHER]})["logits"].argmax(1) for start in starts])


def size(protos: Protos) -> int:
    return sum(proto.ByteSize() for proto in protos.values())


def row(of: str, kind: str, time: dict[str, float], size: int, whole: int, score: str, lost: str) -> tuple[str, ...]:
    figures = (f"{time['p50_ms']:.3f}", f"{time['p95_ms']:.3f}", f"{time['ratio']:.2f}", f"{size / 1e6:.2f}", f"{size / whole:.0%}")
    return (of, kind, *figures, score, lost)


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(line[column]) for line in (head, *rows)) for column in range(len(head))]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines)


if __name__ == "__main__":
    main()
