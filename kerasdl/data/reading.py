"""Many files read at once, in order: a thread pool that never holds more than a few answers, and a line on long work."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

FEW = 64  # items that are not worth a pool: the pipeline asks for a few at a time, from threads of its own
THREADS = min(4 * (os.cpu_count() or 1), 32)  # Pillow decodes outside Python's lock, and a network disk is mostly waited for
PIECE = 16  # items a task, so that the pool's own work does not count
AHEAD = 4 * THREADS  # tasks under way
SAY_AFTER = 5.0  # seconds until the first line, then one in LOG_EVERY, or twice a second on a terminal
LOG_EVERY = 30.0


def in_order(function: Callable[[Any], Any], items: Sequence[Any] | np.ndarray, title: str | None = None) -> Iterator[Any]:
    """`function(item)` of every item, in the order of the items; what it raises is raised here.

    With a `title` work of more than a few seconds says on standard error how far it is.
    """
    answers = map(function, items) if len(items) <= FEW else _pooled(function, items)
    return _said(answers, len(items), title) if title else answers


def _pooled(function: Callable[[Any], Any], items: Sequence[Any] | np.ndarray) -> Iterator[Any]:
    with ThreadPoolExecutor(THREADS) as pool:
        pieces = (items[i : i + PIECE] for i in range(0, len(items), PIECE))
        waiting = deque(pool.submit(_each, function, piece) for piece in islice(pieces, AHEAD))
        try:
            while waiting:
                answers = waiting.popleft().result()
                for piece in islice(pieces, 1):
                    waiting.append(pool.submit(_each, function, piece))
                yield from answers
        finally:
            pool.shutdown(cancel_futures=True)


def _each(function: Callable[[Any], Any], piece: Sequence[Any] | np.ndarray) -> list[Any]:
    return [function(item) for item in piece]


def _said(answers: Iterator[Any], count: int, title: str) -> Iterator[Any]:
    live = sys.stderr.isatty()
    start = time.monotonic()
    said, pause = start, SAY_AFTER
    for done, answer in enumerate(answers, 1):
        now = time.monotonic()
        if now - said >= pause:
            said, pause = now, 0.5 if live else LOG_EVERY
            left = (now - start) / done * (count - done)
            line = f"{title}: {done:,} of {count:,}, about {left:.0f} s left"
            print(f"\r{line:<70}" if live else line, end="" if live else "\n", file=sys.stderr, flush=True)
        yield answer
    if live and said > start:
        print(file=sys.stderr)
