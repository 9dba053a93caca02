"""Six cameras a domain: where a person is seen, and what the camera does to the colours, the sharpness and the noise of a picture.

One person must change more between two cameras than two people differ inside one (the lesson of SyRI and UnrealPerson), so
every camera has its own colour matrix, exposure, gamma, sharpness, native height and JPEG quality.
"""

from __future__ import annotations

import dataclasses
import io

import numpy as np
from PIL import Image, ImageFilter


@dataclasses.dataclass(frozen=True)
class Camera:
    """What one camera does.

    facing: the yaw that most people show it, in radians (0 = face). elevation: how far above the horizon it looks from, in radians.
    lamp: direction of the light (x right, y up, z near). ambient: share of the light that comes from everywhere.
    gain: of red, green and blue. saturation: 1 keeps it. hue: rotation of the colours in radians. gamma: over 1 darkens the middle.
    lift: what black becomes, 0..1. native: height in pixels of a whole person's box on the sensor. blur: radius in native pixels.
    noise: standard deviation in levels of 255. quality: of the JPEG. shadow: darkness of cast shadows, 0..1.
    """

    facing: float
    elevation: float
    lamp: tuple[float, float, float]
    ambient: float
    gain: tuple[float, float, float]
    saturation: float
    hue: float
    gamma: float
    lift: float
    native: int
    blur: float
    noise: float
    quality: int
    shadow: float


STREET = (
    Camera(0.2, 0.1, (-0.55, 0.65, 0.52), 0.52, (1.04, 1.0, 0.93), 1.05, 0.0, 0.95, 0.0, 128, 0.0, 2.0, 92, 0.5),  # low sun
    Camera(2.9, 0.2, (0.2, 0.8, 0.56), 0.74, (0.91, 0.975, 1.08), 0.86, 0.0, 1.05, 0.02, 104, 0.4, 3.0, 80, 0.2),  # overcast, cold
    Camera(1.5, 0.28, (0.6, 0.7, 0.4), 0.5, (0.975, 1.03, 0.92), 1.0, 0.07, 1.0, 0.0, 96, 0.3, 3.5, 75, 0.45),  # under leaves, greenish
    Camera(-1.5, 0.16, (0.1, 0.75, 0.65), 0.66, (1.0, 1.0, 1.01), 0.96, -0.03, 0.86, 0.04, 112, 0.3, 2.5, 85, 0.25),  # bright, washed out
    Camera(0.5, 0.38, (-0.3, 0.9, 0.3), 0.62, (1.0, 0.965, 1.04), 0.92, -0.08, 1.15, 0.0, 84, 0.35, 4.0, 70, 0.3),  # high and dark, purple
    Camera(-2.6, 0.22, (0.5, 0.5, 0.7), 0.55, (1.09, 0.98, 0.85), 0.925, 0.025, 1.11, 0.0, 88, 0.4, 6.0, 70, 0.35),  # sodium lamps
)
MALL = (
    Camera(0.0, 0.24, (0.0, 0.9, 0.44), 0.7, (1.015, 1.0, 0.98), 1.0, 0.0, 0.925, 0.015, 120, 0.0, 2.0, 90, 0.15),  # bright shops
    Camera(3.0, 0.34, (0.4, 0.8, 0.45), 0.66, (0.95, 1.025, 1.01), 0.875, 0.04, 1.025, 0.025, 96, 0.4, 3.0, 75, 0.15),  # fluorescent tubes
    Camera(1.4, 0.18, (-0.6, 0.6, 0.52), 0.56, (1.075, 0.99, 0.89), 1.05, -0.02, 1.05, 0.0, 104, 0.3, 3.5, 80, 0.25),  # warm wood
    Camera(-1.3, 0.42, (0.0, 0.95, 0.3), 0.72, (0.925, 0.975, 1.075), 0.9, -0.05, 1.0, 0.03, 88, 0.5, 3.0, 70, 0.1),  # skylight, cold
    Camera(-0.7, 0.3, (0.5, 0.7, 0.5), 0.6, (1.03, 0.95, 1.02), 1.075, 0.05, 1.125, 0.0, 96, 0.4, 5.0, 70, 0.2),  # magenta adverts
    Camera(2.4, 0.2, (-0.2, 0.6, 0.77), 0.5, (0.94, 1.03, 0.93), 0.85, 0.06, 1.2, 0.01, 72, 0.5, 7.0, 60, 0.3),  # garage
)
CAMERAS = {"street": STREET, "mall": MALL}


def expose(picture: np.ndarray, camera: Camera, height: int, width: int, random: np.random.Generator) -> np.ndarray:
    """The scene (H,W,3) float32 0..255 as that camera delivers it: uint8 (height,width,3)."""
    native = max(24, round(camera.native * random.uniform(0.8, 1.1) * max(1.0, height / 128)))
    tall = min(native, picture.shape[0])
    size = max(12, round(tall * picture.shape[1] / picture.shape[0])), tall
    small = Image.fromarray(picture.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BOX, reducing_gap=2.0)
    if camera.blur:
        small = small.filter(ImageFilter.GaussianBlur(camera.blur * random.uniform(0.5, 1.5)))
    graded = _graded(np.asarray(small, np.float32) / 255, camera, random)
    graded += camera.noise * random.standard_normal(graded.shape, np.float32)
    coded = _jpeg(Image.fromarray(graded.clip(0, 255).astype(np.uint8)), camera.quality)
    method = Image.Resampling.BICUBIC if tall <= height else Image.Resampling.BOX
    return np.asarray(coded.resize((width, height), method))


def _graded(x: np.ndarray, camera: Camera, random: np.random.Generator) -> np.ndarray:
    """Levels 0..1 -> 0..255 through the camera's colour matrix, exposure and gamma, each a little different every time."""
    exposure = random.uniform(0.88, 1.12)
    gain = np.array(camera.gain) * exposure * random.uniform(0.97, 1.03, 3)
    x = np.clip(x @ (_colour_matrix(camera.saturation, camera.hue) * gain[:, None]).T.astype(np.float32), 0, 1)
    return 255 * (camera.lift + (1 - camera.lift) * x ** np.float32(camera.gamma))


def _colour_matrix(saturation: float, hue: float) -> np.ndarray:
    """Rotates by `hue` about the grey axis and scales the distance to it by `saturation`."""
    grey = np.full((3, 3), 1 / 3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return grey + saturation * (np.cos(hue) * (np.eye(3) - grey) + np.sin(hue) * across)


def _jpeg(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file)
