"""Handwritten digits of the UCI repository (Alpaydin and Kaynak 1998), the 1,797 that scikit-learn ships: real scans, no download.

Each scan was a 32x32 bitmap, counted in 4x4 blocks to 8x8 pictures with levels 0..16. They are scaled back to 0..255 and to
32x32 by Pillow's bilinear resize, the size LeNet-5 was drawn for. Licence: CC BY 4.0. Fixed held-out fifth (360) as the test split.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, Splits, channel_statistics, held_out

SIDE = 32
# The scans were cut to the ink before they were counted in blocks; a client does the same: ink, 8x8 block means, 32x32.
PREPARE = (
    {"op": "ink", "margin": 0.0, "center": "box"},
    {"op": "resize", "size": [8, 8], "method": "box"},
    {"op": "resize", "size": [SIDE, SIDE], "method": "bilinear"},
)


def digits(valid_share: float = 0.1, seed: int = 0) -> Splits:
    """UCI handwritten digits, bundled with scikit-learn: 1,797 grey 32x32 scans.

    The test split is a fixed stratified fifth (360); `valid_share` of the rest, drawn by `seed`, is the validation split.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    small = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    images = np.stack([np.asarray(Image.fromarray(x).resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for x in small])[..., None]
    labels = bunch.target.astype(np.int64)
    rest, test = held_out(labels, 0.2, seed=0)  # the fifth never moves, whatever the seed
    kept, out = held_out(labels[rest], valid_share, seed)
    train, valid = rest[kept], rest[out]
    mean, std = channel_statistics(images[train])
    spec = Spec((SIDE, SIDE, 1), tuple(str(d) for d in range(10)), mean, std, PREPARE, "UCI handwritten digits")
    card = {
        "name": spec.data_name,
        "source": "scikit-learn's bundled copy of the UCI test set of handwritten digits (Alpaydin and Kaynak 1998)",
        "licence": "CC BY 4.0",
        "synthetic": False,
        "counts": {"train": len(train), "valid": len(valid), "test": len(test)},
    }
    parts = [ArraySplit({"image": images[i], "label": labels[i]}) for i in (train, valid, test)]
    return Splits(*parts, spec=spec, card=card)
