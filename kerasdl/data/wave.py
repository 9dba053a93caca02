"""A sine under noise, after figure 1.2 of Bishop 2006: so few points that a polynomial can follow them too little or too much.

Synthetic: t = sin(2 pi x) + noise of standard deviation 0.3, x drawn evenly from 0..1.
"""

from __future__ import annotations

import numpy as np

from kerasdl.data.splits import Splits
from kerasdl.data.tables import Named, table_splits

NOISE = 0.3


def wave(train: int = 20, valid: int = 100, test: int = 500, seed: int = 0) -> Splits:
    """A sine under Gaussian noise, one column and one target: drawn, no download."""
    random = np.random.default_rng(seed)
    count = train + valid + test
    x = random.uniform(size=count)
    t = np.sin(2 * np.pi * x) + random.normal(scale=NOISE, size=count)
    card = {"name": "noisy sine", "source": "kerasdl.data.wave", "licence": "none needed", "synthetic": True}
    rows = np.split(np.arange(count), [train, train + valid])
    return table_splits([Named("x", "", x)], [Named("t", "", t)], card, parts=(rows[0], rows[1], rows[2]))
