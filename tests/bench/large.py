"""A bundle whose weights pass the 2 GB of a protobuf file: exported through every gate, verified, loaded as the server does, and asked.

    python tests/bench/large.py                    539 million parameters, six minutes, 22 GB of memory, 7 GB of disk

Two Dense layers on the digits with the random weights they start with: it is about the size alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from apps.runtime import load_bundle, open_picture  # noqa: E402
from export import export_run, gates, verify_bundle  # noqa: E402

NAME = "large"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=22_700, help="of both layers; its square is most of it (default: %(default)s)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with told("exported"):
            export(options.width, folder)
        bundle = Path(folder) / NAME
        for path in sorted(bundle.glob("model.onnx*")):
            print(f"{path.name}: {path.stat().st_size:,} bytes")
        with told("verified"):
            verify_bundle(bundle)
        with told("loaded"):
            loaded = load_bundle(bundle)
        picture = next((bundle / "examples").glob("*.png"))
        with told("asked"):
            print(loaded.classify([open_picture(picture, loaded.color)], top=1)[0])


def export(width: int, out: str) -> None:
    import keras

    from kerasdl.data.digits import digits
    from kerasdl.tasks import Classification

    data, task = digits(), Classification()
    keras.utils.set_random_seed(0)
    image = keras.Input(data.spec.image_shape)
    x = keras.layers.Flatten()(image)
    for _ in range(2):
        x = keras.layers.Dense(width, activation="relu")(x)
    model = task.build(keras.Model(image, x, name="wide"), data.spec)
    print(f"{model.count_params():,} parameters")
    export_run(model, task, data.test.arrays(), out, spec=data.spec, name=NAME)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Seconds, and by how much the free memory of the machine fell meanwhile."""
    least, over = [before := gates.bytes_of("/proc/meminfo", "MemAvailable")], threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            least[0] = min(least[0], gates.bytes_of("/proc/meminfo", "MemAvailable"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    try:
        yield
    finally:
        over.set()
        watcher.join()
    print(f"{what} in {time.monotonic() - began:.0f} s, {(before - least[0]) / 1e9:.1f} GB more memory")


if __name__ == "__main__":
    main()
