"""Experiments on Omniglot's characters as identities (`KERASDL_DATA_DIR`)."""

from functools import partial

from keras.optimizers import AdamW

from kerasdl.data.augment import random_affine
from kerasdl.data.omniglot import omniglot
from kerasdl.data.samplers import identity_sampler
from kerasdl.models import airbench94
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle
from kerasdl.tasks import Embedding

EMBED = Recipe(
    name="omniglot-embed",
    note="Drawn characters as identities: 131 of five alphabets, each turned four ways, told apart in alphabets never seen.",
    data=partial(omniglot, turned=True),
    augment=(partial(random_affine, degrees=15, shear=0.2, stretch=(0.8, 1.25), translate=0.1),),
    model=partial(airbench94, widths=(32, 64, 128), activation="silu"),
    task=Embedding(size=128),
    sampler=partial(identity_sampler, pictures=4),
    epochs=20,
    batch_size=128,  # 32 characters x 4 drawers
    optimizer=partial(AdamW, weight_decay=0.05),
    schedule=partial(one_cycle, peak=4e-3),
    precision="mixed_bfloat16",
    expect={"rank1": 0.9, "mAP": 0.75},
    minutes=15,
)
