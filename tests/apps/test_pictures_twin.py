"""apps.runtime.pictures and kerasdl.data.pictures are one function, written twice because neither may import the other."""

import io

import numpy as np
import pytest
from PIL import Image

from apps.runtime import pictures as served
from kerasdl.data import pictures as trained

SHAPE = {"grey": (32, 32, 1), "rgb": (32, 32, 3)}
STEPS = {
    "digits": [
        {"op": "ink", "margin": 0.0, "center": "box"},
        {"op": "resize", "size": [8, 8], "method": "box"},
        {"op": "resize", "size": [32, 32], "method": "bilinear"},
    ],
    "mass": [{"op": "ink", "margin": 0.2, "center": "mass"}, {"op": "resize", "size": [32, 32], "method": "bicubic"}],
    "crop": [{"op": "center_crop"}, {"op": "resize", "size": [32, 32], "method": "nearest"}],
}


def noise(shape, seed=0, high=256) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, high, shape)


def encode(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def oriented(value: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = value
    return encode(Image.fromarray(noise((50, 70, 3)).astype(np.uint8)), "JPEG", exif=exif)


def files() -> dict[str, bytes]:
    rgba = Image.fromarray(noise((50, 70, 4)).astype(np.uint8), "RGBA")
    rgb = rgba.convert("RGB")
    return {
        "rgb": encode(rgb),
        "grey": encode(rgb.convert("L")),
        "alpha": encode(rgba),
        "grey alpha": encode(rgba.convert("LA")),
        "one bit": encode(rgb.convert("1")),
        "palette": encode(rgb.quantize(16)),
        "palette alpha": encode(rgb.quantize(16), transparency=3),
        "16 bit": encode(Image.fromarray(noise((50, 70), high=65536).astype(np.uint16))),
        "cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "webp": encode(rgba, "WEBP", lossless=True),
        "gif": encode(rgb.quantize(8), "GIF", save_all=True, append_images=[rgb.quantize(4)]),
        "exact": encode(rgb.resize((32, 32))),
        **{f"orientation {value}": oriented(value) for value in range(1, 9)},
    }


@pytest.mark.parametrize("color", SHAPE)
@pytest.mark.parametrize("kind", files())
def test_both_open_and_prepare_alike(kind, color):
    data = files()[kind]
    one, other = served.open_picture(data, color), trained.open_picture(data, color)
    assert one.mode == other.mode
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    for name, steps in STEPS.items():
        if color == "grey" or name == "crop":
            np.testing.assert_array_equal(served.prepare(one, SHAPE[color], steps), trained.prepare(other, SHAPE[color], steps))


@pytest.mark.parametrize("seed", range(40))
def test_both_cut_drawings_alike(seed):
    generator = np.random.default_rng(seed)
    height, width = generator.integers(1, 160, 2)
    sheet = np.full((height, width), generator.integers(0, 256), np.uint8)
    sheet[height // 4 : height // 2 + 1, width // 3 : width // 2 + 1] = generator.integers(0, 256)
    speckled = np.where(generator.random(sheet.shape) < 0.2, generator.integers(0, 256, sheet.shape), sheet).astype(np.uint8)
    for drawing in (Image.fromarray(sheet), Image.fromarray(speckled)):
        for steps in (STEPS["digits"], STEPS["mass"]):
            np.testing.assert_array_equal(served.prepare(drawing, (32, 32, 1), steps), trained.prepare(drawing, (32, 32, 1), steps))


@pytest.mark.parametrize("data", [b"", b"text", oriented(1)[:400], encode(Image.new("L", (4001, 4000)))])
def test_both_refuse_alike(data):
    for open_picture, refusal in ((served.open_picture, served.PictureError), (trained.open_picture, trained.PictureError)):
        with pytest.raises(refusal):
            open_picture(data)


def photo(width: int, height: int, kind: str = "JPEG", **options) -> bytes:
    small = Image.fromarray(noise((6, 8, 3)).astype(np.uint8))
    return encode(small.resize((width, height), Image.Resampling.BICUBIC), kind, **options)


def test_both_decode_a_large_photo_at_half_its_sides():
    data = photo(201, 150)
    one, other = served.open_picture(data, max_pixels=10_000), trained.open_picture(data, max_pixels=10_000)
    assert one.size == (101, 75)
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    whole = served.open_picture(data).resize((101, 75), Image.Resampling.BOX)
    assert np.abs(np.asarray(one, int) - np.asarray(whole, int)).mean() < 3


@pytest.mark.parametrize(
    "data", [photo(201, 200), photo(200, 150, progressive=True), photo(200, 150, "PNG")], ids=["4x", "progressive", "png"]
)
def test_both_refuse_what_cannot_be_halved(data):
    for open_picture, refusal in ((served.open_picture, served.PictureError), (trained.open_picture, trained.PictureError)):
        with pytest.raises(refusal, match="too large"):
            open_picture(data, max_pixels=10_000)
