"""Experiments on photographs with captions that lie in a folder."""

from functools import partial

from keras.optimizers import AdamW

from kerasdl.data.augment import pad_crop
from kerasdl.data.flickr8k import flickr8k
from kerasdl.models import resnet18
from kerasdl.recipe import Recipe
from kerasdl.schedules import cosine
from kerasdl.tasks import Captioning

FLICKR8K = Recipe(
    name="flickr8k-captioner",
    note="Show, Attend and Tell (Xu et al. 2015) on Flickr8k in KERASDL_DATA_DIR/flickr8k. Published: BLEU-4 0.15 to 0.21, with an encoder "
    "trained on ImageNet (--set weights=timm/resnet18.a1_in1k); from random weights, as here, less. Not yet trained by us.",
    data=flickr8k,
    augment=(partial(pad_crop, pad=16),),  # no flip: captions say left and right
    model=resnet18,
    task=Captioning(decoder="recurrent", cell="lstm", units=512, width=256, dropout=0.5, label_smoothing=0.1),
    epochs=20,
    batch_size=32,
    optimizer=partial(AdamW, weight_decay=0.01, global_clipnorm=5.0),
    schedule=partial(cosine, peak=4e-4, warmup=0.05),
    precision="mixed_bfloat16",
)
