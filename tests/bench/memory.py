"""Memory of this package at work, each measured in a process of its own.

    python tests/bench/memory.py training [--recipe cifar10-resnet20] [--steps 30]      the peak of a training with its data
    python tests/bench/memory.py streaming [--files 100000] [--batches 1000]            a folder of pictures that does not fit

`training` runs one epoch of a recipe, cut short after some steps, through validation, figures and saving. `streaming` makes the
folder from 200 pictures by hard links, opens it with `image_folder` and reads training batches, with the memory after each tenth.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

DIFFERENT = 200  # pictures; the rest are hard links to them
MB = 1_000_000


def peak() -> float:
    """MB, the largest that this process ever was; Linux counts in units of 1024 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB


def present() -> float:
    """MB of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MB


def training(recipe_name: str, steps: int) -> dict[str, float]:
    import keras

    from kerasdl.recipe import find_recipe, override
    from kerasdl.train import train

    fit = keras.Model.fit
    keras.Model.fit = lambda self, *args, **options: fit(self, *args, **{**options, "steps_per_epoch": steps})  # pyright: ignore
    recipe = override(find_recipe(recipe_name), ["epochs=1"])
    libraries = present()
    recipe.data()
    data = peak()
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, folder, verbose=0)
    return {"after the imports": libraries, "peak while reading the data": data, "peak of the run": peak()}


def make_folder(folder: Path, files: int) -> None:
    """Two classes of 320 x 240 JPEG files, smooth as photographs are."""
    from PIL import Image

    random = np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / label).mkdir()
    for number in range(files):
        new = folder / "ab"[number % 2] / f"{number:06d}.jpg"
        if number < DIFFERENT:
            small = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
            small.resize((320, 240), Image.Resampling.BICUBIC).save(new, quality=90)
        else:
            first = number % DIFFERENT
            os.link(folder / "ab"[first % 2] / f"{first:06d}.jpg", new)


def streaming(files: int, batches: int, batch_size: int, side: int) -> dict[str, float]:
    from kerasdl.data import image_folder as module  # the function; its module holds the limit
    from kerasdl.data.pipeline import training_batches

    sys.modules[module.__module__].FITS_IN_MEMORY = 0  # pyright: ignore[reportAttributeAccessIssue]
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        make_folder(Path(folder), files)
        before, start = present(), time.monotonic()
        splits = module(folder, side=side)
        found |= {"seconds to open": time.monotonic() - start, "opening took MB": present() - before}
        stream = iter(training_batches(splits.train, batch_size, seed=0))
        next(stream)
        start = time.monotonic()
        for batch in range(1, batches + 1):
            next(stream)
            if batch % max(batches // 10, 1) == 0:
                found[f"MB after {batch * batch_size:,} pictures"] = present()
        found["pictures/s"] = batches * batch_size / (time.monotonic() - start)
    return {**found, "peak of the run": peak()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("training", "streaming"))
    parser.add_argument("--recipe", default="cifar10-resnet20")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--batches", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.child:
        raise SystemExit(subprocess.run([sys.executable, __file__, *sys.argv[1:], "--child"]).returncode)
    if options.what == "training":
        found = training(options.recipe, options.steps)
    else:
        found = streaming(options.files, options.batches, options.batch, options.side)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:<32} {value:10,.1f}" + ("" if "MB" in name or "second" in name or "/s" in name else " MB"))


if __name__ == "__main__":
    main()
