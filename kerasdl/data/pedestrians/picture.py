"""One picture of a person by a camera: the place, who else is there, what stands in front, how the box was cut, and the camera's look."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from PIL import Image, ImageFilter

from kerasdl.data.pedestrians.camera import CAMERAS, Camera, expose
from kerasdl.data.pedestrians.canvas import Canvas, blank, slab, tube
from kerasdl.data.pedestrians.figure import Pose, draw
from kerasdl.data.pedestrians.identity import Identity, people
from kerasdl.data.pedestrians.scene import HEIGHT, WIDTH, place

PASSERS_BY = 48  # people who only ever stand behind, in front, or in the gallery as distractors
SPREAD = 0.6  # radians around the facing that a camera mostly sees
OWN_PLACE = 0.5  # how often a camera sees its own place, and not the end of another's: else the background alone names the camera
FOOT = 0.962  # where the feet stand in a good box, and 0.9 of it is the person


@dataclasses.dataclass(frozen=True)
class Shot:
    """Which picture: the domain and its seed, who (None = a passer-by, or nobody), seen by which camera (1..6), which of the pictures.

    box: "good", "junk" (a detector's box that cuts half of the person away) or "empty" (a box around nobody).
    """

    domain: str
    seed: int
    person: Identity | None
    pid: int
    camid: int
    number: int
    box: str = "good"


def render(shot: Shot, height: int, width: int) -> np.ndarray:
    """The picture, uint8 (height,width,3); the same shot is the same picture at every call, and the same view at every size."""
    domain = sorted(CAMERAS).index(shot.domain)
    random = np.random.default_rng([shot.seed, domain, shot.pid + 1, shot.camid, shot.number])
    camera = CAMERAS[shot.domain][shot.camid - 1]
    tall = max(128, height if height >= 256 else round(1.5 * height))
    wide = round(tall * width / height)
    scene = _backdrop(shot, tall, wide, random)
    for _ in range(int(random.random() < 0.16)):
        scene = _someone(scene, shot, camera, random, behind=True)
    if shot.box != "empty":
        person = shot.person or _passer_by(shot, random)
        scene = _subject(scene, person, camera, shot.box, random)
    what = random.random()
    if what < 0.07:
        scene = _someone(scene, shot, camera, random, behind=False)
    elif what < 0.17:
        scene = _thing(scene, camera, random)
    return expose(scene, camera, height, width, random)


def _backdrop(shot: Shot, tall: int, wide: int, random: np.random.Generator) -> np.ndarray:
    """A piece of the place with its floor under the feet, float32 (tall,wide,3)."""
    camid = shot.camid if random.random() < OWN_PLACE else int(random.integers(1, len(CAMERAS[shot.domain]) + 1))
    foot = random.uniform(350, 488)
    crop = random.uniform(0.72, 1.0) * foot / FOOT
    left = random.uniform(0, WIDTH - crop / 2)
    top = min(foot - FOOT * crop, HEIGHT - crop)
    box = left, top, left + crop * wide / tall, top + crop
    return np.asarray(place(shot.domain, camid).resize((wide, tall), Image.Resampling.BILINEAR, box=box), np.float32)


def _pose(camera: Camera, random: np.random.Generator) -> Pose:
    yaw = camera.facing + SPREAD * random.standard_normal() + np.pi * (random.random() < 0.14)
    stride = random.uniform(0.2, 0.52) if random.random() < 0.75 else 0.07
    arms = str(random.choice(["swing", "phone", "pockets"], p=[0.78, 0.12, 0.1]))
    elevation = camera.elevation + 0.03 * random.standard_normal()
    return Pose(float(yaw), float(elevation), random.uniform(0, 2 * np.pi), stride, 0.22 * random.standard_normal(), arms)


def _subject(scene: np.ndarray, person: Identity, camera: Camera, box: str, random: np.random.Generator) -> np.ndarray:
    tall, wide = scene.shape[:2]
    pose = _pose(camera, random)
    scale = tall * 0.89 / np.cos(pose.elevation) * random.uniform(0.93, 1.05)
    row, column = tall * (FOOT + random.normal(0, 0.012)), wide * (0.5 + random.normal(0, 0.035))
    if box == "junk":
        column += wide * random.choice([-0.42, 0.42])
        row += tall * random.choice([-0.4, 0.0, 0.45])
    elif random.random() < 0.1:  # a box that misses the feet or the head
        scale *= 1.15
        row += tall * random.choice([0.16, 0.05])
    return _composed(scene, person, camera, pose, float(column), float(row), float(scale), random)


def _someone(scene: np.ndarray, shot: Shot, camera: Camera, random: np.random.Generator, behind: bool) -> np.ndarray:
    """Another person: smaller and higher in the box behind, larger and at the very side in front."""
    tall, wide = scene.shape[:2]
    side = random.choice([-1, 1])
    scale = tall * (random.uniform(0.6, 0.78) if behind else random.uniform(0.95, 1.05))
    row = tall * (random.uniform(0.8, 0.9) if behind else random.uniform(1.0, 1.08))
    column = wide * (0.5 + side * (random.uniform(0.22, 0.5) if behind else random.uniform(0.46, 0.6)))
    return _composed(scene, _passer_by(shot, random), camera, _pose(camera, random), float(column), float(row), float(scale), random)


def _passer_by(shot: Shot, random: np.random.Generator) -> Identity:
    return _passers_by(shot.seed, shot.domain)[int(random.integers(PASSERS_BY))]


@functools.cache
def _passers_by(seed: int, domain: str) -> tuple[Identity, ...]:
    return people(PASSERS_BY, seed + 7919, domain)  # another seed than the identities': they are other people


def _composed(scene, person: Identity, camera: Camera, pose: Pose, column: float, row: float, scale: float, random) -> np.ndarray:
    tall, wide = scene.shape[:2]
    canvas = blank(tall, wide, camera.lamp, camera.ambient, random)
    draw(canvas, person, pose, column, row, scale)
    shadow = _shadow(canvas.alpha, camera, column, row, scale)
    return scene * (1 - shadow[..., None]) * (1 - canvas.alpha[..., None]) + canvas.rgb


def _shadow(alpha: np.ndarray, camera: Camera, column: float, row: float, scale: float) -> np.ndarray:
    """The figure laid on the floor away from the lamp, and a dark place under the feet: darkness 0..1, (H,W)."""
    tall, wide = alpha.shape
    ahead, along = 0.16 + 0.16 * camera.lamp[2], -0.7 * camera.lamp[0]
    skew = along / ahead
    flat = Image.fromarray((255 * np.minimum(alpha, 1)).astype(np.uint8)).transform(
        (wide, tall), Image.Transform.AFFINE, (1, skew, -skew * row, 0, 1 / ahead, row - row / ahead), Image.Resampling.BILINEAR
    )
    cast = np.asarray(flat.filter(ImageFilter.BoxBlur(max(1.0, tall / 120))), np.float32) / 255
    y, x = np.arange(tall, dtype=np.float32)[:, None], np.arange(wide, dtype=np.float32)[None]
    under = np.exp(-(((x - column) / (0.13 * scale)) ** 2) - ((y - row + 0.01 * scale) / (0.025 * scale)) ** 2)
    return np.maximum(camera.shadow * cast, 0.5 * under)


def _thing(scene: np.ndarray, camera: Camera, random: np.random.Generator) -> np.ndarray:
    """A pole, a bollard, a planter or a barrier in front of the person."""
    tall, wide = scene.shape[:2]
    canvas = blank(tall, wide, camera.lamp, camera.ambient, random)
    x = wide * random.uniform(0.08, 0.92)
    kind = str(random.choice(["pole", "bollard", "planter", "barrier"]))
    {"pole": _pole, "bollard": _bollard, "planter": _planter, "barrier": _barrier}[kind](canvas, float(x), tall, random)
    return scene * (1 - canvas.alpha[..., None]) + canvas.rgb


def _pole(canvas: Canvas, x: float, tall: int, random: np.random.Generator) -> None:
    grey = np.array((112, 118, 122), np.float32) * random.uniform(0.6, 1.2)
    tube(canvas, (x, -9), (x, 1.1 * tall), 0.022 * tall, 0.024 * tall, grey)


def _bollard(canvas: Canvas, x: float, tall: int, random: np.random.Generator) -> None:
    dark, light = np.array((60, 64, 68), np.float32), np.array((222, 208, 190), np.float32)

    def ringed(across, along):
        ring = (np.abs(along / tall - 0.06) < 0.025)[..., None]
        return np.where(ring, light, dark)

    tube(canvas, (x, 0.7 * tall), (x, 1.1 * tall), 0.042 * tall, 0.05 * tall, ringed)


def _planter(canvas: Canvas, x: float, tall: int, random: np.random.Generator) -> None:
    for _ in range(26):
        at = x + tall * random.uniform(-0.15, 0.15), tall * random.uniform(0.74, 0.88)
        green = np.array((66, 112, 58), np.float32) * random.uniform(0.6, 1.25)
        tube(canvas, at, (at[0] + 2, at[1] - 0.02 * tall), 0.03 * tall, 0.018 * tall, green)
    slab(canvas, (x, 0.96 * tall), 0.17 * tall, 0.1 * tall, np.array((158, 150, 140), np.float32), square=8, contact=0.3)


def _barrier(canvas: Canvas, x: float, tall: int, random: np.random.Generator) -> None:
    red, white = np.array((186, 52, 44), np.float32), np.array((232, 230, 226), np.float32)

    def slanted(u, v):
        return np.where((((u * 4 + v) % 1) < 0.5)[..., None], red, white)

    for dx in (-0.16, 0.16):
        tube(
            canvas,
            (x + dx * tall, 0.78 * tall),
            (x + dx * tall, 1.1 * tall),
            0.014 * tall,
            0.014 * tall,
            np.array((90, 92, 96), np.float32),
        )
    slab(canvas, (x, 0.82 * tall), 0.24 * tall, 0.035 * tall, slanted, square=8)
