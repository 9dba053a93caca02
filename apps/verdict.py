"""Same person or not: thresholds of the similarity, and what each lets through, as the card of the network measured it.

A card speaks of cosine distances, at most so far apart; people read similarities, at least so alike: similarity = 1 - distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Point:
    """From this similarity on two pictures count as one person's. `far`: share of pairs of two people that pass; `tpr`: of one person.

    `aim` is the FAR that a calibrated threshold was made for.
    """

    similarity: float
    far: float
    tpr: float
    aim: float | None = None


def points(card: dict[str, Any]) -> list[Point]:
    """Those that were measured, from the loosest to the strictest; none of a card without."""
    found = card.get("reid", {}).get("verification", {})
    aims = {point["threshold"]: point for point in found.get("thresholds", []) if "threshold" in point}
    curve = found.get("curve")
    rows = (
        zip(curve["threshold"], curve["far"], curve["tpr"], strict=True)
        if curve
        else sorted((distance, point["far"], point["tpr"]) for distance, point in aims.items())
    )
    told = [Point(1 - distance, far, tpr, aims[distance]["target_far"] if distance in aims else None) for distance, far, tpr in rows]
    return told[::-1]


def calibrated(card: dict[str, Any]) -> list[Point]:
    return [point for point in points(card) if point.aim is not None]


def default(card: dict[str, Any]) -> Point | None:
    """The strictest calibrated one: a search compares with everybody, and each comparison may err."""
    found = calibrated(card)
    return min(found, key=lambda point: point.aim or 1.0) if found else None
