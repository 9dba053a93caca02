"""Experiments on scikit-learn's bundled handwritten digits."""

from functools import partial

from keras.optimizers import AdamW

from kerasdl.data.augment import pad_crop, stroke_width
from kerasdl.data.digits import digits
from kerasdl.models import lenet5
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle
from kerasdl.tasks import Classification

LENET5 = Recipe(
    name="digits-lenet5",
    note="LeNet-5 as published (tanh, average pooling) on 1,293 scans of digits, strokes thinned and thickened: the demo's own training.",
    data=digits,
    augment=(partial(stroke_width, thinner=0.25), partial(pad_crop, pad=3)),  # people draw with other pens
    model=lenet5,
    task=Classification(),
    epochs=40,
    batch_size=32,
    optimizer=partial(AdamW, weight_decay=0.01),
    schedule=partial(one_cycle, peak=4e-3),
    expect={"accuracy": 0.975},
    minutes=0.5,
)
