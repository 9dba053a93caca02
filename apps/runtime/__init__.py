"""Load a bundle, prepare a picture by its rule, run its graphs: numpy, Pillow and onnxruntime only.

bundle = load_bundle("saved_models/digits-lenet5")
bundle.classify([open_picture("seven.png", bundle.color)])
"""

from apps.runtime.bundle import Bundle, BundleError, GraphError, Slot, find_bundles, load_bundle
from apps.runtime.captioning import Caption, Choice, caption
from apps.runtime.embedding import Embedded, embed
from apps.runtime.pictures import PictureError, open_picture, prepare
from apps.runtime.regression import Predicted, Regressor, RowError

__all__ = [
    "Bundle",
    "BundleError",
    "Caption",
    "Choice",
    "Embedded",
    "GraphError",
    "PictureError",
    "Predicted",
    "Regressor",
    "RowError",
    "Slot",
    "caption",
    "embed",
    "find_bundles",
    "load_bundle",
    "open_picture",
    "prepare",
]
