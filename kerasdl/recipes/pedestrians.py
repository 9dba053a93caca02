"""Experiments on drawn pedestrians, who do not exist."""

from functools import partial

from keras.optimizers import AdamW

from kerasdl.data.augment import flip, pad_crop, random_erasing
from kerasdl.data.pedestrians import pedestrians
from kerasdl.data.samplers import identity_sampler
from kerasdl.models import resnet20
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle
from kerasdl.tasks import Embedding

PEDESTRIANS_REID = Recipe(
    name="pedestrians-reid",
    note="The bag of tricks of Luo et al. 2019 on 600 drawn people: identity loss, batch-hard triplets, last stride 1, BNNeck, erasing.",
    data=partial(pedestrians, identities=1000, height=64),
    augment=(partial(pad_crop, pad=3), flip, random_erasing),
    sampler=partial(identity_sampler, pictures=4),
    model=partial(resnet20, last_stride=1),
    task=Embedding(size=128),
    epochs=50,
    batch_size=64,
    optimizer=partial(AdamW, weight_decay=0.01),
    schedule=partial(one_cycle, peak=3e-3),
    precision="mixed_bfloat16",
    expect={"rank1": 0.82, "mAP": 0.77},
    minutes=28,
)
