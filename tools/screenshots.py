"""The README's pictures of the pages: python tools/screenshots.py [--bundles saved_models] [--out docs].

It starts a server of its own on a free port of this machine, drives Chromium through the pages as a visitor would, and ends both.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESK, PHONE = (1180, 860), (390, 1290)  # the phone is held so long that the answer is on it
HIGH = (1180, 1240)  # the search and its threshold, without the card below
WIDE = (1180, 900)  # a row and its answer, without the card below
PATIENCE = 120_000  # ms
MAX_BYTES = 250_000
USUAL_ADDRESS = """address => { for (const code of document.querySelectorAll('#program code'))
  code.textContent = code.textContent.replaceAll(address, 'http://127.0.0.1:7860'); }"""  # not the free port of this run
SCENE, WORD = 14, "heart"  # of the 24 examples of scenes-captioner, and of what it says of this one
FIVE = ((60, -95), (-50, -95), (-58, -12), (0, -28), (55, 8), (55, 62), (0, 98), (-62, 80))  # from the middle of the sheet


@contextlib.contextmanager
def server(bundles: str) -> Iterator[str]:
    """The address of a running `python -m apps`."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "apps", "--bundles", str(Path(bundles).resolve()), "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        found = next(filter(None, (re.match(r"Ready: (\S+)", line) for line in process.stdout)), None)
        if found is None:
            raise SystemExit("The server did not start: python -m apps says why.")
        yield found[1]
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def take_all(address: str, folder: Path) -> None:
    program = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if program is None:
        raise SystemExit(f"A browser is needed: install one of {', '.join(CHROMIUMS)}.")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=program, args=["--no-sandbox"]) as browser:

        def shot(
            name: str, size: tuple[int, int], scheme: Literal["light", "dark"], visit: Callable[[Page, str], None], whole: bool = True
        ) -> None:
            viewport = ViewportSize(width=size[0], height=size[1])
            context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce")
            page = context.new_page()
            page.set_default_timeout(PATIENCE)
            visit(page, address)
            page.mouse.move(1, 1)
            page.evaluate(USUAL_ADDRESS, address)
            page.wait_for_timeout(500)
            save(page.screenshot(full_page=whole), folder / f"{name}.png")
            context.close()

        shot("home", DESK, "light", visit_home)
        shot("classification", DESK, "light", draw_five)
        shot("classification_dark", DESK, "dark", choose_example)
        shot("captioning", HIGH, "light", hear_of_a_scene, whole=False)
        shot("matching", HIGH, "light", find_person, whole=False)
        shot("regression", WIDE, "light", see_a_price, whole=False)
        shot("phone", PHONE, "light", choose_example, whole=False)


def visit_home(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("#cards .card")
    page.wait_for_selector("#program details")
    page.wait_for_function("[...document.images].every(image => image.complete)")


def visit_classification(page: Page, address: str, model: str) -> None:
    page.goto(f"{address}/classify?model={model}")
    page.wait_for_selector("#trust .figure")
    page.wait_for_selector("#program details")


def draw_five(page: Page, address: str) -> None:
    visit_classification(page, address, "digits-lenet5")
    page.get_by_role("tab", name="Draw").click()
    page.wait_for_selector("#sketch button[aria-label=Brush].highlight")
    box = page.locator("#sketch canvas").first.bounding_box()
    assert box is not None
    middle, centre = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for number, (right, down) in enumerate(FIVE):
        page.mouse.move(middle + right, centre + down, steps=8)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    page.wait_for_selector("#answer .said")


def choose_example(page: Page, address: str) -> None:
    visit_classification(page, address, "cifar10-resnet20")
    page.locator("#examples button", has_text="dog").click()
    page.wait_for_selector("#answer .said")
    page.wait_for_selector("#picture img")


def hear_of_a_scene(page: Page, address: str) -> None:
    """What is said of a test scene, and where the network looked as it said one of the words."""
    page.goto(f"{address}/caption?model=scenes-captioner")
    page.wait_for_selector("#trust .figure")
    page.wait_for_selector("#program details")
    page.locator("#examples button").nth(SCENE).click()
    page.wait_for_selector("#answer .sentence")
    page.wait_for_function("document.querySelector('#program')?.textContent.includes('answer above: ')")
    page.locator(".sentence [data-word]", has_text=WORD).click()
    page.wait_for_selector("#answer .cloth.now")


def find_person(page: Page, address: str) -> None:
    page.goto(f"{address}/match?model=pedestrians-reid")
    page.wait_for_selector("#trust .figure")
    page.locator("#examples button").first.click()
    page.wait_for_selector("#answer .ranks li")
    page.wait_for_selector("#picture img")
    page.locator("#answer .looked").check()


def see_a_price(page: Page, address: str) -> None:
    """A test row: its number in the interval beside the true one, and the curve of the column that moves it furthest."""
    page.goto(f"{address}/regression?model=california-mlp")
    page.wait_for_selector("#trust .figure")
    page.wait_for_selector("#program details")
    page.wait_for_selector("#answer .truth")
    page.wait_for_selector("#curve polyline")


def save(png: bytes, file: Path) -> None:
    """As a palette picture: small enough for a README."""
    with Image.open(io.BytesIO(png)) as picture:
        few = picture.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(file, optimize=True)
    size = file.stat().st_size
    if size > MAX_BYTES:
        raise SystemExit(f"A picture must be below {MAX_BYTES:,} bytes. Received: {file.name} with {size:,}")
    print(f"{file}  {picture.width} x {picture.height}, {size / 1000:.0f} kB")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundles", default="saved_models", metavar="FOLDER", help="bundles to serve (default: %(default)s)")
    parser.add_argument("--out", default="docs", metavar="FOLDER", help="where the pictures go (default: %(default)s)")
    options = parser.parse_args()
    Path(options.out).mkdir(parents=True, exist_ok=True)
    with server(options.bundles) as address:
        take_all(address, Path(options.out))


if __name__ == "__main__":
    main()
