"""Whatever file a stranger sends, the server gives the right answer or a sentence, stays small and stays up."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

RED, GREEN, BLUE, WHITE, ORANGE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (255, 128, 0)


def encode(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def plain(color, size=(90, 60), mode="RGB") -> Image.Image:
    return Image.new(mode, size, color)


def png_bomb(side: int) -> bytes:
    """A white PNG of side x side pixels, compressed row by row: a few KB to a few hundred KB of file."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    squeeze, row = zlib.compressobj(9), b"\0" + b"\xff" * side
    data = b"".join(squeeze.compress(row) for _ in range(side)) + squeeze.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def half_and_half(left, right, size=(64, 64)) -> Image.Image:
    picture = plain(left, size)
    picture.paste(right, (size[0] // 2, 0, *size))
    return picture


def exif_rotated() -> bytes:
    """A tall picture, stored lying on its side: only its upper third is red, and center_crop would see green alone without turning it."""
    picture = plain(GREEN, (60, 180))
    picture.paste(RED, (0, 60, 60, 120))
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif, quality=95)


def animated() -> bytes:
    return encode(plain(BLUE), "GIF", save_all=True, append_images=[plain(RED), plain(GREEN)], duration=50)


def palette_with_transparency() -> bytes:
    picture = plain(RED).quantize(4)
    return encode(picture, transparency=0)  # all of it is transparent, so it is white


def sixteen_bit(level: int) -> bytes:
    return encode(Image.fromarray(np.full((60, 90), level, np.uint16)))


ANSWERED = {
    "png": lambda: (encode(plain(RED)), "red"),
    "jpeg": lambda: (encode(plain(GREEN), "JPEG"), "green"),
    "webp": lambda: (encode(plain(BLUE), "WEBP"), "blue"),
    "bmp": lambda: (encode(plain(RED), "BMP"), "red"),
    "cmyk": lambda: (encode(plain((0, 0, 255, 0), mode="CMYK"), "JPEG", quality=95), "yellow"),
    "16-bit white": lambda: (sixteen_bit(65535), "white"),
    "16-bit grey": lambda: (sixteen_bit(128 * 257), "grey"),
    "palette": lambda: (encode(plain(BLUE).quantize(4)), "blue"),
    "palette with transparency": lambda: (palette_with_transparency(), "white"),
    "alpha": lambda: (encode(plain((255, 0, 0, 0), mode="RGBA")), "white"),
    "grey with alpha": lambda: (encode(plain((0, 255), mode="LA")), "black"),
    "one bit": lambda: (encode(plain(1, mode="1")), "white"),
    "exif-rotated": lambda: (exif_rotated(), "red"),
    "animated": lambda: (animated(), "blue"),
    "1x1": lambda: (encode(plain(RED, (1, 1))), "red"),
    "1x15000": lambda: (encode(plain(RED, (1, 15_000))), "red"),
    "named .txt": lambda: (encode(plain(ORANGE)), "orange"),
    "16 megapixels": lambda: (encode(plain((255, 0, 255, 255), (4000, 4000), "RGBA")), "magenta"),
    "a phone's 48 megapixels": lambda: (encode(plain(GREEN, (8000, 6000)), "JPEG"), "green"),
}
REFUSED = {
    "text renamed .png": lambda: (b"this is a text, not a picture", 415, "not a picture in one of the accepted formats"),
    "svg": lambda: (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 415, "not a picture in one of the accepted formats"),
    "tiff": lambda: (encode(plain(RED), "TIFF"), 415, "not a picture in one of the accepted formats"),
    "empty": lambda: (b"", 400, "empty"),
    "truncated jpeg": lambda: (encode(half_and_half(RED, BLUE, (800, 600)), "JPEG")[:2000], 422, "damaged or cut short"),
    "truncated png": lambda: (encode(Image.effect_noise((300, 300), 90))[:9000], 422, "damaged or cut short"),
    "only a header": lambda: (b"\x89PNG\r\n\x1a\n", 415, "not a picture"),
    "4001x4000": lambda: (encode(plain(RED, (4001, 4000))), 413, "at most 16 million pixels are accepted"),
    "13000x13000": lambda: (png_bomb(13_000), 413, "at most 16 million pixels"),
    "20000x20000": lambda: (png_bomb(20_000), 413, "at most 16 million pixels"),
    "jpeg of 66 megapixels": lambda: (encode(plain(RED, (8200, 8000)), "JPEG"), 413, "at most 16 million pixels"),
    "progressive jpeg of 17 megapixels": lambda: (encode(plain(RED, (4200, 4000)), "JPEG", progressive=True), 413, "at most 16 million"),
    "jpeg without a body": lambda: (b"\xff\xd8\xff\xe0", 415, "not a picture"),
    "truncated webp": lambda: (encode(Image.effect_noise((300, 300), 90), "WEBP")[:9000], 422, "damaged or cut short"),
}


def send(api, data: bytes, name: str = "picture.png"):
    return api.post("/api/classify", params={"model": "colors-templates"}, files={"image": (name, data)})


@pytest.mark.parametrize("case", ANSWERED)
def test_a_readable_picture_gets_the_right_answer(api, case):
    data, label = ANSWERED[case]()
    answer = send(api, data, "picture.txt" if case == "named .txt" else "picture.png")
    assert answer.status_code == 200, answer.text
    assert answer.json()["label"] == label


@pytest.mark.parametrize("case", REFUSED)
def test_an_unusable_file_gets_a_sentence(api, case):
    data, status, sentence = REFUSED[case]()
    answer = send(api, data)
    assert (answer.status_code, sentence in answer.json()["error"]) == (status, True), answer.text
    assert "Traceback" not in answer.text and "/tmp" not in answer.text


def test_the_drawing_steps_bear_the_largest_pictures(api):
    noise = np.random.default_rng(0).integers(0, 256, (500, 500), dtype=np.uint8)
    data = encode(Image.fromarray(noise).resize((4000, 4000), Image.Resampling.NEAREST))
    assert len(data) < 8_000_000
    answer = api.post("/api/classify", params={"model": "digits-templates"}, content=data)
    assert answer.status_code == 200, answer.text


def test_afterwards_the_server_is_small_and_lives(api, server):
    """Runs last in this file: the peak covers every picture above."""
    peak = server.peak_megabytes()
    print(f"peak resident memory of the server: {peak:.0f} MB")
    assert peak < 800
    assert api.get("/healthz/live").json() == {"status": "live"}
    assert send(api, encode(plain(RED))).json()["label"] == "red"
