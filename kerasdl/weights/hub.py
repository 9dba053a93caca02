"""Published weights by name from the Hugging Face hub, with the scaling of the pictures that they were trained on."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from kerasdl.weights.torch_file import Report, load_torch, read_safetensors

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and std of its training pictures
HALF = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """What was loaded, and the pictures it expects.

    mean, std: of each channel, on pictures scaled to 0..1.
    image_size: (height, width).
    interpolation: of the resize, "bicubic" or "bilinear".
    crop: share of the resized picture's side that the centre crop keeps.
    classes: of the file's classifier, 0 for none.
    report: see `Report`.
    """

    repo: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: tuple[int, int]
    interpolation: str
    crop: float
    classes: int
    report: Report

    def __str__(self) -> str:
        size = "x".join(map(str, self.image_size))
        pictures = f"Pictures {size}, mean {self.mean}, std {self.std}, {self.interpolation}, crop {self.crop}."
        return f"{self.repo}: {self.report} {pictures}"


def is_hub_name(name: str) -> bool:
    """Whether `name` reads as OWNER/REPOSITORY and is no file: "timm/resnet50.a1_in1k"."""
    path = Path(name)
    known = (".safetensors", ".keras", ".h5", ".pth", ".pt", ".bin")
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name)) and path.suffix not in known and not path.exists()


def brings_scaling(source: str | None) -> bool:
    """Whether a recipe's weights say how its pictures are scaled, in place of the data's own mean and std: torch's do."""
    return bool(source) and (source.endswith(".safetensors") or is_hub_name(source))


def load_pretrained(model: keras.Model, repo: str, revision: str | None = None) -> Pretrained:
    """Fetches `model.safetensors` and `config.json` of a timm repository on the Hugging Face hub, once, and puts the weights into `model`.

    Args:
        model: as for `load_torch`.
        repo: such as "timm/resnet50.a1_in1k".
        revision: a branch, tag or commit of it.

    Returns:
        The mean, the std and the rest of what the pictures must be, beside the report of the weights.

    Raises:
        ValueError: when the repository cannot be reached or has no such file, and where `load_torch` does.
    """
    facts = _picture_facts(repo, _fetched(repo, "config.json", revision))
    report = load_torch(model, _fetched(repo, "model.safetensors", revision))
    return Pretrained(
        repo=repo,
        mean=tuple(map(float, facts["mean"])),
        std=tuple(map(float, facts["std"])),
        image_size=(int(facts["input_size"][1]), int(facts["input_size"][2])),  # (C, H, W) there
        interpolation=str(facts.get("interpolation", "bilinear")),
        crop=float(facts.get("crop_pct", 0.875)),
        classes=int(facts.get("num_classes", 1000)),
        report=report,
    )


def scaling(source: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """(mean, std) of the pictures, scaled to 0..1, that published weights were trained on.

    Args:
        source: a timm repository of the hub; or a `.safetensors` file, whose scaling is in the config.json beside it, or else
            that of torchvision's weights: ImageNet's, and one half for GoogLeNet's (see `torch_file.NOTES`).
    """
    config = _fetched(source, "config.json", None) if is_hub_name(source) else Path(source).with_name("config.json")
    if not config.is_file():
        return HALF if any(name.startswith("inception3a.") for name in read_safetensors(source)) else IMAGENET
    facts = _picture_facts(source, config)
    return tuple(map(float, facts["mean"])), tuple(map(float, facts["std"]))


def _picture_facts(source: str, config: Path) -> dict[str, Any]:
    try:
        plain = json.loads(config.read_text(encoding="utf-8"))
    except ValueError as problem:  # not JSON, or not UTF-8
        raise ValueError(f"the config.json of the weights is damaged ({problem}). Received: {str(config)!r}") from None
    facts = {**plain, **plain.get("pretrained_cfg", {})}  # timm writes them one level down since 2023
    missing = [name for name in ("mean", "std", "input_size") if name not in facts]
    if missing:
        raise ValueError(f"a timm repository says in config.json how its pictures were scaled. Received: {source!r} without {missing}")
    return facts


def _fetched(repo: str, name: str, revision: str | None) -> Path:
    """The file in the local cache, after a download where it is not there yet."""
    from huggingface_hub import errors, hf_hub_download

    try:
        with _no_retry_chatter():
            return Path(hf_hub_download(repo, name, revision=revision))
    except errors.HFValidationError:
        raise ValueError(f"a repository of the hub is OWNER/NAME, such as timm/resnet50.a1_in1k. Received: {repo!r}") from None
    except errors.GatedRepoError:
        raise ValueError(f"this repository asks its readers to log in (hf auth login). Received: {repo!r}") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise ValueError(f"the hub has no such repository or revision. Received: {_named(repo, revision)}") from None
    except errors.LocalEntryNotFoundError:
        raise ValueError(_unreachable(repo, name)) from None
    except errors.EntryNotFoundError:
        raise ValueError(f"the repository has no {name}; only timm's, with safetensors, are read. Received: {repo!r}") from None
    except Exception as problem:  # a closed proxy, a full disk: every layer below has its own exception
        raise ValueError(f"{_unreachable(repo, name)} ({type(problem).__name__}: {_first_line(problem)})") from None


@contextlib.contextmanager
def _no_retry_chatter() -> Iterator[None]:
    """Two log lines for each of the library's five tries would stand before the one sentence that we give."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _unreachable(repo: str, name: str) -> str:
    return f"{name} is not in the local cache and the Hugging Face hub cannot be reached, or HF_HUB_OFFLINE is set. Received: {repo!r}"


def _named(repo: str, revision: str | None) -> str:
    return repr(repo) if revision is None else f"{repo!r} at {revision!r}"


def _first_line(problem: Any) -> str:
    return (str(problem).splitlines() or [""])[0]
