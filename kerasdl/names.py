"""What to say when a name is unknown: the nearest one, or where to look."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that suggests the nearest of `known`, or lists them when nothing is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=5, cutoff=0.5)
    if close:
        return f"Did you mean {max(close, key=lambda other: (_likeness(name, other), len(os.path.commonprefix([name, other]))))!r}?"
    return f"Known: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}." if known else "Nothing is there yet."


def _likeness(name: str, other: str) -> float:
    return difflib.SequenceMatcher(None, name, other).ratio()
