"""Which field of an example a model looks at, and which it is held against."""

from __future__ import annotations

from collections.abc import Container
from typing import Any


def seen(fields: Container[str]) -> str:
    """`image`, or `features` of a table."""
    return "features" if "features" in fields else "image"


def held_against(fields: dict[str, Any]) -> dict[str, Any]:
    """{"logits": label} of classes, {"value": target} of numbers."""
    return {"value": fields["target"]} if "target" in fields else {"logits": fields["label"]}
