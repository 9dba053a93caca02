"""A registered model with random weights as one .onnx: for size, operator counts and latency, and for nothing else.

Random, not zero, and BatchNormalization statistics among them: zeros and ones fold away, and another graph would be measured.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export import card as cards
from export import convert, external, gates, zoo
from export.gates import ExportRefused

KIND = "random weights: for size, operator counts and latency only"
SEED = 0
BUNDLES = "saved_models"


def export_model(
    name: str,
    out: str | Path,
    opset: int = convert.OPSET,
    classes: int | None = None,
    image_shape: tuple[int, int, int] | None = None,
) -> dict[str, Any]:
    """OUT/NAME.onnx, uint8 `image` (B,H,W,C) to float32 `logits` (B,classes), and OUT/NAME.json, its card; gives the card.

    Args:
        name: registry name, see `kerasdl.list_models()`.
        out: a folder without bundles.
        opset: ONNX operator set.
        classes: the paper's by default.
        image_shape: (height, width, channels); the architecture's own by default.

    Raises:
        ExportRefused: `out` is a place of bundles, or the model does not pass a gate of the exporter or is not the same in onnxruntime.
        ValueError: no model has that name, or it takes no such classes or shape.
    """
    out = Path(out)
    check_place(out)
    facts = facts_of(name)
    own = classes in (None, facts.classes) and image_shape is None
    if own:
        check_size(facts.total)  # before as many numbers are drawn
    model = made(name, classes or facts.classes, image_shape)
    proto, error = zoo.compare(zoo.serving(model), opset, SEED)
    if not error <= zoo.TOLERANCE:
        raise ExportRefused(f"onnxruntime must be within {zoo.TOLERANCE:g} of Keras. Received: {error:.3g}")
    convert.add_metadata(proto, {"kerasdl.name": name, "kerasdl.kind": KIND})
    card = card_of(name, model, proto, error, facts.multiply_adds if own else None)
    with staged(out, name) as (onnx_path, card_path):
        onnx_path.write_bytes(proto.SerializeToString())
        card |= {"bytes": onnx_path.stat().st_size, "sha256": cards.digest_of_file(onnx_path)}
        card_path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    return card


def check_size(parameters: int) -> None:
    if 4 * parameters > external.LARGEST:
        rule = f"a model with random weights is written to one file, of at most {external.LARGEST / 1e9:g} GB"
        raise ExportRefused(f"{rule}. Received: {parameters:,} parameters of 4 bytes")
    gates.check_size(parameters)


def check_place(out: Path) -> None:
    """Nobody shall take random weights for a bundle."""
    place = out.resolve()
    if BUNDLES in place.parts or (place / "card.json").exists() or (place.parent / "card.json").exists() or any(place.glob("*/card.json")):
        raise ExportRefused(f"random weights are kept away from bundles: the folder must be another one. Received: {out}")


def facts_of(name: str) -> Any:
    """The model's row of the zoo, which needs no framework."""
    from kerasdl.names import nearest
    from kerasdl.zoo import read_zoo

    rows = {row.name: row for row in read_zoo()}
    if name not in rows:
        raise ValueError(f"unknown model. Received: {name!r}. {nearest(name, rows)}")
    return rows[name]


def made(name: str, classes: int, image_shape: tuple[int, int, int] | None) -> Any:
    import keras

    from kerasdl import create_model

    keras.utils.set_random_seed(SEED)
    model = create_model(name, classes, image_shape)
    zoo.randomise(model, SEED)
    return model


def card_of(name: str, model: Any, proto: Any, error: float, multiply_adds: int | None) -> dict[str, Any]:
    """`error` is the largest difference of the logits, divided by the largest logit."""
    values = {value.name: gates.signature_of(value) for value in (*proto.graph.input, *proto.graph.output)}
    counts = Counter(node.op_type for node in gates.nodes_of(proto))
    return {
        "kind": KIND,
        "model": name,
        "seed": SEED,
        "opset": next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")),
        "ir_version": proto.ir_version,
        "values": {name: {"dtype": dtype, "shape": shape} for name, (dtype, shape) in values.items()},
        "operators": dict(sorted(counts.items())),
        "nodes": sum(counts.values()),
        "parameters": model.count_params(),
        "multiply_adds": multiply_adds,
        "parity": {"runtime": "onnxruntime", "batches": list(zoo.BATCHES), "relative_error": error, "tolerance": zoo.TOLERANCE},
        "versions": cards.versions(),
    }


@contextmanager
def staged(out: Path, name: str) -> Iterator[tuple[Path, Path]]:
    """Two hidden files that become NAME.onnx and NAME.json when the block ends well, and vanish, a new folder too, when it does not."""
    fresh = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    paths = (out / f"{name}.onnx", out / f"{name}.json")
    aside = (out / f".{name}.onnx.partial", out / f".{name}.json.partial")
    try:
        yield aside
        for partial, path in zip(aside, paths, strict=True):
            partial.replace(path)
    except BaseException:
        for partial in aside:
            partial.unlink(missing_ok=True)
        if fresh and not any(out.iterdir()):
            out.rmdir()
        raise
