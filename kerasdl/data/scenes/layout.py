"""Where the things of a scene are, so that what a sentence says can be seen at a glance.

Lengths are fractions of the picture's side. A small, an unremarkable and a large thing differ by half as much again; groups in a relation
stand clearly apart and about level; what is "at the top" lies in the outer eighth of where it could be.
"""

from __future__ import annotations

import dataclasses
from itertools import product

import numpy as np

from kerasdl.data.scenes.scene import EDGES, OPPOSITE, PHOTOGRAPHS, SHAPES, Scene, Thing

DRAWN = {"small": 0.17, None: 0.27, "large": 0.42}
FRAMED = {"small": 0.28, None: 0.28, "large": 0.42}  # a photograph needs more pixels than a circle
VARIES = 0.04  # relative, of an extent
EDGE, GAP, APART = 0.02, 0.05, 0.07  # to the border, between things of a group, between groups
OUTER = 0.12  # how far into the free way "at the top" reaches
OUTLINE = (0.72, 0.86)  # extents of what is around something
WITHIN = (0.24, 0.3)
ROOMY = ("circle", "square", "triangle", "heart", "diamond")  # there is none in a star or a cross
INWARD = {"triangle": 0.1, "heart": -0.05}  # where the room in an outline is, down from its centre


@dataclasses.dataclass(frozen=True)
class Mark:
    """One thing to draw: its centre (x, y), its extent, its angle in degrees, and whether only its outline is drawn."""

    kind: str
    colour: str | None
    x: float
    y: float
    extent: float
    angle: float
    outlined: bool = False


@dataclasses.dataclass(frozen=True)
class Block:
    """A group as a grid of rows x columns."""

    rows: int
    columns: int
    extent: float
    gap: float = GAP

    @property
    def width(self) -> float:
        return self.columns * self.extent + (self.columns - 1) * self.gap

    @property
    def height(self) -> float:
        return self.rows * self.extent + (self.rows - 1) * self.gap


def largest(thing: Thing) -> float:
    return (FRAMED if thing.kind in PHOTOGRAPHS else DRAWN)[thing.size] * (1 + VARIES)


