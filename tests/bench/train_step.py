"""Milliseconds a training step of ResNet-20 on this machine: stock Keras, XLA, fused norms, half precision, all in one run.

    python tests/bench/train_step.py [--batch 128] [--steps 20] [--rounds 3]

The sides take turns, round after round, so that a busy moment of the machine meets them all; the best round of each counts.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np

SIDES = {
    "Keras, float32": ("float32", False, False),
    "Keras, float32, XLA": ("float32", False, True),
    "fused norms, float32": ("float32", True, False),
    "fused norms, bfloat16 (what cifar10-resnet20 uses)": ("mixed_bfloat16", True, False),
}


def stepper(precision: str, fused: bool, jit: bool, batch: int) -> Any:
    from kerasdl.data.fake import fake
    from kerasdl.data.spec import Spec
    from kerasdl.fused_norm import use_fused_norms
    from kerasdl.recipe import find_recipe
    from kerasdl.train import build, compile_model

    spec = Spec((32, 32, 3), tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, (), "noise")
    recipe = find_recipe("cifar10-resnet20")
    model = build(recipe, spec, precision)
    compile_model(model, recipe, total_steps=10_000)
    model.jit_compile = jit
    if fused:
        use_fused_norms(model)
    arrays = fake(spec, train=batch).train.arrays()
    inputs, targets = {"image": arrays["image"].astype("float32")}, {"logits": arrays["label"]}
    for _ in range(3):
        model.train_on_batch(inputs, targets)
    return lambda: model.train_on_batch(inputs, targets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    steppers = {name: stepper(*side, options.batch) for name, side in SIDES.items()}
    times: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(options.rounds):
        for name, step in steppers.items():
            start = time.perf_counter()
            for _ in range(options.steps):
                step()
            times[name].append((time.perf_counter() - start) / options.steps * 1000)
    base = min(times["Keras, float32"])
    print(f"ResNet-20, batch {options.batch}, {options.steps} steps, best of {options.rounds} rounds")
    for name, rounds in times.items():
        print(f"{name:<52} {min(rounds):7.0f} ms   {min(rounds) / base:5.2f} of stock   rounds {np.round(rounds).astype(int).tolist()}")


if __name__ == "__main__":
    main()
