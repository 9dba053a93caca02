"""The bundle that is deployed: finished, and checked again before anything is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from export import card as cards
from export.bundle import check_name
from export.gates import ExportRefused
from export.verify import fields_of, verify_bundle


@dataclass(frozen=True)
class Finished:
    """A bundle whose files, card and answers agree."""

    folder: Path
    card: dict[str, Any]

    @property
    def name(self) -> str:
        return self.card["name"]

    @property
    def task(self) -> str:
        return self.card["task"]

    @property
    def labels(self) -> list[str]:
        return self.card["labels"]

    @property
    def graphs(self) -> dict[str, dict[str, Any]]:
        """What the card says of each ONNX file, by its name without `.onnx`."""
        return {Path(path).stem: graph for path, graph in self.card["graphs"].items()}

    @property
    def tolerance(self) -> float:
        return min(row["tolerance"] for row in self.card["parity"])

    def graph(self, name: str) -> Path:
        return self.folder / f"{name}.onnx"

    def sample(self, graph: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Inputs of a graph and what Keras answered, from sample.npz."""
        with np.load(self.folder / "sample.npz", allow_pickle=False) as sample:
            given, gave = (fields_of(sample, f"{graph}/{kind}/") for kind in ("input", "output"))
        return given, gave


def finished(folder: Path) -> Finished:
    """A bundle that passes `python -m export verify`; ExportRefused."""
    card = verify_bundle(folder)
    check_name(card["name"])
    return Finished(folder, card)


def check_one_graph(bundle: Finished, kind: str) -> dict[str, Any]:
    """What the card says of the only graph; ExportRefused where there are several."""
    if list(bundle.graphs) != ["model"]:
        told = cards.listed(bundle.card["graphs"])
        raise ExportRefused(f"--{kind} takes a bundle of one graph, model.onnx. Received: {bundle.name} with {told}")
    return bundle.graphs["model"]


def check_own_weights(bundle: Finished, kind: str) -> None:
    """Each graph is one file; ExportRefused where its weights are in another."""
    for name, graph in bundle.graphs.items():
        if graph.get("external_data"):
            raise ExportRefused(f"--{kind} takes graphs that hold their weights. Received: {name}.onnx with {graph['external_data']}")
