"""Omniglot as identities (Lake, Salakhutdinov and Tenenbaum 2015): a character is a pid, one of its 20 drawers a camid.

`omniglot` reads the zip files of github.com/brendenlake/omniglot (MIT licence), or what was extracted from them: the background
alphabets (images_background, or the small sets images_background_small1 and 2) and all_runs, the 20 official one-shot runs. These are
drawn from the evaluation alphabets, so nothing of images_evaluation is ever read. The two small sets share Greek and Latin, which
count once: 8 alphabets, 242 characters, 4,840 drawings of 105x105 pixels, black on white.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.data.pictures import apply_step, open_picture
from kerasdl.data.reading import in_order
from kerasdl.data.spec import Spec
from kerasdl.data.splits import ArraySplit, Splits, channel_statistics

DRAWING = re.compile(r"images_background[^/]*/([^/]+)/(character\d+)/\d+_(\d+)\.png$")
RUN = re.compile(r"run(\d+)/(training/class\d+\.png|test/item\d+\.png|class_labels\.txt)$")
WAYS = 20  # characters, and drawings to classify, of a one-shot run
VALID_RUNS = 100  # drawn of the validation alphabets: one run alone has but 20 drawings


def omniglot(path: str | None = None, side: int = 32, valid: int = 1, test: int = 2, seed: int = 0, turned: bool = False) -> Splits:
    """Handwritten characters of many alphabets, 20 drawers each.

    Those of validation and test are of alphabets never seen in training.

    Args:
        path: a folder with the zip files or with what was in them, or one zip file; by default the folder omniglot in KERASDL_DATA_DIR.
        side: of the grey pictures in pixels, light ink on black, cut to the ink and centred by its mass.
        valid, test: how many alphabets each of them gets.
        seed: of the draw of alphabets, and of the validation runs.
        turned: whether training characters turned by 90, 180 and 270 degrees are further identities (Santoro et al. 2016,
            arXiv:1605.06065). A character that looks the same when it is turned gets two labels by that.

    In `test` and `valid`, every drawing is both a query and a part of the gallery (roles query and gallery, valid_query and
    valid_gallery): of a character each drawer has one, so that the cross-camera protocol asks for the 19 others. Where the runs are
    there, the roles one_shot_query and one_shot_gallery hold them, with the field run; see `one_shot_accuracy`. For choices, which
    must not look at these, valid_one_shot_query and valid_one_shot_gallery are 100 runs of the same kind, drawn of the validation
    alphabets that have at least 20 characters.

    Raises ValueError where there are no drawings, or not enough alphabets.
    """
    if side < 8 or side == 105:  # a picture that already has the size is taken as it is, by a client too
        raise ValueError(f"side must be at least 8 and not the 105 pixels of the drawings themselves. Received: {side}")
    root = _root(path)
    files = _files(root)
    drawings = {found.groups(): name for name in sorted(files) if (found := DRAWING.search(name))}  # a repeated alphabet once
    if not drawings:
        raise ValueError(
            f"omniglot needs images_background*.zip of github.com/brendenlake/omniglot, or the folders in them. Received: {str(root)!r}"
        )
    keys = sorted(drawings)
    steps = _steps(side)
    images = _pictures([files[drawings[key]] for key in keys], steps)
    alphabets = np.array([alphabet for alphabet, _, _ in keys])
    characters = [f"{alphabet}/{character}" for alphabet, character, _ in keys]
    names, pids = np.unique(characters, return_inverse=True)
    chosen = _alphabets(sorted(set(alphabets.tolist())), valid, test, seed)
    fields = {"image": images, "pid": pids.astype(np.int64) + 1, "camid": np.array([int(drawer) for *_, drawer in keys], np.int64)}
    parts = {part: _part(fields, np.isin(alphabets, some), labelled=part == "train") for part, some in chosen.items()}
    labels = [str(name) for name in names[np.unique(parts["train"].fields["pid"]) - 1]]
    if turned:
        parts["train"] = _with_turned(parts["train"], len(names))
        labels += [f"{name} turned {degrees}" for degrees in (90, 180, 270) for name in labels]
    roles = {f"{prefix}{role}": parts[part] for part, prefix in (("valid", "valid_"), ("test", "")) for role in ("query", "gallery")}
    roles |= _one_shot_runs(files, steps) | _validation_runs(parts["valid"], alphabets[np.isin(alphabets, chosen["valid"])], seed)
    mean, std = channel_statistics(parts["train"].fields["image"])
    spec = Spec((side, side, 1), tuple(labels), mean, std, steps, "Omniglot (small background sets)" if _is_small(drawings) else "Omniglot")
    card = {
        "name": spec.data_name,
        "source": "Lake, Salakhutdinov and Tenenbaum 2015, github.com/brendenlake/omniglot",
        "licence": "MIT",
        "synthetic": False,
        "counts": {**{part: len(split) for part, split in parts.items()}, **{role: len(split) for role, split in roles.items()}},
        "identities": {part: len(np.unique(split.fields["pid"])) for part, split in parts.items()},
        "alphabets": chosen,
        "turned": turned,
    }
    return Splits(parts["train"], parts["valid"], parts["test"], spec=spec, card=card, roles=roles)


def one_shot_accuracy(distance: np.ndarray, query: Mapping[str, np.ndarray], gallery: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The official 20-way one-shot classification within alphabets: each drawing gets the nearest of the 20 characters of its own run.

    Args:
        distance: (Q, G) from each query to each of the gallery, smaller is more alike. Equal ones keep the gallery's order.
        query, gallery: their fields run and pid, of the roles one_shot_query and one_shot_gallery.

    Returns:
        "accuracy", the mean over all drawings, and "run01" ... of each run, as fractions.
    """
    if distance.shape != (len(query["run"]), len(gallery["run"])):
        raise ValueError(
            f"distance must be queries x gallery, {len(query['run'])} x {len(gallery['run'])}. Received: shape {distance.shape}"
        )
    within = np.where(query["run"][:, None] == gallery["run"][None], distance, np.inf)
    right = gallery["pid"][within.argmin(axis=1)] == query["pid"]
    return {
        "accuracy": float(right.mean()),
        **{f"run{run:02d}": float(right[query["run"] == run].mean()) for run in np.unique(query["run"])},
    }


