"""README.md of a graph that resizes by itself or takes channels first: its contract in words, and the lines of clients that differ."""

from __future__ import annotations

from typing import Any

from export import contracts

CHANNELS_FIRST = (
    "- the picture goes in channels first, uint8 [batch, C, H, W]: the usual array [H, W, C] transposed by (2, 0, 1); the SavedModel takes "
    "the same"
)


def size_of(entry: dict[str, Any]) -> tuple[int | str, int | str, int]:
    """Height, width and channels of an input `image`, whatever its layout; height and width are words where they are free."""
    shape = entry["shape"]
    return (shape[2], shape[3], shape[1]) if entry.get("layout") == "NCHW" else tuple(shape[1:])


def any_or_own(entry: dict[str, Any]) -> str:
    """The remark of a client on the picture that it opens."""
    height, width, _ = size_of(entry)
    if "resize" in entry:
        return "of any size: the graph resizes it" + ('; "Input and output" says what comes before' if entry["prepare"] else "")
    return f'already {width} x {height}; see "Input and output" for others'


def array_of(picture: str, entry: dict[str, Any]) -> str:
    """The Python expression that makes the graph's input of an opened picture."""
    height, width, channels = size_of(entry)
    sides = f"{picture}.height, {picture}.width" if "resize" in entry else f"{height}, {width}"
    turned = ".transpose(0, 3, 1, 2)" if entry.get("layout") == "NCHW" else ""
    return f"np.asarray({picture}, np.uint8).reshape(1, {sides}, {channels}){turned}"


def javascript_image(entry: dict[str, Any], example: str) -> str:
    """The lines of a JavaScript client that make `image` of a PNG."""
    height, width, channels = size_of(entry)
    first = entry.get("layout") == "NCHW"
    byte = "4 * i" if channels == 1 else "4 * (i % area) + Math.floor(i / area)" if first else "4 * Math.floor(i / 3) + (i % 3)"
    area = "const area = height * width;\n" if first and channels == 3 else ""
    if "resize" in entry:
        opened = f'const {{ data: rgba, height, width }} = PNG.sync.read(readFileSync("{example}")); // of any size, four bytes a pixel'
        sides = ("height", "width")
    else:
        read = f'const rgba = PNG.sync.read(readFileSync("{example}")).data;'
        opened = f"{read} // already {width} x {height}, four bytes a pixel"
        sides = (str(height), str(width))
        area = area.replace("height * width", " * ".join(sides))
    shape = [str(channels), *sides] if first else [*sides, str(channels)]
    return f"""{opened}
{area}const pixels = new Uint8Array({" * ".join([*sides, str(channels)])});
for (let i = 0; i < pixels.length; i++) pixels[i] = rgba[{byte}];
const image = new ort.Tensor("uint8", pixels, [1, {", ".join(shape)}]);"""


def in_words(entry: dict[str, Any]) -> str:
    """The rule of an input that resizes, for README.md."""
    resize = entry["resize"]
    height, width = resize["size"]
    before = "after these steps" if entry["prepare"] else "as it is"
    how = {
        "stretch": f"it is stretched to {height} x {width}, whatever its proportions",
        "crop": f"the largest square in its middle is resized to {height} x {width}",
        "letterbox": f"it is resized with its proportions kept, to fit into {height} x {width}, in the middle of bars of the colour "
        f"{resize.get('color')}",
    }[resize["rule"]]
    return (
        f"a picture of any height and width goes in {before}. In the graph {how}: bilinear, half-pixel centres, no antialiasing, so that "
        "each pixel is a mean of four of the picture's however large that is. A picture more than about twice as large should be shrunk "
        "first, by a resize that takes a mean of all pixels, such as Pillow's"
    )


def render(card: dict[str, Any], table: Any, figure: Any) -> list[str]:
    """The part of README.md on pictures of other sizes; `table` and `figure` are those of readme.py."""
    found = card.get(contracts.SECTION, {}).get("scores", [])
    if not found:
        return []
    names = [name for name in found[0]["graph"] if name in card["metrics"]]
    rows = [
        (f"{row['size'][0]} x {row['size'][1]}", name, figure(row["graph"][name]), figure(row["client"][name]))
        for row in found
        for name in names
    ]
    own = " x ".join(map(str, card[contracts.SECTION]["own"]))
    return [
        "## Pictures of other sizes",
        f"The same pictures, enlarged or shrunk by Pillow's bicubic filter from {own}; then fitted by the graph, or resized to {own} by "
        "Pillow's antialiased bilinear filter first. Such pictures have no finer detail than they had: of real ones, several times as "
        "large, more may be lost without antialiasing.",
        table(("height x width", "metric", "by the graph", "by Pillow first"), rows),
    ]
