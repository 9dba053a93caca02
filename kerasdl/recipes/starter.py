"""The recipe behind `kerasdl train --data ... --model ...`: AdamW and one cycle, which need no tuning to give a fair first result."""

from collections.abc import Callable
from functools import partial
from typing import Any

from keras.optimizers import AdamW

from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle
from kerasdl.tasks import Classification


def starter(name: str, data: Callable, model: Callable, task: Any = None) -> Recipe:
    return Recipe(
        name=name,
        note="A first training with the defaults of `kerasdl train --data --model`.",
        data=data,
        model=model,
        task=task or Classification(),
        epochs=15,
        batch_size=32,
        optimizer=partial(AdamW, weight_decay=0.01),
        schedule=partial(one_cycle, peak=2e-3),
    )
