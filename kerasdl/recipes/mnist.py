"""Experiments on MNIST (`TFDS_DATA_DIR`)."""

from functools import partial

from keras.optimizers import SGD, AdamW

from kerasdl.data.augment import pad_crop, random_affine
from kerasdl.data.tfds_sets import mnist
from kerasdl.models import airbench94, lenet5
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle, triangular
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

AIRBENCH = Recipe(
    name="mnist-airbench",
    note="The fast CIFAR network at a quarter of its width, on digits that are turned, sheared, stretched and shifted a little.",
    data=mnist,
    augment=(partial(random_affine, degrees=12, shear=0.15, stretch=(0.85, 1.15), translate=0.1),),
    model=partial(airbench94, widths=(32, 64, 128), activation="silu"),
    task=Classification(label_smoothing=0.1),
    epochs=40,
    batch_size=256,
    optimizer=partial(SGD, momentum=0.85, nesterov=True, weight_decay=0.009),
    schedule=partial(triangular, peak=0.4, warmup=0.2, start=0.2, end=0.02),
    ema=0.99,
    precision="mixed_bfloat16",
    expect={"accuracy": 0.995},
    minutes=11,
)
