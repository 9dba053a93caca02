"""What a model must know about its data, as facts that can be saved: `runs/NAME/spec.json`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@dataclasses.dataclass(frozen=True)
class Spec:
    """Facts of a labelled picture set.

    image_shape: (height, width, channels) of the uint8 pictures; 1 channel is grey, 3 is RGB.
    labels: class names in the order of the label numbers.
    mean, std: of each channel over the training pictures, on the scale 0..1.
    prepare: how a client turns any picture into one of these (the steps of `kerasdl.data.pictures`).
    data_name: as results must call it, for example "CIFAR-10 (JPEG)".
    caption_length: of pictures with captions, the tokens of one with `<start>` and `<end>`; the labels are then the words. 0 where
        there are no captions.
    attributes: the values of each attribute that examples have as a field `attribute_NAME`, in the order of its numbers.
    """

    image_shape: tuple[int, int, int]
    labels: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    prepare: tuple[dict[str, Any], ...]
    data_name: str
    attributes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict, hash=False)
    caption_length: int = 0

    def __post_init__(self) -> None:
        channels = self.image_shape[-1]
        if channels not in (1, 3):
            raise ValueError(f"pictures have 1 (grey) or 3 (RGB) channels. Received: image_shape={self.image_shape}")
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(f"mean and std need one value a channel. Received: {self.mean} and {self.std} for {channels} channels")
        if not self.labels:
            raise ValueError("labels must name at least one class. Received: none")
        if self.caption_length and self.caption_length < 3:
            raise ValueError(
                f"a caption has at least <start>, a word and <end>; 0 is no caption. Received: caption_length={self.caption_length}"
            )
        if bad := [name for name in self.attributes if not re.fullmatch("[A-Za-z0-9_]+", name)]:
            raise ValueError(f"the name of an attribute is of letters A-Z, digits and underscores. Received: {bad}")

    @property
    def classes(self) -> int:
        return len(self.labels)

    @property
    def summary(self) -> str:
        return f"{self.classes} classes"

    @property
    def color(self) -> str:
        return "grey" if self.image_shape[-1] == 1 else "rgb"

    def to_json(self) -> dict[str, Any]:
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, source: str | Path | dict[str, Any]) -> Spec:
        facts = source if isinstance(source, dict) else json.loads(Path(source).read_text(encoding="utf-8"))
        known = {field.name for field in dataclasses.fields(cls)}
        optional = {"caption_length", "attributes"}  # which specs of older versions have not
        if not known - optional <= set(facts) <= known:
            raise ValueError(f"a spec has the fields {sorted(known)}. Received: {sorted(facts)}")
        tuples: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in facts.items()}
        attributes = {name: tuple(values) for name, values in facts.get("attributes", {}).items()}
        return cls(**{**tuples, "attributes": attributes})
