"""The pictures in examples/ of a bundle that looks at pictures: a few real ones, whatever is said of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

EXAMPLES = 6


def write_examples(folder: Path, feeds: dict[str, np.ndarray], samples: dict[str, np.ndarray], labels: list[str]) -> list[str]:
    """The first picture of each of the first classes or two of each of the first people, as WORD-NUMBER.png; whatever the answers."""
    from PIL import Image

    images = feeds.get("image")
    if images is None:
        return []
    folder.mkdir()
    paths = []
    for number, word in chosen_examples(samples, labels):
        pixels = images[number][..., 0] if images.shape[-1] == 1 else images[number]
        Image.fromarray(pixels).save(folder / f"{word}-{number}.png", optimize=True)
        paths.append(f"examples/{word}-{number}.png")
    return sorted(paths)


def chosen_examples(samples: dict[str, np.ndarray], labels: list[str]) -> list[tuple[int, str]]:
    """Numbers of samples and a word on each."""
    if "pid" in samples and not labels:
        return people(samples["pid"], samples["camid"])
    if "label" not in samples or not labels:
        return [(number, "sample") for number in range(EXAMPLES)]
    numbers = sorted(np.unique(samples["label"], return_index=True)[1][:EXAMPLES])
    return [(number, re.sub(r"[^A-Za-z0-9]+", "-", labels[int(samples["label"][number])]).strip("-") or "class") for number in numbers]


def people(pids: np.ndarray, camids: np.ndarray) -> list[tuple[int, str]]:
    """Two pictures each of the first who are seen by two cameras, as idPID-camCAMID."""
    found: list[int] = []
    for pid in np.unique(pids[pids > 0]):
        mine = np.flatnonzero(pids == pid)
        elsewhere = mine[camids[mine] != camids[mine[0]]]
        if len(elsewhere) and len(found) < EXAMPLES:
            found += [int(mine[0]), int(elsewhere[0])]
    return [(number, f"id{pids[number]}-cam{camids[number]}") for number in found]
