"""Losses on embeddings, one idea per file: labels (B,) and embeddings (B,D) in, one value for each example out, and Keras takes their mean.

The mean over the batch is the mean over what counts: the anchors, pairs or triplets that exist in the batch. An example whose label is
negative is unlabelled: it is neither a positive nor a negative of anyone. Keras hands labels over as float32: they stay below 2^24.

Losses with a memory are layers, because they take the label as an input and keep their state in the model:
`kerasdl.layers.CenterDistance` and `kerasdl.layers.OnlineInstanceMatching`. The identity loss is
`kerasdl.tasks.classification.SmoothedCrossEntropy`. Those of captions take next words and their logits, or an attention;
`MulticlassHinge` takes labels and scores.
"""

from kerasdl.losses.captions import CaptionCrossEntropy, DoublyStochastic, word_is_right
from kerasdl.losses.circle import CircleLoss
from kerasdl.losses.contrastive import ContrastiveLoss
from kerasdl.losses.instance import InstanceLoss
from kerasdl.losses.margin import MulticlassHinge
from kerasdl.losses.triplet import TripletLoss
from kerasdl.losses.verification import VerificationLoss
from kerasdl.losses.weighted_sum import WeightedSum

__all__ = [
    "CaptionCrossEntropy",
    "CircleLoss",
    "ContrastiveLoss",
    "DoublyStochastic",
    "InstanceLoss",
    "MulticlassHinge",
    "TripletLoss",
    "VerificationLoss",
    "WeightedSum",
    "word_is_right",
]
