"""A person drawn from an `Identity` and a `Pose`: a skeleton in a gait, turned and projected, dressed in tubes and lathes.

The body stands at the origin, x to its left hand, y up, z where it faces; the unit is its mean stature. The viewer sees it
turned by `yaw` (0 = face, pi/2 = walking to the right, pi = back) from `elevation` above the horizon, without perspective.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from kerasdl.data.pedestrians.canvas import Canvas, Point, Profile, ball, lathe, slab, tube
from kerasdl.data.pedestrians.cloth import logo, pattern
from kerasdl.data.pedestrians.identity import BAG, BOTTOM, CLOTH, HAIR, SHOE, SKIN, Identity

HIP, SHOULDER, HEAD = 0.52, 0.815, 0.928  # heights of the joints
THIGH, SHIN, UPPER_ARM, FOREARM = 0.245, 0.24, 0.165, 0.14
FOLDS = 0.075  # how much the creases of cloth bend the light


@dataclasses.dataclass(frozen=True)
class Pose:
    """yaw, elevation, head (an extra turn of it), phase of the gait and stride (the swing of the thigh), all in radians.

    arms: "swing", "phone" (one forearm up) or "pockets".
    """

    yaw: float
    elevation: float
    phase: float
    stride: float
    head: float = 0.0
    arms: str = "swing"


@dataclasses.dataclass(frozen=True)
class View:
    """From the body's coordinates to pixels: (column, row) of the point between the feet, pixels a stature, and the pose's angles."""

    column: float
    row: float
    scale: float
    yaw: float
    elevation: float

    def __call__(self, x: float, y: float, z: float) -> tuple[tuple[float, float], float]:
        """The pixel of a point and its nearness to the viewer."""
        near = z * np.cos(self.yaw) - x * np.sin(self.yaw)
        side = x * np.cos(self.yaw) + z * np.sin(self.yaw)
        up = y * np.cos(self.elevation) - near * np.sin(self.elevation)
        return (self.column + self.scale * side, self.row - self.scale * up), near

    @property
    def facing(self) -> float:
        """1 where the viewer sees the face, -1 where the back."""
        return float(np.cos(self.yaw))


Point3 = tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """Joints in the body's coordinates; legs are hip, knee, ankle, toe and arms shoulder, elbow, wrist, each left then right."""

    legs: tuple[tuple[Point3, ...], ...]
    arms: tuple[tuple[Point3, ...], ...]
    lift: float
    lean: float


def skeleton(person: Identity, pose: Pose) -> Skeleton:
    swing = pose.stride * np.sin(pose.phase)
    legs = [_leg(person, side, side * swing, pose.stride * np.maximum(0, side * np.cos(pose.phase))) for side in (1, -1)]
    lift = -min(leg[2][1] for leg in legs) + 0.038  # the lower foot stands
    lean = 0.02 + 0.08 * pose.stride
    arms = [_arm(person, pose, side, -0.9 * side * swing, lean) for side in (1, -1)]
    raised = [tuple((x, y + lift, z) for x, y, z in limb) for limb in (*legs, *arms)]
    return Skeleton(tuple(raised[:2]), tuple(raised[2:]), lift, lean)


def _leg(person: Identity, side: int, thigh: float, bend: float) -> tuple[Point3, ...]:
    x = side * 0.047 * person.build
    knee = (x, HIP - THIGH * np.cos(thigh), THIGH * np.sin(thigh))
    shin = thigh - 1.5 * bend - 0.04
    ankle = (0.8 * x, knee[1] - SHIN * np.cos(shin), knee[2] + SHIN * np.sin(shin))
    toe = (1.15 * x, ankle[1] - 0.014 - 0.05 * max(0.0, -shin - 0.15), ankle[2] + 0.092)
    return (x, HIP, 0.0), knee, ankle, toe


