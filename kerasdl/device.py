"""Where the arithmetic runs: found once at the start, said aloud, GPU memory taken as it is needed."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

import keras


def prepare(deterministic: bool = False) -> None:
    """GPU memory grows on demand; with `deterministic`, every operation gives the same bits each time."""
    if keras.config.backend() != "tensorflow":
        return
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # the GPU is in use already in this process: its memory rule was settled then
            break
    if deterministic:
        tf.config.experimental.enable_op_determinism()


def gpus() -> list[str]:
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        return [tf.config.experimental.get_device_details(g).get("device_name", "GPU") for g in tf.config.list_physical_devices("GPU")]
    try:
        return keras.distribution.list_devices("gpu")
    except RuntimeError:  # JAX without a GPU
        return []


def on_tensorflow_cpu() -> bool:
    return keras.config.backend() == "tensorflow" and not gpus()


def jit_compile() -> bool | Literal["auto"]:
    """XLA on a GPU where Keras thinks it safe; never on a CPU, where it slows convolutions down (tests/bench/train_step.py), nor on
    several devices by TensorFlow, where it may hang (keras#20763)."""
    if keras.config.backend() != "tensorflow":
        return "auto"
    import tensorflow as tf

    return "auto" if gpus() and not tf.distribute.has_strategy() else False


def describe() -> str:
    """For example "CPU: Intel Xeon, 2 cores" or "GPU: NVIDIA A100"."""
    found = gpus()
    if found:
        return f"GPU: {', '.join(found)}"
    return f"CPU: {_cpu_name()}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores"


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