def _root(path: str | None) -> Path:
    if path is not None:
        root = Path(path).expanduser()
    elif folder := os.environ.get("KERASDL_DATA_DIR"):
        root = Path(folder).expanduser() / "omniglot"
    else:
        raise ValueError("omniglot needs a path, or KERASDL_DATA_DIR with a folder omniglot in it. Received: neither")
    if not root.exists():
        raise ValueError(f"omniglot needs a folder or a zip file that is there. Received: {str(root)!r}")
    return root


def _files(root: Path) -> dict[str, bytes]:
    """The content of drawings and runs by name, from the zip files and folders at hand."""
    found: dict[str, bytes] = {}
    for file in [root] if root.is_file() else sorted(root.rglob("*")):
        if file.suffix == ".zip":
            found |= _zipped(file)
        elif _is_wanted(name := file.resolve().as_posix()):
            found[name] = file.read_bytes()
    return found


def _zipped(file: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            return {name: archive.read(name) for name in archive.namelist() if _is_wanted(name)}
    except zipfile.BadZipFile as problem:
        raise ValueError(f"a zip file must be whole. Received: {str(file)!r} ({problem})") from None


def _is_wanted(name: str) -> bool:
    return bool(DRAWING.search(name) or RUN.search(name))


def _is_small(drawings: Mapping[Any, str]) -> bool:
    return all("images_background_small" in name for name in drawings.values())


def _steps(side: int) -> tuple[dict[str, Any], ...]:
    # Centred by mass, nearest pixels solve 59.8 % of the one-shot runs at side 32; by the box 52.5 %, as scanned 22.3 %.
    return ({"op": "ink", "margin": 0.1, "center": "mass"}, {"op": "resize", "size": [side, side], "method": "bilinear"})


def _pictures(encoded: Sequence[bytes], steps: tuple[dict[str, Any], ...]) -> np.ndarray:
    """uint8 (N,side,side,1)."""

    def picture(content: bytes) -> np.ndarray:
        drawing = open_picture(content, "grey")
        for step in steps:
            drawing = apply_step(drawing, step)
        return np.asarray(drawing, np.uint8)

    return np.stack(list(in_order(picture, encoded)))[..., None]


def _alphabets(names: list[str], valid: int, test: int, seed: int) -> dict[str, list[str]]:
    if valid < 0 or test < 1 or valid + test >= len(names):
        raise ValueError(
            f"test needs at least one alphabet, and so does training. Received: valid={valid} and test={test} of {len(names)} alphabets"
        )
    order = [names[i] for i in np.random.default_rng(seed).permutation(len(names))]
    return {"train": sorted(order[valid + test :]), "valid": sorted(order[:valid]), "test": sorted(order[valid : valid + test])}


def _part(fields: Mapping[str, np.ndarray], mine: np.ndarray, labelled: bool) -> ArraySplit:
    some = {name: values[mine] for name, values in fields.items()}
    labels = np.unique(some["pid"], return_inverse=True)[1] if labelled else np.full(mine.sum(), -1)
    return ArraySplit({**some, "label": labels.astype(np.int64)})


def _with_turned(train: ArraySplit, characters: int) -> ArraySplit:
    """Four times the pictures (N,S,S,1) and the identities: labels and pids go on after those of the upright ones."""
    fields = train.fields
    classes = len(np.unique(fields["label"]))
    return ArraySplit(
        {
            "image": np.concatenate([np.rot90(fields["image"], quarter, axes=(1, 2)) for quarter in range(4)]),
            "label": np.concatenate([fields["label"] + quarter * classes for quarter in range(4)]),
            "pid": np.concatenate([fields["pid"] + quarter * characters for quarter in range(4)]),
            "camid": np.tile(fields["camid"], 4),
        }
    )


def _validation_runs(valid: ArraySplit, alphabets: np.ndarray, seed: int) -> dict[str, ArraySplit]:
    """Runs of 20 characters of one alphabet by two drawers, as the official ones; {} where no alphabet has so many."""
    pids, camids = valid.fields["pid"], valid.fields["camid"]
    large = [name for name in np.unique(alphabets) if len(np.unique(pids[alphabets == name])) >= WAYS]
    if not large:
        return {}
    random, rows = np.random.default_rng(seed), {"query": [], "gallery": []}
    for run in range(VALID_RUNS):
        mine = alphabets == large[run % len(large)]
        characters = random.permutation(np.unique(pids[mine]))[:WAYS]
        for role, drawer in zip(rows, random.permutation(np.unique(camids[mine])), strict=False):
            rows[role] += [np.flatnonzero((pids == pid) & (camids == drawer))[:1] for pid in characters]
    number = np.repeat(np.arange(1, VALID_RUNS + 1), WAYS)
    return {f"valid_one_shot_{role}": ArraySplit({**valid.arrays(np.concatenate(some)), "run": number}) for role, some in rows.items()}


def _one_shot_runs(files: Mapping[str, bytes], steps: tuple[dict[str, Any], ...]) -> dict[str, ArraySplit]:
    """Of each run 20 characters, one drawing each, for the gallery, and 20 drawings of other hands as queries; {} without runs."""
    runs: dict[int, dict[str, bytes]] = {}
    for name, content in files.items():
        if found := RUN.search(name):
            runs.setdefault(int(found[1]), {})[found[0]] = content
    if not runs:
        return {}
    rows: dict[str, list[tuple[bytes, int, int]]] = {"query": [], "gallery": []}
    for run, content in sorted(runs.items()):
        pid_of = {f"run{run:02d}/training/class{c:02d}.png": 1 + WAYS * (run - 1) + c - 1 for c in range(1, WAYS + 1)}
        truth = dict(line.split() for line in content[f"run{run:02d}/class_labels.txt"].decode().splitlines() if line.strip())
        rows["gallery"] += [(content[name], pid, run) for name, pid in pid_of.items()]
        rows["query"] += [(content[item], pid_of[name], run) for item, name in sorted(truth.items())]
    return {f"one_shot_{role}": _runs_split(some, steps, camid) for camid, (role, some) in enumerate(rows.items(), 1)}


def _runs_split(rows: Sequence[tuple[bytes, int, int]], steps: tuple[dict[str, Any], ...], camid: int) -> ArraySplit:
    encoded, pids, runs = zip(*rows, strict=True)
    numbers = {"pid": pids, "run": runs, "label": [-1] * len(rows), "camid": [camid] * len(rows)}
    return ArraySplit({"image": _pictures(encoded, steps), **{name: np.array(values, np.int64) for name, values in numbers.items()}})
