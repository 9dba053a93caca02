"""Experiments on scenes of scikit-learn's digits and drawn shapes, with captions."""

from dataclasses import replace
from functools import partial

from keras.optimizers import AdamW

from kerasdl.data.scenes import scenes, slot_scores
from kerasdl.models.resnet import resnet
from kerasdl.recipe import Recipe
from kerasdl.schedules import one_cycle
from kerasdl.tasks import Captioning

SCENES_CAPTIONER = Recipe(
    name="scenes-captioner",
    note="A Transformer says what a scene of digits and shapes shows: where, how many, which colour and relation.",
    data=partial(scenes, scenes=40_000),
    model=partial(resnet, (1, 1, 1, 1), name="resnet10", bottleneck=False, small=True, width=16),
    task=Captioning(decoder="transformer", width=80, blocks=2, heads=4, dropout=0.1, label_smoothing=0.1, slots=slot_scores),
    epochs=20,
    batch_size=128,
    optimizer=partial(AdamW, weight_decay=0.01, global_clipnorm=1.0),
    schedule=partial(one_cycle, peak=3e-3),
    precision="mixed_bfloat16",
    expect={"all_slots": 0.9, "BLEU-4": 0.75},
    minutes=109,
)

SHOW_ATTEND_TELL = replace(
    SCENES_CAPTIONER,
    name="scenes-show-attend-tell",
    note="The recurrent decoder of Xu et al. 2015 on the same scenes, an LSTM that looks anew for each word.",
    task=Captioning(decoder="recurrent", units=160, width=80, dropout=0.1, label_smoothing=0.1, slots=slot_scores),
    epochs=10,
    expect={"all_slots": 0.8, "BLEU-4": 0.73},
    minutes=101,
)

WITHOUT_ATTENTION = replace(
    SHOW_ATTEND_TELL,
    name="scenes-without-attention",
    note="The ablation: the same decoder sees nothing but the mean over the places.",
    task=replace(SHOW_ATTEND_TELL.task, attention=False),
    expect={"all_slots": 0.47, "BLEU-4": 0.63},
    minutes=31,
)

# 96 pixels: a photograph of CIFAR-10 is then about as large as it was. Half the epochs, for they are twice as long.
SCENES_CIFAR10 = replace(
    SCENES_CAPTIONER,
    name="scenes-cifar10",
    note="The same captioner on scenes of CIFAR-10 photographs and shapes: how far naming what is shown carries.",
    data=partial(scenes, pictures="cifar10", scenes=40_000, side=96),
    epochs=8,
    expect={"all_slots": 0.46, "BLEU-4": 0.7},
    minutes=61,
)
