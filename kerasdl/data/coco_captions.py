"""Photographs with captions in the JSON files of COCO (Chen et al. 2015, arXiv:1504.00325): `coco:FOLDER`.

    FOLDER/annotations/captions_train2017.json    {"images": [{"id", "file_name"}], "annotations": [{"id", "image_id", "caption"}]}
    FOLDER/annotations/captions_val2017.json      FOLDER/train2017/000000000009.jpg     FOLDER/val2017/000000000139.jpg

The original of 2017 has 118,287 + 5,000 photographs with five to seven captions each; the captions of its test pictures are not
published. The file's name tells the part: `train`, `val` and perhaps `test`. Without a test file val is the test, and the validation
pictures are drawn from the training ones. `dataset_coco.json` (Karpathy and Fei-Fei 2015), where it is in the folder, says the parts
instead, with its restval as training: most published figures are of those 113,287 + 5,000 + 5,000.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasdl.data.captions import Captioned, caption_splits, examples_of
from kerasdl.data.splits import Splits

ROLES = {"train": "train", "restval": "train", "val": "valid", "test": "test"}  # in the names of files and of Karpathy's splits


def coco(path: str, side: int = 224, least: int = 5, longest: int = 30, valid: float = 0.05, seed: int = 0) -> Splits:
    """Photographs with captions in COCO's JSON.

    Args:
        path: the folder that holds `annotations` or its files, and the folders of pictures.
        side, least, longest: as `caption_splits`.
        valid: share of the training pictures that is held out where the folder has no part for it.
        seed: of that draw.

    Raises ValueError when there is no captions_train*.json, none for a test, or a file has another form, and as `caption_splits`.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise ValueError(f"coco needs a folder with annotations/captions_train*.json. Received: {path!r}")
    skipped: list[str] = []
    published = _one_file(root, "dataset_coco.json")
    parts = _karpathy(published, root, skipped) if published else _originals(root, skipped)
    source = "COCO captions, " + ("the parts of Karpathy and Fei-Fei" if published else "the original's parts; its val is the test here")
    return caption_splits(
        parts, root.resolve().name, source, side, least, longest, valid, seed=seed, licence="CC BY 4.0 (captions)", skipped=skipped
    )


def _originals(root: Path, skipped: list[str]) -> dict[str, Captioned]:
    parts: dict[str, Captioned] = {}
    for file in sorted({*root.glob("captions_*.json"), *root.glob("annotations/captions_*.json")}):
        role = next((ROLES[word] for word in ("train", "val", "test") if file.stem.startswith(f"captions_{word}")), None)
        if role in parts:
            raise ValueError(f"coco needs one file a part. Received: a second one for {role}, {file.name}")
        if role:
            parts[role] = Captioned.of(_captions(file, root, skipped))
    if "train" not in parts or len(parts) < 2:
        raise ValueError(f"coco needs captions_train*.json and captions_val*.json. Received: {sorted(parts)} in {str(root)!r}")
    if "test" not in parts:
        parts["test"] = parts.pop("valid")
    return parts


def _captions(file: Path, root: Path, skipped: list[str]) -> dict[str, list[str]]:
    """Captions by picture file, pictures and captions in the order of their ids."""
    facts = _json(file)
    try:
        images = {image["id"]: image["file_name"] for image in sorted(facts["images"], key=lambda image: image["id"])}
        captions: dict[Any, list[str]] = {number: [] for number in images}
        for one in sorted(facts["annotations"], key=lambda one: one["id"]):
            captions[one["image_id"]].append(str(one["caption"]))
    except (KeyError, TypeError) as problem:
        raise ValueError(
            f"a captions file has images with id and file_name, and annotations with id, image_id and caption of one of them. "
            f"Received: {file.name}, where {type(problem).__name__} {problem} came up"
        ) from None
    folder = _folder(root, file.stem.removeprefix("captions_"))
    found = {str(folder / name): captions[number] for number, name in images.items()}
    return _present(found, file.name, skipped)


def _folder(root: Path, part: str) -> Path:
    """Where the pictures of a part are: its own folder, or `images`, or the folder itself."""
    choices = (root / part, root / "images" / part, root / "images", root)
    return next(folder for folder in choices if folder.is_dir())


def _karpathy(file: Path, root: Path, skipped: list[str]) -> dict[str, Captioned]:
    found: dict[str, dict[str, list[str]]] = {}
    try:
        for image in _json(file)["images"]:
            role = ROLES[image["split"]]
            name = str(_folder(root, image.get("filepath", "images")) / image["filename"])
            found.setdefault(role, {})[name] = [str(sentence["raw"]) for sentence in image["sentences"]]
    except (KeyError, TypeError) as problem:
        raise ValueError(
            f"{file.name} has images with filename, split ({', '.join(ROLES)}) and sentences with raw. "
            f"Received: {type(problem).__name__} {problem}"
        ) from None
    if "train" not in found:
        raise ValueError(f"{file.name} needs images with the split train. Received: {sorted(found)}")
    return {role: Captioned.of(_present(some, f"{file.name} ({role})", skipped)) for role, some in found.items()}


def _present(captions: Mapping[str, list[str]], named: str, skipped: list[str]) -> dict[str, list[str]]:
    """The captions of pictures that are there; one sentence on all the others."""
    there = {file: some for file, some in captions.items() if Path(file).is_file()}
    if absent := [Path(file).name for file in captions if file not in there]:
        skipped.append(f"skipped: {len(absent)} pictures of {named} are not there: {examples_of(absent)}")
    return there


def _one_file(root: Path, name: str) -> Path | None:
    return next((file for file in (root / name, root / "annotations" / name) if file.is_file()), None)


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as problem:
        raise ValueError(f"{file.name} must be a JSON file. Received: {problem}") from None
