"""Solids on a picture: tubes, lathes, balls and slabs with analytic edges and the shade of a lamp, drawn back to front in NumPy.

Coverage is the distance to the outline in pixels, so edges are smooth without supersampling; normals of the solid give the
shade. Coordinates are pixels with y downwards; normals have x right, y up, z towards the viewer. Colours are float32 0..255.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Point = tuple[float, float]
# A colour, or a function (angle from the viewer in radians, distance along in pixels) -> colours (h,w,3).
Paint = np.ndarray | Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclasses.dataclass
class Canvas:
    """rgb (H,W,3) and alpha (H,W) float32, the lamp (unit vector), how much light is ambient, and folds of cloth (H,W) around 0."""

    rgb: np.ndarray
    alpha: np.ndarray
    lamp: tuple[float, float, float]
    ambient: float
    folds: np.ndarray


def blank(height: int, width: int, lamp: tuple[float, float, float], ambient: float, random: np.random.Generator) -> Canvas:
    noise = _creases()
    y, x = random.integers(0, 512, size=2)
    folds = np.take(np.take(noise, np.arange(y, y + height) % 512, 0), np.arange(x, x + width) % 512, 1)
    return Canvas(np.zeros((height, width, 3), np.float32), np.zeros((height, width), np.float32), lamp, ambient, folds)


@functools.cache
def _creases() -> np.ndarray:
    """Seamless enough noise (512,512), stretched along a slant as cloth falls, standard deviation 1."""
    random = np.random.default_rng(0)
    total = np.zeros((512, 512), np.float32)
    for size, weight in (((512, 160), 1.0), ((300, 90), 1.0), ((120, 60), 0.8)):  # (height, width) before it is stretched
        grey = Image.fromarray(random.integers(0, 256, (size[1], size[0] // 4), dtype=np.uint8)).resize(
            (512, 512), Image.Resampling.BICUBIC
        )
        total += weight * np.asarray(grey.filter(ImageFilter.GaussianBlur(2)), np.float32)
    return (total - total.mean()) / total.std()


def _unit(x: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(x, 0), 1)  # np.clip takes twice as long on pictures of this size


def _window(canvas: Canvas, left: float, right: float, top: float, bottom: float):
    """The rows and columns that a box touches and their pixel centres (h,1) and (1,w); None outside the picture."""
    height, width = canvas.alpha.shape
    x0, x1 = max(int(left) - 1, 0), min(int(right) + 2, width)
    y0, y1 = max(int(top) - 1, 0), min(int(bottom) + 2, height)
    if x0 >= x1 or y0 >= y1:
        return None
    xs = np.arange(x0, x1, dtype=np.float32)[None] + 0.5
    ys = np.arange(y0, y1, dtype=np.float32)[:, None] + 0.5
    return (slice(y0, y1), slice(x0, x1)), xs, ys


def _cover(canvas: Canvas, where, coverage: np.ndarray, colour: np.ndarray, shade: np.ndarray) -> None:
    rgb, alpha = canvas.rgb[where], canvas.alpha[where]
    rgb += (colour * shade[..., None] - rgb) * coverage[..., None]
    alpha += (1 - alpha) * coverage


def _shade(canvas: Canvas, where, nx: np.ndarray, ny: np.ndarray, nz: np.ndarray, folds: float) -> np.ndarray:
    """Ambient light from above, the lamp, and a darker rim where the solid turns away."""
    x, y, z = canvas.lamp
    facing = nx * x + ny * y + nz * z
    if folds:
        facing = facing + folds * canvas.folds[where]
    lit = canvas.ambient * (0.86 + 0.14 * ny) + 1.12 * (1 - canvas.ambient) * np.maximum(facing, 0)
    return lit * (0.7 + 0.3 * nz)


def _contact(canvas: Canvas, where, outside: np.ndarray, reach: float, strength: float) -> None:
    """A soft shadow on what is already drawn next to a solid; `outside` is the distance to its outline in pixels."""
    near = _unit(1 - outside / reach)
    canvas.rgb[where] *= (1 - strength * near * near)[..., None]


def tube(
    canvas: Canvas, p: Point, q: Point, rp: float, rq: float, paint: Paint, folds: float = 0.0, contact: float = 0.0, cut: bool = False
) -> None:
    """A cone from p (radius rp) to q (radius rq) with round ends, or `cut` at q; `paint` sees the angle across and the distance from p."""
    reach = 0.8 * max(rp, rq) if contact else 0.0
    r = max(rp, rq) + reach
    found = _window(canvas, min(p[0], q[0]) - r, max(p[0], q[0]) + r, min(p[1], q[1]) - r, max(p[1], q[1]) + r)
    if found is None:
        return
    where, xs, ys = found
    dx, dy = q[0] - p[0], q[1] - p[1]
    length = max((dx * dx + dy * dy) ** 0.5, 1e-3)
    dx, dy = dx / length, dy / length
    ox, oy = xs - p[0], ys - p[1]
    beyond = ox * dx + oy * dy
    along = np.clip(beyond, 0, length)
    radius = rp + (rq - rp) * along / length
    ox, oy = ox - along * dx, oy - along * dy
    distance = np.sqrt(ox * ox + oy * oy)
    if contact:
        _contact(canvas, where, distance - radius, reach, contact)
    coverage = _unit(radius - distance + 0.5)
    if cut:
        coverage = coverage * _unit(length - beyond + 0.5)
    nx, ny = ox / radius, -oy / radius
    nz = np.sqrt(_unit(1 - nx * nx - ny * ny))
    colour = paint(np.arcsin(np.clip((ox * dy - oy * dx) / radius, -1, 1)), along) if callable(paint) else paint
    _cover(canvas, where, coverage, colour, _shade(canvas, where, nx, ny, nz, folds))


@dataclasses.dataclass(frozen=True)
class Profile:
    """Elliptic slices from the top down: rows (n,), columns of their middles (n,), half axes across and in depth (n,), in pixels."""

    rows: np.ndarray
    columns: np.ndarray
    across: np.ndarray
    depth: np.ndarray


def lathe(
    canvas: Canvas,
    profile: Profile,
    yaw: float,
    sag: float,
    paint: Paint,
    folds: float = 0.0,
    contact: float = 0.0,
) -> None:
    """A solid of elliptic slices, turned by `yaw` about its axis; `paint` sees the angle around it (0 = its front) and the row.

    `sag` bends the slices downwards in the middle, as seen from above: a multiple of the half depth.
    """
    widest = np.hypot(profile.across * np.cos(yaw), profile.depth * np.sin(yaw))
    drop = sag * float(profile.depth[-1])
    found = _window(
        canvas, (profile.columns - widest).min() - 4, (profile.columns + widest).max() + 4, profile.rows[0], profile.rows[-1] + drop
    )
    if found is None:
        return
    where, xs, ys = found
    rows = ys[:, 0]
    a, b = np.interp(rows, profile.rows, profile.across), np.interp(rows, profile.rows, profile.depth)
    ca, sb = a * np.cos(yaw), b * np.sin(yaw)
    width = np.maximum(np.hypot(ca, sb), 0.5).astype(np.float32)[:, None]
    turn = np.arctan2(sb, ca).astype(np.float32)[:, None]
    centre = np.interp(rows, profile.rows, profile.columns).astype(np.float32)[:, None]
    u = (xs - centre) / width
    nz = np.sqrt(_unit(1 - u * u))
    beyond = np.abs(xs - centre) - width
    inside = _unit(0.5 - beyond)
    level = ys - drop * nz  # the row of the slice that a pixel lies on
    coverage = inside * _unit(level - profile.rows[0] + 0.5) * _unit(profile.rows[-1] - level + 0.5)
    if contact:
        _contact(canvas, where, np.maximum(beyond, 0) + np.maximum(level - profile.rows[-1], 0), 5.0, contact)
    lean = np.gradient(np.interp(rows, profile.rows, widest)).astype(np.float32)[:, None] if len(rows) > 1 else np.zeros((1, 1), np.float32)
    ny = np.clip(lean, -0.7, 0.7) * 0.8  # wider below: the flank looks up
    colour = paint(np.arcsin(np.clip(u, -1, 1)) - turn, level) if callable(paint) else paint
    _cover(canvas, where, coverage, colour, _shade(canvas, where, u, ny * np.ones_like(u), nz, folds))


def ball(canvas: Canvas, centre: Point, rx: float, ry: float, paint: Callable[..., tuple[np.ndarray, np.ndarray | None]]) -> None:
    """An ellipsoid; `paint` sees the normals (x right, y up, z near) and gives colours and a mask (h,w), or None for all of it."""
    found = _window(canvas, centre[0] - rx, centre[0] + rx, centre[1] - ry, centre[1] + ry)
    if found is None:
        return
    where, xs, ys = found
    nx, ny = (xs - centre[0]) / rx, -(ys - centre[1]) / ry
    squared = nx * nx + ny * ny
    coverage = np.clip((1 - np.sqrt(squared)) * min(rx, ry) + 0.5, 0, 1)
    nz = np.sqrt(_unit(1 - squared))
    colour, mask = paint(nx, ny, nz)
    _cover(canvas, where, coverage if mask is None else coverage * mask, colour, _shade(canvas, where, nx, ny, nz, 0.0))


def slab(canvas: Canvas, centre: Point, rx: float, ry: float, paint: Paint, square: float = 4.0, contact: float = 0.0) -> None:
    """A box with round corners (a superellipse of power `square`), bulging a little; `paint` sees x and y on -1..1."""
    reach = 3.0 if contact else 0.0
    found = _window(canvas, centre[0] - rx - reach, centre[0] + rx + reach, centre[1] - ry - reach, centre[1] + ry + reach)
    if found is None:
        return
    where, xs, ys = found
    u, v = (xs - centre[0]) / rx, (ys - centre[1]) / ry
    radius = (np.abs(u) ** square + np.abs(v) ** square) ** (1 / square)
    if contact:
        _contact(canvas, where, (radius - 1) * min(rx, ry), reach, contact)
    coverage = _unit((1 - radius) * min(rx, ry) + 0.5)
    nx, ny = 0.6 * u * np.abs(u), -0.6 * v * np.abs(v)
    nz = np.sqrt(_unit(1 - nx * nx - ny * ny))
    colour = paint(u, v) if callable(paint) else paint
    _cover(canvas, where, coverage, colour, _shade(canvas, where, nx + 0 * ny, ny + 0 * nx, nz, 0.03))
