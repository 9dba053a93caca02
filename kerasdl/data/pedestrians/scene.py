"""Where people walk: six places a domain, each a wide picture that the boxes of its camera are cut from.

A place is a floor in perspective under a wall with its furniture, drawn once with Pillow and kept. Sizes are pixels of a
picture 512 high, in which a person near the camera is about 300 tall.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

HEIGHT, WIDTH = 512, 1400
Rgb = tuple[int, int, int]


@functools.cache
def place(domain: str, camid: int) -> Image.Image:
    """The place of camera `camid` (1..6) of a domain, an RGB picture (512,1400)."""
    floor, wall, top = PLACES[domain][camid - 1]
    random = np.random.default_rng([sorted(PLACES).index(domain), camid])
    picture = Image.new("RGB", (WIDTH, HEIGHT))
    picture.paste(_floor(floor, HEIGHT - top, random), (0, top))
    scene = Image.new("RGB", (WIDTH, top))
    wall(ImageDraw.Draw(scene), scene, top, random)
    picture.paste(scene.filter(ImageFilter.GaussianBlur(1.2)), (0, 0))
    foot = np.ones((HEIGHT, 1, 1), np.float32)
    foot[top - 26 : top, 0, 0] = np.linspace(1, 0.72, 26)  # dirt and shade where the wall meets the floor
    foot[top : top + 40, 0, 0] = np.linspace(0.66, 1, 40)
    return Image.fromarray((np.asarray(picture) * foot * _mottled(HEIGHT, WIDTH, 0.09, random)).clip(0, 255).astype(np.uint8))


def _mottled(height: int, width: int, strength: float, random: np.random.Generator) -> np.ndarray:
    """Large soft light and dark patches (height,width,1) around 1."""
    grey = Image.fromarray(random.integers(0, 256, (6, 14), dtype=np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    return 1 + strength * (np.asarray(grey, np.float32)[..., None] - 128) / 128


# --- floors: functions of (sideways, distance) in metres -> colours ---


def _floor(kind: Callable[..., np.ndarray], height: int, random: np.random.Generator) -> Image.Image:
    """A floor in perspective, drawn at twice the size and shrunk, so that far joints fade instead of flickering."""
    rows, columns = np.arange(2 * height, dtype=np.float32)[:, None], np.arange(2 * WIDTH, dtype=np.float32)[None]
    away = 5.2 / (0.55 + 1.5 * rows / (2 * height))
    sideways = (columns - WIDTH) / 420 * away / 2
    colours = kind(sideways, away + 0 * sideways, random)
    grain = random.normal(0, 5, colours.shape[:2]).astype(np.float32)[..., None]
    return Image.fromarray((colours + grain).clip(0, 255).astype(np.uint8)).resize((WIDTH, height), Image.Resampling.BOX)


def _joints(x: np.ndarray, period: float, width: float) -> np.ndarray:
    return (np.abs((x / period) % 1 - 0.5) > 0.5 - width / period / 2).astype(np.float32)


def _tone(x: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    """A brightness of its own for each tile, from the numbers of its column and row."""
    return 1 + strength * (np.modf(np.abs(np.sin(np.floor(x) * 127.1 + np.floor(y) * 311.7) * 43758.5))[0] - 0.5)


def slabs(colour: Rgb, size: float, offset: float = 0.0, joint: float = 0.62):
    def kind(x, y, random):
        x = x + offset * size * (np.floor(y / size) % 2)
        lines = np.maximum(_joints(x, size, 0.03), _joints(y, size, 0.05))
        return np.array(colour, np.float32) * (_tone(x / size, y / size, 0.14) * (1 - (1 - joint) * lines))[..., None]

    return kind


def chequered(first: Rgb, second: Rgb, size: float):
    def kind(x, y, random):
        odd = ((np.floor(x / size) + np.floor(y / size)) % 2)[..., None]
        shine = (1 + 0.1 * np.sin(1.3 * x + 0.4) * np.sin(0.9 * y))[..., None]
        return (np.array(first, np.float32) * (1 - odd) + np.array(second, np.float32) * odd) * shine

    return kind


def asphalt(stripes: bool, line: Rgb):
    def kind(x, y, random):
        base = 92 + 7 * np.sin(3.1 * x) * np.sin(2.3 * y)
        colour = np.stack([base, base * 1.01, base * 1.05], -1)
        mark = (np.abs((x / 1.1) % 1 - 0.5) < 0.26) & (y > 2.9) & (y < 4.6) if stripes else _joints(x + 0.8 * y, 2.6, 0.13) > 0
        worn = (0.82 + 0.1 * np.sin(9 * x) * np.sin(7 * y))[..., None]
        return np.where(mark[..., None], np.array(line, np.float32) * worn, colour)

    return kind


def grass_and_path(x, y, random):
    path = np.abs(x - 0.5 * np.sin(0.8 * y)) < 1.9
    blades = random.normal(0, 14, x.shape).astype(np.float32)[..., None]
    green = np.array((88, 122, 58), np.float32) * (1 + 0.1 * np.sin(2 * x + y))[..., None] + blades
    return np.where(path[..., None], np.array((176, 158, 128), np.float32) + 0.5 * blades, green)


def planks(x, y, random):
    row = np.floor(y / 0.28)
    lines = np.maximum(_joints(y, 0.28, 0.02), _joints(x + 0.63 * row, 1.7, 0.02))
    grain = 1 + 0.05 * np.sin(40 * y + 3 * np.sin(2 * x + row))
    return np.array((164, 118, 76), np.float32) * (_tone((x + 0.63 * row) / 1.7, y / 0.28, 0.24) * grain * (1 - 0.4 * lines))[..., None]


def carpet(x, y, random):
    figure = (np.hypot((x % 0.8) - 0.4, (y % 0.8) - 0.4) < 0.2)[..., None]
    return np.where(figure, np.array((150, 72, 70), np.float32), np.array((106, 48, 58), np.float32))


def tactile(x, y, random):
    base = slabs((132, 134, 138), 0.6)(x, y, random)
    strip = np.abs(y - 3.3) < 0.28
    bumps = (np.hypot((x % 0.13) - 0.065, (y % 0.13) - 0.065) < 0.04) * 0.16
    return np.where(strip[..., None], np.array((206, 172, 58), np.float32) * (0.92 + bumps)[..., None], base)


# --- walls: functions that draw on a picture (top,1400) ---


def brick_wall(draw, picture, top, random):
    draw.rectangle((0, 0, WIDTH, top), fill=(160, 140, 126))
    for row, y in enumerate(range(-4, top, 12)):
        for x in range(-40 + 17 * (row % 2), WIDTH, 34):
            tint = random.integers(-16, 17)
            draw.rectangle((x, y, x + 31, y + 9), fill=(148 + tint, 82 + tint, 66 + tint))
    for x in range(70, WIDTH, 290):
        _window(draw, x, top - 185, 110, 110, (92, 112, 128), (226, 222, 212), random)
    _door(draw, 520, top, (46, 74, 66))
    _lamp_post(draw, 930, top)


def shop_row(draw, picture, top, random):
    for x, colour in zip(range(0, WIDTH, 350), ((66, 84, 110), (150, 60, 54), (72, 104, 82), (196, 158, 90)), strict=True):
        draw.rectangle((x, 0, x + 350, top), fill=(206, 200, 190))
        draw.rectangle((x + 12, top - 190, x + 338, top - 4), fill=(52, 58, 64))
        _shelves(draw, x + 24, top - 148, 200, 136, random)
        draw.rectangle((x + 244, top - 148, x + 318, top), fill=(98, 112, 122))
        for k in range(-1, 12):  # awning
            fill = colour if k % 2 else (236, 232, 222)
            draw.polygon(
                [(x + 12 + k * 30, top - 222), (x + 42 + k * 30, top - 222), (x + 38 + k * 30, top - 160), (x + 8 + k * 30, top - 160)],
                fill=fill,
            )


def park(draw, picture, top, random):
    for y in range(top):
        draw.line((0, y, WIDTH, y), fill=tuple(int(a + (b - a) * y / top) for a, b in zip((168, 196, 222), (214, 224, 224), strict=True)))
    _leaves(draw, random, 700, (0, top - 190, WIDTH, top - 40), (52, 92, 48), 26)
    for x in range(60, WIDTH, 210):
        draw.polygon([(x, top), (x + 26, top), (x + 20, 0), (x + 6, 0)], fill=(84, 66, 50))
        draw.line((x + 6, top, x + 10, 0), fill=(110, 90, 70), width=4)
    _leaves(draw, random, 260, (0, -30, WIDTH, 70), (66, 112, 52), 32)
    _leaves(draw, random, 600, (0, top - 46, WIDTH, top), (58, 98, 50), 14)
    _bench(draw, 700, top)


def parked_cars(draw, picture, top, random):
    draw.rectangle((0, 0, WIDTH, top), fill=(196, 202, 208))
    for x in range(0, WIDTH, 120):
        for y in range(0, top - 60, 70):
            _window(draw, x + 14, y + 8, 66, 48, (112, 132, 150), (170, 172, 174), random)
    for x, colour in zip(
        range(-60, WIDTH, 330), ((158, 44, 44), (56, 84, 128), (214, 214, 210), (64, 68, 72), (180, 160, 120)), strict=True
    ):
        _car(draw, x, top, colour)


def glass_hall(draw, picture, top, random):
    for x in range(0, WIDTH, 70):
        for y in range(0, top, 90):
            sky = random.integers(-14, 15)
            draw.rectangle((x, y, x + 70, y + 90), fill=(122 + sky, 152 + sky, 172 + sky), outline=(74, 82, 90), width=3)
            draw.line((x + 8, y + 82, x + 46, y + 8), fill=(170 + sky, 196 + sky, 208 + sky), width=5)
    for x in range(120, WIDTH, 360):
        _column(draw, x, top, 46, (188, 186, 180))


def fence(draw, picture, top, random):
    draw.rectangle((0, 0, WIDTH, top), fill=(96, 104, 108))
    _leaves(draw, random, 380, (0, top - 210, WIDTH, top - 60), (62, 84, 62), 24)
    for y in (top - 130, top - 24):
        draw.rectangle((0, y, WIDTH, y + 7), fill=(52, 58, 62))
    for x in range(0, WIDTH, 16):
        draw.line((x, top - 138, x, top), fill=(58, 64, 68), width=4)
    for x, colour in ((240, (200, 176, 60)), (860, (62, 92, 150))):
        draw.rectangle((x, top - 220, x + 190, top - 140), fill=colour)
        draw.rectangle((x + 12, top - 206, x + 178, top - 188), fill=(236, 234, 226))
    _lamp_post(draw, 620, top)


def bright_shops(draw, picture, top, random):
    draw.rectangle((0, 0, WIDTH, top), fill=(236, 232, 226))
    for x, colour in zip(range(10, WIDTH, 280), ((206, 70, 82), (64, 132, 160), (58, 60, 66), (216, 150, 70), (110, 86, 140)), strict=True):
        draw.rectangle((x, top - 230, x + 258, top - 186), fill=colour)
        for k in range(6):
            draw.rectangle((x + 40 + 30 * k, top - 218, x + 58 + 30 * k, top - 198), fill=(244, 240, 232))
        draw.rectangle((x, top - 182, x + 258, top), fill=(250, 244, 226))
        _shelves(draw, x + 14, top - 160, 230, 150, random)
        draw.rectangle((x, top - 182, x + 258, top), outline=(150, 148, 144), width=5)


def escalators(draw, picture, top, random):
    draw.rectangle((0, 0, WIDTH, top), fill=(176, 186, 188))
    for y in range(0, top, 64):
        draw.line((0, y, WIDTH, y), fill=(150, 160, 164), width=3)
    for x in range(40, WIDTH, 440):
        draw.polygon([(x, top), (x + 110, top), (x + 330, 0), (x + 220, 0)], fill=(96, 102, 108))
        for k in range(14):
            y = top - 22 * k
            draw.line((x + 8 + 15 * k, y, x + 102 + 15 * k, y), fill=(60, 64, 70), width=4)
        for edge in (0, 110):
            draw.line((x + edge, top - 34, x + edge + 220, -34), fill=(38, 40, 44), width=9)


def food_court(draw, picture, top, random):
    draw.rectangle((0, 0, WIDTH, top), fill=(122, 84, 62))
    for x in range(0, WIDTH, 22):
        draw.line((x, 0, x, top - 100), fill=(104, 70, 52), width=3)
    for x in range(30, WIDTH, 230):
        draw.ellipse((x + 60, 18, x + 130, 62), fill=(250, 222, 160))
        draw.rectangle((x, top - 64, x + 160, top - 54), fill=(212, 196, 170))
        draw.rectangle((x + 72, top - 54, x + 86, top), fill=(70, 66, 64))
        for chair in (x - 24, x + 168):
            draw.rectangle((chair, top - 90, chair + 26, top - 34), fill=(168, 60, 48))
            draw.line((chair + 3, top - 34, chair + 3, top), fill=(60, 58, 58), width=4)


def skylight(draw, picture, top, random):
    draw.rectangle((0, 0, WIDTH, top), fill=(204, 214, 222))
    for x in range(0, WIDTH, 200):
        _column(draw, x, top, 34, (226, 230, 234))
        _plant(draw, x + 100, top, random)
    draw.rectangle((0, top - 96, WIDTH, top - 88), fill=(120, 130, 138))
    for x in range(0, WIDTH, 50):
        draw.line((x, top - 90, x, top), fill=(150, 160, 168), width=3)


def adverts(draw, picture, top, random):
    draw.rectangle((0, 0, WIDTH, top), fill=(112, 106, 118))
    for x in range(30, WIDTH, 220):
        first, second = (tuple(int(v) for v in random.integers(40, 230, 3)) for _ in range(2))
        draw.rectangle((x, top - 236, x + 150, top - 30), fill=first, outline=(214, 214, 218), width=6)
        draw.ellipse((x + 30, top - 196, x + 120, top - 106), fill=second)
        for k in range(3):
            draw.rectangle((x + 26, top - 92 + 18 * k, x + 124 - 22 * k, top - 82 + 18 * k), fill=(236, 234, 230))


def garage(draw, picture, top, random):
    draw.rectangle((0, 0, WIDTH, top), fill=(128, 128, 122))
    draw.rectangle((0, 0, WIDTH, 40), fill=(92, 92, 90))
    draw.rectangle((0, top - 84, WIDTH, top), fill=(112, 112, 108))
    for x, colour in zip(range(60, WIDTH, 330), ((70, 76, 84), (138, 48, 44), (196, 196, 192), (54, 78, 112), (90, 96, 80)), strict=False):
        _car(draw, x, top, colour)
    for x in range(0, WIDTH, 330):
        _column(draw, x, top, 52, (160, 158, 150))
        for k in range(4):
            draw.rectangle((x, top - 120 + 30 * k, x + 52, top - 106 + 30 * k), fill=(208, 176, 52))


# --- furniture ---


def _window(draw, x, y, width, height, glass, frame, random):
    tint = int(random.integers(-18, 19))
    draw.rectangle((x - 5, y - 5, x + width + 5, y + height + 5), fill=frame)
    draw.rectangle((x, y, x + width, y + height), fill=tuple(v + tint for v in glass))
    draw.polygon(
        [(x, y + height * 0.6), (x + width * 0.6, y), (x + width * 0.85, y), (x, y + height * 0.9)],
        fill=tuple(v + tint + 22 for v in glass),
    )
    draw.line((x + width // 2, y, x + width // 2, y + height), fill=frame, width=4)


def _door(draw, x, top, colour):
    draw.rectangle((x, top - 200, x + 96, top), fill=(214, 208, 196))
    draw.rectangle((x + 8, top - 190, x + 88, top), fill=colour)
    draw.ellipse((x + 74, top - 100, x + 82, top - 92), fill=(222, 196, 110))


def _lamp_post(draw, x, top):
    draw.rectangle((x, 0, x + 9, top), fill=(58, 62, 64))
    draw.rectangle((x - 6, top - 30, x + 15, top), fill=(48, 52, 54))


def _shelves(draw, x, y, width, height, random):
    draw.rectangle((x, y, x + width, y + height), fill=(226, 214, 188))
    for row in range(3):
        base = y + (row + 1) * height // 3 - 6
        for column in range(width // 18):
            tall = int(random.integers(14, height // 3 - 10))
            fill = tuple(int(v) for v in random.integers(60, 220, 3))
            draw.rectangle((x + 4 + 18 * column, base - tall, x + 16 + 18 * column, base), fill=fill)
        draw.rectangle((x, base, x + width, base + 4), fill=(120, 100, 80))


def _leaves(draw, random, count, box, colour, size):
    for _ in range(count):
        x, y = random.integers(box[0], box[2]), random.integers(box[1], box[3])
        r = size * random.uniform(0.5, 1.1)
        tint = int(random.integers(-24, 25))
        draw.ellipse((x - r, y - 0.8 * r, x + r, y + 0.8 * r), fill=tuple(max(v + tint, 0) for v in colour))


def _bench(draw, x, top):
    for k in range(3):
        draw.rectangle((x, top - 66 + 14 * k, x + 190, top - 56 + 14 * k), fill=(122, 84, 52))
    for dx in (14, 170):
        draw.rectangle((x + dx, top - 60, x + dx + 8, top), fill=(54, 54, 56))


def _car(draw, x, top, colour):
    dark = tuple(int(v * 0.62) for v in colour)
    draw.rounded_rectangle((x, top - 92, x + 290, top - 22), 24, fill=colour)
    draw.polygon([(x + 46, top - 88), (x + 84, top - 142), (x + 206, top - 142), (x + 250, top - 88)], fill=colour)
    draw.polygon([(x + 60, top - 90), (x + 92, top - 134), (x + 142, top - 134), (x + 142, top - 90)], fill=(74, 88, 98))
    draw.polygon([(x + 150, top - 90), (x + 150, top - 134), (x + 200, top - 134), (x + 234, top - 90)], fill=(74, 88, 98))
    draw.rectangle((x + 6, top - 42, x + 284, top - 24), fill=dark)
    for wheel in (x + 32, x + 206):
        draw.ellipse((wheel, top - 52, wheel + 52, top), fill=(34, 34, 36))
        draw.ellipse((wheel + 14, top - 38, wheel + 38, top - 14), fill=(152, 154, 156))


def _column(draw, x, top, width, colour):
    for k in range(width):
        shade = 0.66 + 0.4 * np.sin(np.pi * (k + 8) / (width + 8)) ** 1.5
        draw.line((x + k, 0, x + k, top), fill=tuple(min(int(v * shade), 255) for v in colour))


def _plant(draw, x, top, random):
    _leaves(draw, random, 40, (x - 26, top - 120, x + 26, top - 40), (62, 116, 66), 12)
    draw.polygon([(x - 24, top - 46), (x + 24, top - 46), (x + 16, top), (x - 16, top)], fill=(176, 104, 72))


# Per camera: floor, wall, and the row of the 512 where they meet. A camera that looks down sees more floor.
PLACES: dict[str, tuple[tuple[Callable, Callable, int], ...]] = {
    "street": (
        (slabs((186, 176, 164), 0.9, 0.5), brick_wall, 300),
        (slabs((150, 154, 158), 0.55), shop_row, 250),
        (grass_and_path, park, 220),
        (asphalt(True, (226, 226, 222)), parked_cars, 270),
        (slabs((172, 172, 178), 1.2), glass_hall, 190),
        (tactile, fence, 240),
    ),
    "mall": (
        (chequered((222, 214, 204), (204, 194, 182), 0.9), bright_shops, 250),
        (slabs((158, 164, 168), 0.7, 0.0, 0.8), escalators, 210),
        (planks, food_court, 260),
        (chequered((214, 220, 226), (176, 186, 196), 0.7), skylight, 180),
        (carpet, adverts, 230),
        (asphalt(False, (206, 178, 62)), garage, 250),
    ),
}
