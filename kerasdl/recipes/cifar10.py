"""Experiments on CIFAR-10 (`TFDS_DATA_DIR`)."""

from dataclasses import replace
from functools import partial

from keras.optimizers import SGD

from kerasdl.data.augment import alternating_flip, cutout, flip, pad_crop
from kerasdl.data.tfds_sets import cifar10
from kerasdl.models import airbench94, resnet20
from kerasdl.models.densenet import densenet_small
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle, triangular
from kerasdl.tasks import Classification

RESNET20 = Recipe(
    name="cifar10-resnet20",
    note="ResNet-20, option A, one cycle, small cutout. Decoupled decay 5e-3 is torch's 5e-4 divided by 1 - momentum.",
    data=partial(cifar10, valid=1000),
    augment=(partial(pad_crop, pad=4), flip, partial(cutout, size=8)),
    model=resnet20,
    task=Classification(),
    epochs=100,
    batch_size=128,
    optimizer=partial(SGD, momentum=0.9, nesterov=True, weight_decay=5e-3),
    schedule=partial(one_cycle, peak=0.2),
    precision="mixed_bfloat16",  # 0.6 of the float32 step on a CPU with AMX, and half the memory anywhere
    expect={"accuracy": 0.88},
    minutes=90,
)

DENSENET22 = replace(
    RESNET20,
    name="cifar10-densenet22",
    note="DenseNet with 22 layers, k=16 (a CPU's oneDNN kernels want channels in multiples of 16), with shifts and flips, on one cycle.",
    model=partial(densenet_small, depth=22, growth=16, name="densenet22_16", bottleneck=False),
    augment=(partial(pad_crop, pad=4), flip),
    epochs=16,
    expect={"accuracy": 0.85},
    minutes=72,
)

AIRBENCH94 = Recipe(
    name="cifar10-airbench94",
    note="The fast network of Jordan 2024 in bfloat16: whitening, a triangle of learning rates, averaged weights, six views in the test.",
    data=partial(cifar10, valid=1000),
    augment=(partial(pad_crop, pad=2, mode="REFLECT"), alternating_flip, partial(cutout, size=12)),
    model=partial(airbench94, activation="silu", whitening_epsilon=1e-2),  # the finest patch variances, 1e-4, are JPEG's noise
    task=Classification(label_smoothing=0.2, views="flip-shift"),
    epochs=36,
    batch_size=512,
    optimizer=partial(SGD, momentum=0.85, nesterov=True, weight_decay=0.009),
    schedule=partial(triangular, peak=0.75, warmup=0.2, start=0.2, end=0.02),
    ema=0.99,
    precision="mixed_bfloat16",
    expect={"accuracy": 0.91},
    minutes=38,
)