def blocks(thing: Thing, extent: float) -> list[Block]:
    """All grids that hold the group without an empty row or column."""
    count = thing.count
    sizes = [(rows, -(-count // rows)) for rows in range(1, count + 1)]
    return [Block(rows, columns, extent) for rows, columns in sizes if (rows - 1) * columns < count]


def _rows(scene: Scene, extents: list[float]) -> list[tuple[Block, ...]]:
    """The grids of all groups that fit beside each other ("left", "between") or above each other."""
    room, between = 1 - 2 * EDGE, APART * (len(scene.things) - 1)
    choices = product(*(blocks(thing, extent) for thing, extent in zip(scene.things, extents, strict=True)))

    def has_room(some: tuple[Block, ...]) -> bool:
        along, across = [block.width for block in some], [block.height for block in some]
        if scene.relation == "above":
            along, across = across, along
        return sum(along) + between <= room and max(across) <= room

    return [some for some in choices if has_room(some)]


def fits(scene: Scene) -> bool:
    """Whether the scene can be drawn: everything inside the picture and clearly apart."""
    room, extents = 1 - 2 * EDGE, [largest(thing) for thing in scene.things]
    if scene.relation == "inside":
        inner, outer = scene.things
        single = inner.count == outer.count == 1 and inner.size is outer.size is None
        return single and outer.kind in ROOMY and inner.kind not in PHOTOGRAPHS
    if scene.relation == "between" and any(thing.count > 1 for thing in scene.things):
        return False
    if scene.relation:
        return bool(_rows(scene, extents))
    if len(scene.things) == 2:
        return tuple(thing.place for thing in scene.things) in OPPOSITE and all(thing.count == 1 for thing in scene.things)
    thing, extent = scene.things[0], extents[0]
    if thing.place == "scattered":
        return thing.count > 1 and 2 * extent + GAP <= room
    if thing.count == 1:
        return True
    row = thing.count * extent + (thing.count - 1) * GAP <= room
    return thing.place in EDGES and row


def layout(scene: Scene, random: np.random.Generator) -> list[Mark]:
    """The marks of a scene that fits, in the order in which they are drawn."""
    if not fits(scene):
        raise ValueError(f"the things of a scene must fit beside each other. Received: {scene}")
    extents = [largest(thing) * (1 - random.random() * 2 * VARIES) for thing in scene.things]
    if scene.relation == "inside":
        return _inside(scene, random)
    if scene.relation:
        return _in_line(scene, extents, random)
    if len(scene.things) == 2:
        return _corners(scene, extents, random)
    return _alone(scene.things[0], extents[0], random)


def _mark(thing: Thing, x: float, y: float, extent: float, random: np.random.Generator, outlined: bool = False) -> Mark:
    tilt = 0 if thing.kind in PHOTOGRAPHS else 10 if thing.kind in SHAPES else 8
    return Mark(thing.kind, thing.colour, x, y, extent, tilt * (2 * random.random() - 1), outlined)


def _along(extent: float, share: float) -> float:
    """A centre between the first (0) and the last (1) that leaves a thing of this extent inside."""
    first = EDGE + extent / 2
    return first + share * (1 - 2 * first)


def _shares(place: str, random: np.random.Generator, outer: float = OUTER) -> tuple[float, float]:
    """How far right and down a place is, 0..1."""
    near, middle, far = random.random(2) * outer, 0.45 + 0.1 * random.random(2), 1 - random.random(2) * outer
    x = near[0] if "left" in place else far[0] if "right" in place else middle[0]
    y = near[1] if "top" in place else far[1] if "bottom" in place else middle[1]
    return float(x), float(y)


def _alone(thing: Thing, extent: float, random: np.random.Generator) -> list[Mark]:
    if thing.place == "scattered":
        return _scattered(thing, extent, random)
    lying = thing.place in ("top", "bottom")
    most = (1 - 2 * EDGE - thing.count * extent) / max(thing.count - 1, 1)
    gap = GAP + random.random() * (min(most, 0.2) - GAP)
    block = Block(1, thing.count, extent, gap) if lying else Block(thing.count, 1, extent, gap)
    x, y = _shares(thing.place or "", random)
    return _grid(thing, block, _along(block.width, x), _along(block.height, y), random)


def _scattered(thing: Thing, extent: float, random: np.random.Generator) -> list[Mark]:
    """One thing a quarter of the picture; two in opposite quarters."""
    free = 1 - 2 * EDGE - extent
    reach = min(0.3, (1 - (extent + GAP) / free) / 2)  # never so far that neighbours touch
    quarters = np.array([(0, 0), (1, 1), (1, 0), (0, 1)])
    if thing.count == 2:
        some = quarters[:2] if random.random() < 0.5 else quarters[2:]
    else:
        some = random.permutation(quarters)[: thing.count]
    shares = np.abs(some - random.random((thing.count, 2)) * reach)
    return [_mark(thing, _along(extent, x), _along(extent, y), extent, random) for x, y in shares]


def _corners(scene: Scene, extents: list[float], random: np.random.Generator) -> list[Mark]:
    free = 1 - 2 * EDGE - max(extents)
    reach = min(OUTER, (1 - (max(extents) + APART) / free) / 2)
    marks = []
    for thing, extent in zip(scene.things, extents, strict=True):
        x, y = _shares(thing.place or "", random, reach)
        marks.append(_mark(thing, _along(extent, x), _along(extent, y), extent, random))
    return marks


def _grid(thing: Thing, block: Block, x: float, y: float, random: np.random.Generator) -> list[Mark]:
    cells = list(product(range(block.rows), range(block.columns)))
    spare = len(cells) - thing.count
    if spare:
        cells = [cells[i] for i in sorted(random.permutation(len(cells))[: thing.count])]
    step = block.extent + block.gap
    left, top = x - block.width / 2 + block.extent / 2, y - block.height / 2 + block.extent / 2
    return [_mark(thing, left + column * step, top + row * step, block.extent, random) for row, column in cells]


def _in_line(scene: Scene, extents: list[float], random: np.random.Generator) -> list[Mark]:
    """Groups side by side, or one above the other, their centres about level."""
    things = list(scene.things)
    vertical = scene.relation == "above" or (scene.relation == "between" and random.random() < 0.5)
    ways = _rows(scene, extents)
    chosen = list(ways[int(random.random() * len(ways))])
    if scene.relation == "between":
        order = (1, 0, 2) if random.random() < 0.5 else (2, 0, 1)
        things, chosen = [things[i] for i in order], [chosen[i] for i in order]
    along = [block.height if vertical else block.width for block in chosen]
    across = [block.width if vertical else block.height for block in chosen]
    free = 1 - 2 * EDGE - sum(along) - APART * (len(along) - 1)
    spaces = free * random.dirichlet(np.ones(len(along) + 1))
    middle = _along(max(across), random.random())
    marks, at = [], EDGE
    for thing, block, length, breadth, space in zip(things, chosen, along, across, spaces, strict=False):
        at += space + length / 2
        level = min(max(middle + 0.08 * (random.random() - 0.5), EDGE + breadth / 2), 1 - EDGE - breadth / 2)
        marks += _grid(thing, block, level if vertical else at, at if vertical else level, random)
        at += length / 2 + APART
    return marks


def _inside(scene: Scene, random: np.random.Generator) -> list[Mark]:
    inner, outer = scene.things
    around, within = (low + random.random() * (high - low) for low, high in (OUTLINE, WITHIN))
    x, y = (_along(around, share) for share in random.random(2))
    outline = _mark(outer, x, y, around, random, outlined=True)
    dx, dy = 0.04 * (random.random(2) - 0.5)
    return [outline, _mark(inner, x + dx, y + dy + INWARD.get(outer.kind, 0) * around, within, random)]