def _arm(person: Identity, pose: Pose, side: int, swing: float, lean: float) -> tuple[Point3, ...]:
    out, bend = 0.16, 0.12 + 0.6 * pose.stride
    if pose.arms == "phone" and side == 1:
        swing, bend, out = 0.25, 1.75, 0.08
    if pose.arms == "pockets":
        swing, bend, out = -0.3, 0.6, 0.34
    x = side * 0.1 * person.shoulders * (0.5 + 0.5 * person.build)
    shoulder = (x, SHOULDER - 0.02, lean * 0.3)
    elbow = (x + side * UPPER_ARM * np.sin(out), shoulder[1] - UPPER_ARM * np.cos(swing), shoulder[2] + UPPER_ARM * np.sin(swing))
    inwards = -side * 0.06
    lower = swing + bend
    wrist = (elbow[0] + inwards * np.sin(bend), elbow[1] - FOREARM * np.cos(lower), elbow[2] + FOREARM * np.sin(lower))
    return shoulder, elbow, wrist


def draw(canvas: Canvas, person: Identity, pose: Pose, column: float, row: float, scale: float) -> None:
    """Draws the person with the point between the feet at (column, row); `scale` is the mean stature in pixels."""
    view = View(column, row, scale * person.height, pose.yaw, pose.elevation)
    body = skeleton(person, pose)
    back, front = _parts(canvas, person, pose, view, body)
    for _, part in sorted(back, key=lambda pair: pair[0]):
        part()
    _trunk(canvas, person, view, body)
    for _, part in sorted(front, key=lambda pair: pair[0]):
        part()


def _parts(canvas: Canvas, person: Identity, pose: Pose, view: View, body: Skeleton):
    """Everything but the trunk with its nearness: what is drawn before the trunk, and after it."""
    back: list[tuple[float, Callable[[], None]]] = []
    front: list[tuple[float, Callable[[], None]]] = []
    for leg in body.legs:
        back.append((view(*leg[1])[1] + view(*leg[0])[1], functools.partial(_draw_leg, canvas, person, view, leg)))
    for arm in body.arms:
        near = (view(*arm[0])[1] + view(*arm[1])[1]) / 2
        (front if near > -0.035 else back).append((near, functools.partial(_draw_arm, canvas, person, pose, view, arm)))
    head_at = 0.05 if view.facing > -0.2 else 0.0
    front.append((head_at, functools.partial(_head, canvas, person, pose, view, body)))
    if person.hair in ("long", "bob", "ponytail", "bun"):
        (back if view.facing > 0 else front).append(
            (-0.01 if view.facing > 0 else 0.11, functools.partial(_back_hair, canvas, person, pose, view, body))
        )
    if person.top == "hoodie":
        (back if view.facing > 0.35 else front).append((0.04, functools.partial(_hood, canvas, person, view, body)))
    if person.bag != "none":
        near = _bag_place(person, view, body)[1]
        (front if near > 0 else back).append((near + (0.02 if near > 0 else -0.3), functools.partial(_bag, canvas, person, view, body)))
    return back, front


def _rgb(palette: dict[str, tuple[int, int, int]], name: str) -> np.ndarray:
    return np.array(palette[name], np.float32)


