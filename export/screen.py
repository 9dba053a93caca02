"""What the commands of `python -m export` say, and how they start."""

from __future__ import annotations

import importlib.util
import os
import sys


def suggestion(name: str, known: list[str]) -> str:
    from kerasdl.names import nearest

    return nearest(name, known)


def start() -> None:
    """Start TensorFlow, where there is one, with its native messages kept off the screen."""
    from kerasdl.quiet import start_up

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if not (importlib.util.find_spec("tensorflow") and importlib.util.find_spec("keras")):
        return
    with start_up():
        import tensorflow as tf

        from kerasdl import device

        device.prepare()
        tf.config.list_logical_devices()  # a machine without a GPU is reported here


def tell(line: str) -> None:
    print(line, flush=True)


def silent(line: str) -> None:
    """What `--quiet` does with a line of progress: nothing."""


def complain(sentence: str) -> int:
    print(f"export: {sentence}", file=sys.stderr)
    return 1
