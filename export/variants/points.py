"""What a variant loses, in points: hundredths of the task's main metrics, all of them better when larger.

A point is a percentage point of a share (accuracy, rank-1, mAP, captions with every fact right), 0.01 of BLEU-4, and 0.01 of R2.
"""

from __future__ import annotations

from collections.abc import Mapping

MAIN = {
    "classification": ("accuracy",),
    "embedding": ("rank1", "mAP"),
    "captioning": ("all_slots", "BLEU-4"),
    "regression": ("R2",),
}
POINT = 0.01


def main_metrics(task: str, values: Mapping[str, float]) -> list[str]:
    """Names of the metrics that a variant is judged by: of a task unknown here the first, of several targets each."""
    named = [name for name in values if name in MAIN.get(task, ()) or name.split(" ")[0] in MAIN.get(task, ())]
    return named or list(values)[:1]


def drops(task: str, exact: Mapping[str, float], found: Mapping[str, float]) -> dict[str, float]:
    """Points lost in each main metric; a gain is negative, and what is not a number lost everything."""
    return {name: lost(exact[name], found[name]) for name in main_metrics(task, exact)}


def lost(exact: float, found: float) -> float:
    points = (exact - found) / POINT
    return round(points, 4) if points == points else float("inf")


def most(points: Mapping[str, float]) -> float:
    return max(points.values())
