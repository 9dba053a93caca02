"""What to say when a name is unknown: the nearest one, or where to look."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """A sentence that suggests the nearest of `known`, or lists them when nothing is near."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Known: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}." if known else "Nothing is there yet."
