"""python -m export model: registered models with random weights, for budgets and latency."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

from export.screen import complain, start

DESCRIPTION = """\
Export registered models with random weights, one NAME.onnx and its card NAME.json each: for size, operator counts and latency only.

  python -m export model resnet50 vit_s16 --out budgets
  python -m export model resnet18 --classes 10 --image-shape 64,64,3 --opset 20 --out budgets

Each model has a process of its own where there are several; nothing half-written is left behind.
"""


def run(words: list[str]) -> int:
    options = parsed(words)
    from export.gates import ExportRefused
    from export.models import check_place, export_model, facts_of

    try:
        check_place(options.out)
        for name in options.names:
            facts_of(name)
        if len(options.names) > 1:
            return run_each(options)
        start()
        (name,) = options.names
        card = export_model(name, options.out, options.opset, options.classes, options.image_shape)
    except (ExportRefused, ValueError, OSError) as error:
        return complain(f"{', '.join(options.names)}: {error}")
    if not options.quiet:
        print(f"{line(card)}, {options.out / name}.onnx", flush=True)
    return 0


def run_each(options: argparse.Namespace) -> int:
    """TensorFlow gives no memory back."""
    more = ["--out", str(options.out), "--opset", str(options.opset)] + ["--quiet"] * options.quiet
    more += [] if options.classes is None else ["--classes", str(options.classes)]
    more += [] if options.image_shape is None else ["--image-shape", ",".join(map(str, options.image_shape))]
    names = options.names
    failed = [name for name in names if subprocess.run([sys.executable, "-m", "export", "model", name, *more]).returncode]
    return complain(f"{len(failed)} of {len(names)} models failed: {', '.join(failed)}") if failed else 0


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m export model", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="registered names, see: kerasdl list models")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where the files go: a folder without bundles")
    parser.add_argument("--opset", type=int, default=17, help="ONNX operator set, from 17 on (default: %(default)s)")
    parser.add_argument("--classes", type=int, help="of the last layer (default: the paper's)")
    parser.add_argument("--image-shape", type=shape, metavar="H,W,C", help="of the pictures (default: the architecture's own)")
    parser.add_argument("--quiet", action="store_true", help="say only what is wrong")
    return parser.parse_args(words)


def shape(text: str) -> tuple[int, ...]:
    sides = text.split(",")
    if len(sides) != 3 or not all(side.isdecimal() and int(side) > 0 for side in sides):
        raise argparse.ArgumentTypeError(f"a picture has height, width and channels, as 224,224,3. Received: {text!r}")
    return tuple(map(int, sides))


def line(card: dict[str, Any]) -> str:
    cost = f"{card['multiply_adds'] / 1e6:,.2f} M multiply-adds, " if card["multiply_adds"] else ""
    return (
        f"{card['model']}: {card['parameters']:,} parameters, {cost}{card['nodes']} nodes, {card['bytes'] / 1e6:.1f} MB, "
        f"relative error {card['parity']['relative_error']:.1e}"
    )
