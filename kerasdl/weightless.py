"""A model without its weights: shapes and counts of the largest nets in a second, without their gigabytes.

    with weightless():
        model = create_model("vit_h14")

Keras leaves weights unfilled while a `StatelessScope` is open and keeps them on a list of those still to be filled. Here the list is put
back as it was, so that they never are. The model can be described and counted; it cannot be trained, saved or asked.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras
from keras.src.backend.common import global_state

WAITING = "uninitialized_variables"


@contextlib.contextmanager
def weightless() -> Iterator[None]:
    """Models built within have layers, shapes and counts, and no values."""
    before = list(global_state.get_global_attribute(WAITING) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        global_state.set_global_attribute(WAITING, before)
