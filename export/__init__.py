"""From a trained run to a bundle that is proven to be the same function: SavedModel, ONNX, card, README.

    python -m export digits-lenet5                  a run under runs/ becomes saved_models/digits-lenet5
    export_run(model, task, samples, out, spec=..., name=...)      the same for a model trained without a recipe

The public names are imported on first use, so that `python -m export --help` answers at once.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from export.bundle import export_recipe_run, export_run
    from export.gates import ExportRefused
    from export.variants.make import make_variants
    from export.verify import verify_bundle

_HOME = {
    "ExportRefused": "export.gates",
    "export_recipe_run": "export.bundle",
    "export_run": "export.bundle",
    "make_variants": "export.variants.make",
    "verify_bundle": "export.verify",
}
__all__ = ["ExportRefused", "export_recipe_run", "export_run", "make_variants", "verify_bundle"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'export' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
