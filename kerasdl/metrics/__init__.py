"""Metrics and intervals that Keras lacks; numpy in, numbers out."""

from kerasdl.metrics.captions import caption_scores
from kerasdl.metrics.distance import distance_blocks, nearest
from kerasdl.metrics.evaluate import reid_evaluate
from kerasdl.metrics.intervals import confusion_matrix, wilson_interval
from kerasdl.metrics.open_set import accept_rates, calibrate, identification, reid_open_set, roc, verification_pairs
from kerasdl.metrics.ranking import reid_ranking
from kerasdl.metrics.regression import regression_scores
from kerasdl.metrics.reranking import query_expansion, rerank

__all__ = [
    "accept_rates",
    "calibrate",
    "caption_scores",
    "confusion_matrix",
    "distance_blocks",
    "identification",
    "nearest",
    "query_expansion",
    "regression_scores",
    "reid_evaluate",
    "reid_open_set",
    "reid_ranking",
    "rerank",
    "roc",
    "verification_pairs",
    "wilson_interval",
]
