"""What a scene is: up to three groups of things and how they stand to each other. Everything a sentence can say of it, and nothing else."""

from __future__ import annotations

import dataclasses

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PHOTOGRAPHS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")  # CIFAR-10's, in its order
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "cross")
KINDS = DIGITS + PHOTOGRAPHS + SHAPES
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
SIZES = ("small", "large")
CORNERS = ("top left", "top right", "bottom left", "bottom right")
OPPOSITE = (("top left", "bottom right"), ("top right", "bottom left"))
EDGES = ("top", "left", "right", "bottom")
PLACES = (*CORNERS, *EDGES, "middle", "scattered")
# The place of each thing of a relation, in the order of `Scene.things`.
RELATIONS = {"left": ("left of", "right of"), "above": ("above", "below"), "inside": ("inside", "around"), "between": ("between", "beside")}


@dataclasses.dataclass(frozen=True)
class Thing:
    """`count` (1..4) equal things. A colour is the drawn shape's, the digit's tint or the photograph's frame; None has none to name.

    size: "small", "large", or None for what nobody would remark on. place: one of PLACES, or None where a relation says it.
    """

    kind: str
    colour: str | None = None
    size: str | None = None
    count: int = 1
    place: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("kind", KINDS), ("colour", (None, *COLOURS)), ("size", (None, *SIZES)), ("place", (None, *PLACES))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(map(str, known))}. Received: {getattr(self, name)!r}")
        if self.count not in (1, 2, 3, 4):
            raise ValueError(f"count must be 1, 2, 3 or 4. Received: {self.count}")


@dataclasses.dataclass(frozen=True)
class Scene:
    """Things and their relation; scenes that say the same are equal, whatever their seeds.

    things: of "left" and "above" the left or upper group comes first, of "inside" the inner one, of "between" the middle one and then the
        other two in a fixed order; without a relation every thing has a place, and they come in the order of PLACES.
    seed: of everything a sentence does not say: which scan, where exactly, on what ground, and which sentences.
    """

    things: tuple[Thing, ...]
    relation: str | None = None
    seed: tuple[int, ...] = dataclasses.field(default=(0,), compare=False)

    def __post_init__(self) -> None:
        needed = {None: (1, 2), "between": (3,)}.get(self.relation, (2,))
        if self.relation not in (None, *RELATIONS) or len(self.things) not in needed:
            raise ValueError(f"a relation is None (1 or 2 things), left, above, inside (2) or between (3). Received: {self}")
        if any((thing.place is None) != (self.relation is not None) for thing in self.things):
            raise ValueError(f"things have a place where there is no relation, and nowhere else. Received: {self}")
        object.__setattr__(self, "things", _ordered(self.things, self.relation))


def _ordered(things: tuple[Thing, ...], relation: str | None) -> tuple[Thing, ...]:
    if relation is None:
        return tuple(sorted(things, key=lambda thing: PLACES.index(thing.place or "middle")))
    if relation == "between":
        return things[0], *sorted(
            things[1:], key=lambda thing: (KINDS.index(thing.kind), thing.colour or "", thing.size or "", thing.count)
        )
    return things


def roles(scene: Scene) -> tuple[str, ...]:
    """What each thing does in the scene: its place, or its side of the relation."""
    if scene.relation is None:
        return tuple(str(thing.place) for thing in scene.things)
    one, other = RELATIONS[scene.relation]
    return one, *(other for _ in scene.things[1:])


ROLES = tuple(dict.fromkeys([*PLACES, *(role for both in RELATIONS.values() for role in both)]))
HELD_OUT = 5  # one combination in five


def combinations(scene: Scene) -> set[tuple[str, str | None, str]]:
    """(kind, colour, role) of each thing."""
    return {(thing.kind, thing.colour, role) for thing, role in zip(scene.things, roles(scene), strict=True)}


def is_held_out(kind: str, colour: str | None, role: str) -> bool:
    """Whether this combination is for the test alone. A sum modulo 5, so that every pair of the three is still met in training."""
    return (KINDS.index(kind) + (None, *COLOURS).index(colour) + ROLES.index(role)) % HELD_OUT == 0


def is_unseen(scene: Scene) -> bool:
    """Whether the scene holds a combination that no training or validation scene has."""
    return any(is_held_out(*one) for one in combinations(scene))
