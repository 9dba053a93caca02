"""Experiments on MNIST (`TFDS_DATA_DIR`)."""

from functools import partial

from keras.optimizers import AdamW

from kerasdl.data.augment import pad_crop
from kerasdl.data.tfds_sets import mnist
from kerasdl.models import lenet5
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle
from kerasdl.tasks import Classification

LENET5 = Recipe(
    name="mnist-lenet5",
    note="LeNet-5 in the course's form (ReLU, max pooling) with shifts of up to 2 pixels.",
    data=mnist,
    augment=(partial(pad_crop, pad=2),),
    model=partial(lenet5, activation="relu", pool="max"),
    task=Classification(),
    epochs=30,
    batch_size=64,
    optimizer=partial(AdamW, weight_decay=0.01),
    schedule=partial(one_cycle, peak=3e-3),
    expect={"accuracy": 0.992},
    minutes=6,
)
