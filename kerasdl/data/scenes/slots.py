"""Slot accuracy: what a sentence about a scene gets right, thing by thing, whatever words it chose."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

from kerasdl.data.scenes.parsing import parse
from kerasdl.data.scenes.scene import Scene, roles

ATTRIBUTES = {"object": "kind", "colour": "colour", "size": "size", "position": "place", "count": "count"}
SLOTS = (*ATTRIBUTES, "relation")


def slot_scores(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    """Fractions of pictures, of "exact" (word for word one of the references), of each slot, and of "all_slots".

    Both sides are parsed; the candidate's things are compared with the picture's in the order that agrees best. A slot is right where it
    agrees for every thing: "object" the kinds, "colour" the colours or that none is named, "size", "position" (places), "count" and
    "relation" with its sides (or that there is none). A candidate with too many or too few things has only a right relation at best,
    one that cannot be parsed has nothing right.

    Raises ValueError for lists of different lengths, no pictures, a picture without references, and references that are no sentences of the
    grammar or tell of different scenes.
    """
    if len(candidates) != len(references) or not candidates:
        raise ValueError(
            f"there must be one candidate a picture, and a picture at least. Received: {len(candidates)} and {len(references)}"
        )
    right = {name: 0 for name in ("exact", *SLOTS, "all_slots")}
    for candidate, some in zip(candidates, references, strict=True):
        found = right_slots(parse(candidate), _agreed(some))
        for name in found:
            right[name] += 1
        right["exact"] += candidate.split() in [reference.split() for reference in some]
        right["all_slots"] += len(found) == len(SLOTS)
    return {name: count / len(candidates) for name, count in right.items()}


def right_slots(candidate: Scene | None, reference: Scene) -> set[str]:
    """The slots in which a candidate agrees with the reference."""
    if candidate is None:
        return set()
    if len(candidate.things) != len(reference.things):
        return {"relation"} if candidate.relation == reference.relation else set()
    orders = permutations(range(len(reference.things)))
    return max((_agreement(candidate, reference, order) for order in orders), key=lambda pair: pair[0])[1]


def _agreement(candidate: Scene, reference: Scene, order: tuple[int, ...]) -> tuple[int, set[str]]:
    """How many attributes agree when the candidate's things come in this order, kinds counted double, and the slots that are right."""
    pairs = [(candidate.things[i], thing) for i, thing in zip(order, reference.things, strict=True)]
    same = {slot: [getattr(one, name) == getattr(other, name) for one, other in pairs] for slot, name in ATTRIBUTES.items()}
    sides = roles(candidate)
    related = candidate.relation == reference.relation
    level = reference.relation is None or [sides[i] for i in order] == list(roles(reference))
    right = {slot for slot, values in same.items() if all(values)} | ({"relation"} if related and level else set())
    return sum(map(sum, same.values())) * 2 + sum(same["object"]) * 2 + (related and level), right


def _agreed(references: Sequence[str]) -> Scene:
    scenes = [parse(reference) for reference in references]
    if not scenes or None in scenes or any(scene != scenes[0] for scene in scenes):
        raise ValueError(f"the references of a picture must be sentences of the grammar about one scene. Received: {list(references)}")
    return scenes[0]  # pyright: ignore[reportReturnType]
