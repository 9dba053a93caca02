"""kerasdl: train a vision model in Keras, prove its export, serve it.

The public names are imported on first use, so that `import kerasdl` costs nothing and needs no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kerasdl.models import create_model, features, list_models, load_model
    from kerasdl.recipe import Recipe, find_recipe, list_recipes

_HOME = {
    "create_model": "kerasdl.models",
    "features": "kerasdl.models",
    "list_models": "kerasdl.models",
    "load_model": "kerasdl.models",
    "Recipe": "kerasdl.recipe",
    "find_recipe": "kerasdl.recipe",
    "list_recipes": "kerasdl.recipe",
}
__all__ = ["Recipe", "create_model", "features", "find_recipe", "list_models", "list_recipes", "load_model"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'kerasdl' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