def _dyed(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return first + (second - first) * weight[..., None].astype(np.float32)


# --- limbs ---


def _between(p: Point, q: Point, share: float) -> Point:
    return p[0] + (q[0] - p[0]) * share, p[1] + (q[1] - p[1]) * share


def _draw_leg(canvas: Canvas, person: Identity, view: View, leg: tuple[Point3, ...]) -> None:
    s = view.scale
    (hip, _), (knee, _), (ankle, near), (toe, _) = (view(*joint) for joint in leg)
    b = person.build
    skin, cloth = _rgb(SKIN, person.skin), _bottom_paint(person)
    shoe = _rgb(SHOE, person.shoe_colour)
    heel = view(leg[2][0], leg[2][1] - 0.02, leg[2][2] - 0.016)[0]
    bare = person.bottom in ("shorts", "skirt")
    wide = {"trousers": 1.16, "slim": 0.92}.get(person.bottom, 1.0)
    calf = skin if bare else cloth
    boot = person.shoe == "boot"
    top_of_boot = _between(knee, ankle, 0.42 if bare else 0.72)
    tube(canvas, heel, toe, 0.024 * s, 0.019 * s, shoe * 0.98, contact=0.3)
    sole = [(x, y + 0.011 * s) for x, y in (heel, toe)]
    tube(canvas, sole[0], sole[1], 0.0135 * s, 0.011 * s, shoe * 0.5 + (110 if person.shoe == "low" else 0))
    thick, thin = (0.9, 1.0) if bare else (wide, wide * wide)
    tube(canvas, knee, ankle, 0.036 * s * b * thick, 0.022 * s * thin, calf, 0 if bare else FOLDS, 0.3)
    if boot:
        tube(canvas, top_of_boot, ankle, 0.036 * s * (0.95 if bare else wide), 0.029 * s, shoe, FOLDS)
    if bare:
        tube(canvas, hip, knee, 0.053 * s * b, 0.0345 * s * b, skin, contact=0.2)
    if person.bottom == "shorts":
        end = _between(hip, knee, 0.86)
        tube(canvas, hip, end, 0.058 * s * b, 0.054 * s * b, cloth, FOLDS, 0.2, cut=True)
    if not bare:
        tube(canvas, hip, knee, 0.061 * s * b, 0.041 * s * b * wide, cloth, FOLDS, 0.2)


def _bottom_paint(person: Identity):
    colour = _rgb(BOTTOM, person.bottom_colour)
    if person.bottom_colour != "denim":
        return colour

    def denim(across, along):  # paler where the leg bulges
        return colour + (np.float32(26) * np.cos(across) ** 4)[..., None] - 6

    return denim


def _draw_arm(canvas: Canvas, person: Identity, pose: Pose, view: View, arm: tuple[Point3, ...]) -> None:
    s, b = view.scale, 0.6 + 0.4 * person.build
    (shoulder, _), (elbow, _), (wrist, _) = (view(*joint) for joint in arm)
    skin = _rgb(SKIN, person.skin)
    sleeve = _sleeve_paint(person, view)
    thick = {"coat": 1.2, "jacket": 1.18, "hoodie": 1.14}.get(person.top, 1.0)
    down = arm[2][0] * 0.985, arm[2][1] - 0.03, arm[2][2] + 0.012
    if pose.arms == "phone" and arm[0][0] > 0:
        down = arm[2][0] - 0.005, arm[2][1] + 0.03, arm[2][2] + 0.012
    hidden = pose.arms == "pockets"
    if not hidden:
        tube(canvas, wrist, view(*down)[0], 0.0165 * s, 0.0155 * s, skin, contact=0.25)
    if person.top == "tshirt":
        tube(canvas, elbow, wrist, 0.0225 * s * b, 0.0165 * s * b, skin, contact=0.3)
        tube(canvas, shoulder, elbow, 0.026 * s * b, 0.0235 * s * b, skin, contact=0.25)
        cuff = _between(shoulder, elbow, 0.68)
        tube(canvas, shoulder, cuff, 0.031 * s * b, 0.034 * s * b, sleeve, FOLDS, 0.12, cut=True)
    else:
        tube(canvas, elbow, wrist, 0.028 * s * b * thick, 0.0215 * s * b * thick, sleeve, FOLDS, 0.3)
        tube(canvas, shoulder, elbow, 0.032 * s * b * thick, 0.0285 * s * b * thick, sleeve, FOLDS, 0.12)
    if pose.arms == "phone" and arm[0][0] > 0 and view.facing > -0.3:
        x, y = view(*down)[0]
        slab(canvas, (x, y - 0.012 * s), 0.014 * s, 0.026 * s, np.array((30, 32, 38), np.float32))


def _sleeve_paint(person: Identity, view: View):
    first, second = _rgb(CLOTH, person.top_colour), _rgb(CLOTH, person.second_colour)
    if person.texture in ("solid", "logo", "block") or person.top in ("jacket", "coat"):
        return second if person.texture == "block" and person.top not in ("jacket", "coat") else first
    s = view.scale
    return lambda across, along: _dyed(first, second, pattern(person.texture, across * 0.034, along / s, 1 / s))


# --- trunk ---


def _trunk(canvas: Canvas, person: Identity, view: View, body: Skeleton) -> None:
    _neck(canvas, person, view, body)
    if person.bottom == "skirt":
        _skirt(canvas, person, view, body)
    else:
        _pelvis(canvas, person, view, body)
    _top(canvas, person, view, body)


def _neck(canvas: Canvas, person: Identity, view: View, body: Skeleton) -> None:
    base, _ = view(0, 0.81 + body.lift, 0.3 * body.lean)
    chin, _ = view(0, 0.885 + body.lift, 0.5 * body.lean)
    tube(canvas, base, chin, 0.031 * view.scale, 0.027 * view.scale, _rgb(SKIN, person.skin) * 0.86)


def _profile(view: View, body: Skeleton, heights, across, depth) -> Profile:
    """Rows, columns and half axes in pixels of slices given from the top down in the body's coordinates."""
    points = [view(0, y + body.lift, body.lean * max(0.0, y - HIP) / 0.3)[0] for y in heights]
    across, depth = (np.array(values, np.float32) * view.scale for values in (across, depth))
    return Profile(np.array([y for _, y in points]), np.array([x for x, _ in points]), across, depth)


def _pelvis(canvas: Canvas, person: Identity, view: View, body: Skeleton) -> None:
    b = person.build
    profile = _profile(
        view, body, (0.58, 0.54, 0.5, 0.465), (0.082 * b, 0.096 * b, 0.1 * b, 0.06 * b), (0.06 * b, 0.07 * b, 0.068 * b, 0.05 * b)
    )
    lathe(canvas, profile, view.yaw, np.sin(view.elevation), _rgb(BOTTOM, person.bottom_colour), FOLDS)


def _skirt(canvas: Canvas, person: Identity, view: View, body: Skeleton) -> None:
    b = person.build
    spread = max(abs(leg[1][2]) for leg in body.legs)
    wide, deep = 0.118 * b + 0.01, 0.085 * b + 0.6 * spread
    profile = _profile(
        view, body, (0.59, 0.53, 0.42, 0.315), (0.08 * b, 0.102 * b, 0.112 * b, wide), (0.06 * b, 0.075 * b, 0.5 * (deep + 0.08), deep)
    )
    base = _rgb(BOTTOM, person.bottom_colour)

    def pleats(angle, row):
        return base * (1 + 0.09 * np.sin(11 * angle) * np.clip((row - profile.rows[1]) / (0.15 * view.scale), 0, 1))[..., None]

    lathe(canvas, profile, view.yaw, np.sin(view.elevation), pleats, FOLDS)


def _top(canvas: Canvas, person: Identity, view: View, body: Skeleton) -> None:
    b, w = person.build, person.shoulders
    loose = {"coat": 1.12, "jacket": 1.1, "hoodie": 1.1, "shirt": 1.03}.get(person.top, 1.0)
    hem = {"coat": 0.345, "jacket": 0.5, "hoodie": 0.495, "shirt": 0.505}.get(person.top, 0.52)
    spread = max(abs(leg[1][2]) for leg in body.legs) if person.top == "coat" else 0.0
    heights = (0.862, 0.848, 0.832, 0.815, 0.79, 0.73, 0.655, 0.575, hem)
    mean = 0.5 + 0.5 * b
    across = (0.034, 0.05, 0.082 * w, 0.108 * w, 0.118 * w * mean, 0.107 * w * b, 0.089 * b, 0.097 * b, 0.103 * b + 0.1 * (0.52 - hem))
    depth = (0.034, 0.04, 0.05, 0.058, 0.066 * mean, 0.074 * b, 0.068 * b, 0.07 * b, 0.074 * b + 0.5 * spread)
    across = (*across[:4], *(loose * x for x in across[4:]))
    depth = (*depth[:4], *(loose * x for x in depth[4:]))
    profile = _profile(view, body, heights, across, depth)
    paint = _top_paint(person, view, float(profile.rows[-1]))
    lathe(canvas, profile, view.yaw, np.sin(view.elevation), paint, FOLDS, contact=0.35)


def _top_paint(person: Identity, view: View, hem: float):
    first, second = _rgb(CLOTH, person.top_colour), _rgb(CLOTH, person.second_colour)
    s = view.scale
    pixel = 1 / s
    low = 0.165 if person.top == "coat" else 0.0  # patterns count from the hips, however long the garment

    def paint(angle, row):
        up = (hem - row) / s - low
        around = angle * 0.092  # half an ellipse of 0.1 by 0.07 is about 0.27 long
        colour = _dyed(first, second, pattern(person.texture, around, up, pixel) if person.top not in ("jacket", "coat") else up * 0)
        if person.texture == "logo" and person.top not in ("jacket", "coat"):
            colour = _dyed(colour, second, logo(person.print, around, up, pixel))
        if person.top in ("jacket", "coat"):
            colour = _open_front(person, colour, second, around, up, pixel)
        if person.top == "shirt":
            seam = np.clip((0.004 - np.abs(around)) / pixel + 0.5, 0, 1)
            colour = colour * (1 - 0.25 * seam)[..., None]
        if person.top == "hoodie":
            pocket = np.clip((0.004 - np.abs(np.maximum(np.abs(around) - 0.07, np.abs(up - 0.075) - 0.04))) / pixel + 0.5, 0, 1)
            hem_band = np.clip((0.018 - up) / pixel + 0.5, 0, 1)
            colour = colour * (1 - 0.2 * np.maximum(pocket, hem_band))[..., None]
        return _straps(person, colour, angle, up, pixel)

    return paint


def _open_front(person: Identity, colour, second, around, up, pixel):
    """A jacket or coat open over a shirt of the second colour, patterned as the person's texture says; lapels are darker."""
    gap = 0.02 + 0.06 * np.clip((up - 0.06) / 0.3, 0, 1)
    inside = np.clip((gap - np.abs(around)) / pixel + 0.5, 0, 1)
    shirt = _dyed(second, second * 0.55 + 70, pattern(person.texture, around, up, pixel))
    edge = np.clip((gap + 0.016 - np.abs(around)) / pixel + 0.5, 0, 1)
    colour = colour * (1 - 0.22 * edge)[..., None]
    return colour + (shirt * 0.94 - colour) * inside[..., None]


def _straps(person: Identity, colour, angle, up, pixel):
    if person.bag not in ("backpack", "satchel"):
        return colour
    bag = _rgb(BAG, person.bag_colour)
    around = angle * 0.092
    front = np.abs(angle) < 1.6
    if person.bag == "backpack":
        on = np.clip((0.0125 - np.abs(np.abs(around) - 0.064)) / pixel + 0.5, 0, 1) * front * (up > 0.13)
    else:  # across the trunk, from one shoulder to the other hip
        sign = 1 if person.side == "left" else -1
        slope = around * sign
        slope = np.where(front, slope, np.sign(angle) * sign * (0.092 * np.pi) - slope)
        on = np.clip((0.011 - np.abs(slope + (up - 0.16) * 0.62)) / pixel + 0.5, 0, 1)
    return _dyed(colour, bag * 0.9, on)


def _hood(canvas: Canvas, person: Identity, view: View, body: Skeleton) -> None:
    (x, y), _ = view(0, 0.842 + body.lift, -0.035 + 0.3 * body.lean)
    s = view.scale
    colour = _rgb(CLOTH, person.second_colour if person.texture == "block" else person.top_colour) * 0.92
    wide = 0.066 * abs(np.cos(view.yaw)) + 0.045 * abs(np.sin(view.yaw))
    slab(canvas, (x, y), wide * s, (0.036 if view.facing > 0 else 0.045) * s, colour, square=2.4, contact=0.3)


# --- head ---


def _head_centre(person: Identity, view: View, body: Skeleton) -> tuple[float, float]:
    return view(0, HEAD + body.lift, 0.012 + 0.7 * body.lean)[0]


def _in_head(pose: Pose, nx, ny, nz):
    """Normals as the viewer sees them -> (x to the left ear, y up, z to the nose) of the head."""
    e, yaw = pose.elevation, pose.yaw + pose.head
    up, near = ny * np.cos(e) + nz * np.sin(e), nz * np.cos(e) - ny * np.sin(e)
    return nx * np.cos(yaw) - near * np.sin(yaw), up, nx * np.sin(yaw) + near * np.cos(yaw)


def _head(canvas: Canvas, person: Identity, pose: Pose, view: View, body: Skeleton) -> None:
    s = view.scale
    centre = _head_centre(person, view, body)
    skin, hair = _rgb(SKIN, person.skin), _rgb(HAIR, person.hair_colour)
    rx, ry = 0.054 * s, 0.07 * s
    soft = 1.4 / rx  # width of an edge on the unit ball

    def face(nx, ny, nz):
        x, y, z = _in_head(pose, nx, ny, nz)
        return _features(person, skin, hair, x, y, z), None

    def cap_of_hair(nx, ny, nz):
        x, y, z = _in_head(pose, nx, ny, nz)
        strands = 1 + 0.16 * np.sin(9 * np.arctan2(x, z) + 5 * y)
        return hair * strands[..., None].astype(np.float32), np.clip(_hairline(person.hair, x, y, z) / soft + 0.5, 0, 1)

    for side in (1, -1):  # ears
        yaw = pose.yaw + pose.head
        if side * np.sin(yaw) < 0.55 and person.hair not in ("bob", "long"):
            ex = centre[0] + side * rx * np.cos(yaw)
            tube(canvas, (ex, centre[1]), (ex, centre[1] + 0.014 * s), 0.009 * s, 0.007 * s, skin * 0.93)
    ball(canvas, centre, rx, ry, face)
    ball(canvas, (centre[0], centre[1] - 0.003 * s), rx * 1.09, ry * 1.07, cap_of_hair)
    if person.hat != "none":
        _hat(canvas, person, pose, view, centre, rx, ry)


def _hairline(style: str, x, y, z):
    """Positive where the head has hair: over a line that falls from the forehead to the neck."""
    low = {"crop": -0.25, "short": -0.45, "bob": -0.75, "long": -0.9, "ponytail": -0.5, "bun": -0.45}[style]
    forehead = 0.5 if style != "crop" else 0.56
    line = np.where(z > 0.35, forehead - 0.25 * np.abs(x), low + (forehead - 0.1 - low) * np.clip((z + 0.15) / 0.5, 0, 1))
    return y - line


def _features(person: Identity, skin, hair, x, y, z):
    """The face: cheeks, eyes, brows, mouth and the shade of the nose, by direction from the middle of the head."""
    front = (z > 0)[..., None]

    def spot(px, py, rx, ry):
        return np.exp(-(((np.abs(x) - px) / rx) ** 2) - ((y - py) / ry) ** 2)[..., None]

    colour = skin * (1 + 0 * x[..., None])
    colour = colour + front * (np.array((20, -12, -10), np.float32) * spot(0.45, -0.2, 0.2, 0.16))
    colour = colour * (1 - front * (0.22 * spot(0.0, -0.22, 0.16, 0.07) + 0.16 * spot(0.1, 0.0, 0.05, 0.22)))
    colour = colour + front * 22 * spot(0.0, -0.02, 0.06, 0.2)
    colour = colour * (1 - front * 0.55 * spot(0.34, 0.24, 0.16, 0.05)) + front * 0.35 * hair * spot(0.34, 0.24, 0.16, 0.05)
    colour = colour * (1 - front * 0.85 * spot(0.34, 0.07, 0.1, 0.075))
    colour = colour + front * (np.array((150, 80, 85), np.float32) * (skin / 255) - colour) * 0.75 * spot(0.0, -0.46, 0.2, 0.06)
    if person.glasses == "yes":
        ring = np.exp(-(((np.hypot((np.abs(x) - 0.35) / 1.1, y - 0.06) - 0.2) / 0.055) ** 2))[..., None]
        bridge = spot(0.0, 0.1, 0.14, 0.03)
        colour = colour * (1 - front * 0.85 * np.maximum(ring, bridge))
    return colour


def _hat(canvas: Canvas, person: Identity, pose: Pose, view: View, centre, rx: float, ry: float) -> None:
    colour = _rgb(BAG, person.bag_colour)
    yaw, tilt = pose.yaw + pose.head, np.sin(pose.elevation)
    s = view.scale
    edge = {"cap": 0.3, "beanie": 0.22, "brim": 0.34}[person.hat]
    swell = {"cap": 1.14, "beanie": 1.2, "brim": 1.16}[person.hat]

    def crown(nx, ny, nz):
        x, y, z = _in_head(pose, nx, ny, nz)
        band = np.clip((edge + 0.24 - y) * rx / 1.4, 0, 1) * {"cap": 0.06, "beanie": 0.22, "brim": 0.4}[person.hat]
        seams = 0.08 * (np.abs(np.sin(3 * np.arctan2(x, z))) < 0.12) if person.hat == "cap" else 0.0
        return colour * (1 - band - seams)[..., None].astype(np.float32), np.clip((y - edge) * rx / 1.4 + 0.5, 0, 1)

    line = centre[1] - edge * ry * 1.05 * np.cos(pose.elevation)
    if person.hat == "brim":
        slab(canvas, (centre[0], line + 0.008 * s), 0.092 * s, max(0.014, 0.09 * tilt) * s, colour * 0.86, square=2, contact=0.35)
    if person.hat == "cap" and np.cos(yaw) <= 0:
        _peak(canvas, colour, view, yaw, tilt, centre, line)
    ball(canvas, (centre[0], centre[1] - 0.006 * s), rx * swell, ry * swell, crown)
    if person.hat == "cap" and np.cos(yaw) > 0:
        _peak(canvas, colour, view, yaw, tilt, centre, line)


def _peak(canvas: Canvas, colour, view: View, yaw: float, tilt: float, centre, line: float) -> None:
    s = view.scale
    x = centre[0] + 0.058 * s * np.sin(yaw)
    y = line + (0.006 + 0.06 * tilt * max(0.0, np.cos(yaw))) * s
    slab(canvas, (x, y), (0.05 - 0.006 * abs(np.sin(yaw))) * s, (0.0125 + 0.05 * tilt) * s, colour * 0.78, square=2.2, contact=0.3)


def _back_hair(canvas: Canvas, person: Identity, pose: Pose, view: View, body: Skeleton) -> None:
    s, hair = view.scale, _rgb(HAIR, person.hair_colour)
    yaw = pose.yaw + pose.head
    x, y = _head_centre(person, view, body)
    behind = -np.sin(yaw) * 0.03 * s

    def strands(angle, row):
        return hair * (1 + 0.13 * np.sin(10 * angle + row * 9 / s))[..., None].astype(np.float32)

    if person.hair in ("long", "bob"):
        length = 0.19 if person.hair == "long" else 0.098
        rows = np.array((y - 0.03 * s, y + 0.02 * s, y + 0.75 * length * s, y + length * s))
        across = np.array((0.05, 0.062, 0.066, 0.052), np.float32) * s
        profile = Profile(rows, np.full(4, x + behind), across, across * 0.62)
        lathe(canvas, profile, yaw, 0.0, strands, 0.03, contact=0.25)
    if person.hair == "ponytail":
        root = x - np.sin(yaw) * 0.058 * s, y - 0.018 * s
        tip = x - np.sin(yaw) * 0.085 * s, y + 0.125 * s
        tube(canvas, root, tip, 0.026 * s, 0.014 * s, strands, contact=0.25)
    if person.hair == "bun":
        at = x - np.sin(yaw) * 0.052 * s, y - (0.06 + 0.02 * abs(np.cos(yaw))) * s
        tube(canvas, at, (at[0], at[1] + 1), 0.029 * s, 0.029 * s, strands, contact=0.25)


# --- what is carried ---


def _bag_place(person: Identity, view: View, body: Skeleton):
    """The middle of the bag as a pixel, and its nearness to the viewer."""
    side = 1 if person.side == "left" else -1
    hand = body.arms[0 if side == 1 else 1][2]
    place = {
        "backpack": (0.0, 0.71 + body.lift, -0.115),
        "satchel": (side * 0.125 * person.build, 0.5 + body.lift, -0.01),
        "handbag": (hand[0] * 1.04, hand[1] - 0.125, hand[2] + 0.01),
        "trolley": (side * 0.2, 0.12, -0.14),
    }[person.bag]
    return view(*place)


def _bag(canvas: Canvas, person: Identity, view: View, body: Skeleton) -> None:
    s, colour = view.scale, _rgb(BAG, person.bag_colour)
    at, _ = _bag_place(person, view, body)
    wide, high, deep = {
        "backpack": (0.085, 0.115, 0.055),
        "satchel": (0.065, 0.058, 0.034),
        "handbag": (0.03, 0.062, 0.075),
        "trolley": (0.07, 0.105, 0.045),
    }[person.bag]
    if person.bag == "satchel":
        wide, deep = deep, wide  # it hangs at the hip: its broad face looks sideways
    across = float(np.hypot(wide * np.cos(view.yaw), deep * np.sin(view.yaw))) * s
    dark, light = colour * 0.72, np.minimum(colour * 1.15 + 12, 255)

    def leather(u, v):
        pocket = np.clip((0.05 - np.abs(np.maximum(np.abs(u) - 0.62, np.abs(v - 0.38) - 0.36))) * high * s + 0.5, 0, 1) * (
            across > 0.045 * s
        )
        flap = np.clip((0.045 - np.abs(v + 0.42 - 0.1 * np.cos(2 * u))) * high * s + 0.5, 0, 1)
        return _dyed(_dyed(colour * (1 + 0 * u * v)[..., None], light, 0.5 * np.clip(-v, 0, 1) + 0 * u), dark, np.maximum(pocket, flap))

    if person.bag == "handbag":
        hand = at[0], at[1] - 0.12 * s
        for dx in (-0.55, 0.55):
            tube(canvas, hand, (at[0] + dx * across, at[1] - 0.055 * s), 0.006 * s, 0.006 * s, dark)
    if person.bag == "trolley":
        side = 0 if person.side == "left" else 1
        hand = view(*body.arms[side][2])[0]
        tube(canvas, (at[0], at[1] - 0.1 * s), (hand[0], hand[1] + 0.02 * s), 0.006 * s, 0.006 * s, np.array((88, 90, 94), np.float32))
        for dx in (-0.7, 0.7):
            tube(
                canvas, (at[0] + dx * across, at[1] + 0.105 * s), (at[0] + dx * across, at[1] + 0.11 * s), 0.012 * s, 0.012 * s, dark * 0.4
            )
    slab(canvas, at, across, high * s, leather, square=4.5 if person.bag == "trolley" else 3.2, contact=0.35)
