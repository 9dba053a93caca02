"""Which bundles serve: each is checked, loaded and warmed before it does, and exchanged while requests run.

What cannot be served is refused in a sentence and never disturbs the one that serves.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnxruntime as ort
from PIL import Image

from apps import facts, verdict
from apps.runtime import Bundle, BundleError, Slot, find_bundles, load_bundle
from apps.runtime.bundle import card_bytes, check_bundle, check_files, check_variant_files, first_line
from apps.runtime.captioning import check_captioner
from apps.runtime.embedding import check_embedder
from apps.runtime.regression import check_regressor
from apps.runtime.signature import PublicKey
from apps.runtime.variants import FLOAT32, check_variant
from apps.tensors import DATATYPES

log = logging.getLogger("apps")

T = TypeVar("T")
VERSION = "1"
WARM_SIDES = (32, 1, 224)  # tried in this order where a graph leaves more than the batch free
PAGES_SAY = (facts.headline, facts.data, facts.parameters, facts.megabytes, facts.speed, facts.parity, verdict.points)
WARM_SECONDS = 60.0  # for a graph's first run: one that never ends must not keep the others from loading


class UnknownModel(ValueError):
    """No bundle has this name; the message suggests the nearest."""


class NotLoaded(UnknownModel):
    """The bundle is there but does not serve: it is broken or was unloaded."""


@dataclass(frozen=True)
class Shelf:
    """What is served at one moment. It is exchanged whole, so that no request sees half a change."""

    bundles: dict[str, Bundle] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)  # never served: why
    refused: dict[str, str] = field(default_factory=dict)  # why what lies on disk now does not replace the one that serves
    unloaded: dict[str, str] = field(default_factory=dict)  # taken out by hand: stay out until loaded by hand

    def put(self, bundle: Bundle) -> Shelf:
        clean = self.without(bundle.name)
        return replace(clean, bundles=dict(sorted({**clean.bundles, bundle.name: bundle}.items())))

    def without(self, name: str) -> Shelf:
        return Shelf(lacking(self.bundles, name), lacking(self.broken, name), lacking(self.refused, name), lacking(self.unloaded, name))

    def refuse(self, name: str, sentence: str) -> Shelf:
        if name in self.unloaded:
            return replace(self, unloaded=self.unloaded | {name: sentence})
        if name in self.bundles:
            return replace(self, refused=self.refused | {name: sentence})
        return replace(self, broken=dict(sorted({**self.broken, name: sentence}.items())))


def lacking(entries: dict[str, T], name: str) -> dict[str, T]:
    return {key: value for key, value in entries.items() if key != name}


class Repository:
    """The bundles of one folder. Changes are made one at a time, by any thread; reading needs no lock."""

    def __init__(self, folder: str | Path, threads: int = 1, metrics: Any = None, key: PublicKey | None = None, variant: str = FLOAT32):
        check_variant(variant)
        self.folder = Path(folder)
        self.key = key  # that every bundle must be signed with
        self.variant = variant  # that serves where a bundle has it
        self.threads = threads
        self.metrics = metrics
        self._shelf = Shelf()
        self._marks: dict[str, str] = {}  # sha256 of the card.json that each served bundle was loaded with
        self._changing = threading.Lock()

    @property
    def bundles(self) -> dict[str, Bundle]:
        return self._shelf.bundles

    @property
    def broken(self) -> dict[str, str]:
        return self._shelf.broken

    @property
    def refused(self) -> dict[str, str]:
        return self._shelf.refused

    @property
    def unloaded(self) -> dict[str, str]:
        return self._shelf.unloaded

    def load_all(self) -> None:
        self.reload()

    def reload(self) -> dict[str, str]:
        """Look at the folder again. What became of each bundle: loaded, replaced, unchanged, removed, unloaded, or why it was refused."""
        with self._changing:
            if not self.folder.is_dir():
                raise BundleError("The folder of bundles must exist; what was served is served on.")
            found = [path.name for path in find_bundles(self.folder)]
            known = [*self._shelf.bundles, *self._shelf.broken, *self._shelf.unloaded]
            results = {name: self._look_at(name) for name in sorted({*found, *known})}
            self._tell_variants()
            return results

    def load(self, name: str) -> None:
        """Load a bundle from disk, also one that was unloaded; BundleError says why not, and what was served is served on."""
        with self._changing:
            name = self._bundle_name(name)
            if name not in self._shelf.bundles and name not in [path.name for path in find_bundles(self.folder)]:
                raise self._why_not(self._shelf, name)
            try:
                self._load(name)
            except BundleError as error:
                self._refuse(name, str(error))
                raise

    def unload(self, name: str) -> None:
        """Take a bundle out; requests that hold it finish."""
        with self._changing:
            name = self._bundle_name(name)
            if name not in self._shelf.bundles and name not in self._shelf.broken:
                raise self._why_not(self._shelf, name)
            self._shelf = replace(self._shelf.without(name), unloaded=self._shelf.unloaded | {name: "It was unloaded."})
            self._forget(name)

    def graph(self, name: str) -> tuple[Bundle, str]:
        """`NAME`, for its only graph or the one called model, or `NAME.encoder`; UnknownModel, NotLoaded."""
        shelf = self._shelf
        bundle = shelf.bundles.get(name)
        if bundle is not None:
            graphs = bundle.graphs
            if "model" in graphs or len(graphs) == 1:
                return bundle, "model" if "model" in graphs else graphs[0]
            raise UnknownModel(f"The bundle {name} has several graphs: name one. There is {', '.join(model_names(bundle))}.")
        head, _, graph = name.rpartition(".")
        bundle = shelf.bundles.get(head)
        if bundle is not None and graph in bundle.graphs:
            return bundle, graph
        raise self._why_not(shelf, name, head)

    def get(self, name: str) -> Bundle:
        """The bundle of this name; UnknownModel, NotLoaded."""
        shelf = self._shelf
        bundle = shelf.bundles.get(name)
        if bundle is None:
            raise self._why_not(shelf, name, known=list(shelf.bundles))
        return bundle

    def index(self) -> list[dict[str, str]]:
        """Every model by the name it is asked for, and what is not served with the reason."""
        shelf = self._shelf
        ready = [
            index_entry(name, "READY", shelf.refused.get(bundle.name, ""))
            for bundle in shelf.bundles.values()
            for name in model_names(bundle)
        ]
        return ready + [index_entry(name, "UNAVAILABLE", reason) for name, reason in (shelf.broken | shelf.unloaded).items()]

    def _bundle_name(self, name: str) -> str:
        """The bundle of a graph's name."""
        head, _, graph = name.rpartition(".")
        bundle = self._shelf.bundles.get(head)
        return head if bundle is not None and name not in self._shelf.bundles and graph in bundle.graphs else name

    def _why_not(self, shelf: Shelf, *names: str, known: Sequence[str] = ()) -> UnknownModel:
        for name in names:
            if name in shelf.broken:
                return NotLoaded(f"The bundle {name} is broken. {shelf.broken[name]}")
            if name in shelf.unloaded:
                return NotLoaded(f"The bundle {name} is not served: {shelf.unloaded[name]}")
        known = known or [model for bundle in shelf.bundles.values() for model in model_names(bundle)]
        near = difflib.get_close_matches(names[0][:200], known, n=1, cutoff=0.3)
        hint = f"Did you mean {near[0]}?" if near else f"There is {', '.join(known) or 'none'}."
        return UnknownModel(f"There is no bundle named {names[0][:80]}. {hint}")

    def _look_at(self, name: str) -> str:
        if not (self.folder / name).is_dir():
            self._shelf = self._shelf.without(name)
            self._forget(name)
            return self._count("removed")
        if name in self._shelf.unloaded:
            return self._count("unloaded")
        try:
            if name in self._shelf.bundles and self._is_unchanged(name):
                self._shelf = replace(self._shelf, refused=lacking(self._shelf.refused, name))
                return self._count("unchanged")
            served = name in self._shelf.bundles
            self._load(name)
            return self._count("replaced" if served else "loaded")
        except BundleError as error:
            self._refuse(name, str(error))
            self._count("refused")
            return str(error)

    def _is_unchanged(self, name: str) -> bool:
        """The card is the one that was loaded, and its files are still those it lists; a variant has neither come nor gone."""
        path = self.folder / name
        with sentences(name):
            if not mark_of(path) == self._marks.get(name) == check_bundle(path, self.key):
                return False
            served = self._shelf.bundles[name]
            return check_variant_files(path, served.card, self.variant) == served.files

    def _load(self, name: str) -> None:
        """Only a bundle that is whole, loaded and warm takes its place on the shelf."""
        path = self.folder / name
        began = time.perf_counter()
        with sentences(name):
            bundle = load_bundle(path, self.threads, key=self.key, variant=self.variant)
            if bundle.name != name:
                raise BundleError(f"The folder must bear the bundle's name, {bundle.name}. Received: {name}")
            warm_up(bundle)
            check_files(path, bundle.card)  # again: what was exchanged meanwhile shows here, and examples are read when they are asked for
            check_variant_files(path, bundle.card, bundle.variant)
        if mark_of(path) != bundle.mark:
            raise BundleError(f"A bundle must not change while it is loaded. Received: {name}; reload when its copy is complete")
        self._shelf = self._shelf.put(bundle)
        self._marks[name] = bundle.mark
        if self.metrics is not None:
            self.metrics.model_loaded.labels(name).set(1)
            self.metrics.model_load_seconds.labels(name).set(time.perf_counter() - began)

    def _tell_variants(self) -> None:
        """Where a variant was asked for, which bundles it serves and which it does not."""
        if self.variant != FLOAT32:
            by = {kind: [name for name, one in self._shelf.bundles.items() if one.variant == kind] for kind in (self.variant, FLOAT32)}
            log.info("%s", "; ".join(f"{kind} serves {', '.join(names) or 'none'}" for kind, names in by.items()))

    def _refuse(self, name: str, sentence: str) -> None:
        self._shelf = self._shelf.refuse(name, sentence)
        log.error("%s", sentence)

    def _forget(self, name: str) -> None:
        self._marks.pop(name, None)
        if self.metrics is not None:
            self.metrics.model_loaded.labels(name).set(0)

    def _count(self, result: str) -> str:
        if self.metrics is not None:
            self.metrics.reloads.labels(result).inc()
        return result


@contextlib.contextmanager
def sentences(name: str) -> Iterator[None]:
    """Whatever a card makes the code stumble over is the bundle's fault: one bad bundle must not keep the others from loading."""
    try:
        yield
    except BundleError:
        raise
    except Exception as error:
        log.exception("the bundle %s cannot be used", name)
        raise BundleError(f"The bundle must be readable and its card complete. Received: {name}, {type(error).__name__}") from None


def model_names(bundle: Bundle) -> list[str]:
    return [bundle.name if graph == "model" or len(bundle.graphs) == 1 else f"{bundle.name}.{graph}" for graph in bundle.graphs]


def index_entry(name: str, state: str, reason: str) -> dict[str, str]:
    return {"name": name, "version": VERSION, "state": state, "reason": reason}


def mark_of(path: Path) -> str:
    return hashlib.sha256(card_bytes(path)).hexdigest()


def warm_up(bundle: Bundle) -> None:
    """Run every graph once on zeros: the first run is the slow one, and a graph that cannot run must not serve."""
    for graph in bundle.graphs:
        inputs = bundle.inputs(graph)
        for slot in [*inputs, *bundle.outputs(graph)]:
            if slot.dtype not in DATATYPES:
                raise BundleError(f"Tensors must be numbers. Received: {bundle.name}/{graph} with {slot.name} of {slot.dtype}")
        with stopped_after(WARM_SECONDS) as options:
            run_on_zeros(bundle, graph, inputs, options)
    check_preparation(bundle)
    for say in PAGES_SAY:  # what a page would stumble over must not serve
        say(bundle.card)
    if bundle.task == "classification":
        check_labels(bundle)
        bundle.classify([np.zeros(bundle.shape, np.uint8)])
    if bundle.task == "captioning":
        check_captioner(bundle)
    if bundle.task == "embedding":
        check_embedder(bundle)
    if bundle.task == "regression":
        check_regressor(bundle)


@contextlib.contextmanager
def stopped_after(seconds: float) -> Iterator[ort.RunOptions]:
    """Options of a run that ends when the time is over; what goes wrong is told in the error, not on the screen besides."""
    options = ort.RunOptions()
    options.log_severity_level = 4
    timer = threading.Timer(seconds, setattr, (options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def check_preparation(bundle: Bundle) -> None:
    """The card's steps, where it has any, make what the network sees of a picture of another size."""
    entries = [entry for graph in bundle.card["graphs"].values() for entry in graph["inputs"]]
    if not any(entry["name"] == "image" and entry.get("prepare") for entry in entries):
        return
    try:
        bundle.prepare(Image.linear_gradient("L").resize((120, 90)).convert("L" if bundle.color == "grey" else "RGB"))
    except (KeyError, ValueError) as problem:
        what = f"a step without {problem}" if isinstance(problem, KeyError) else str(problem)
        raise BundleError(f"The card's steps must prepare any picture. Received: {bundle.name}, {what}") from None


def check_labels(bundle: Bundle) -> None:
    sides = [slot.shape[-1] for slot in bundle.outputs() if slot.name == "probabilities"]
    if sides != [len(bundle.labels)]:
        raise BundleError(f"A classifier must have a label for each probability. Received: {bundle.name}, {len(bundle.labels)} for {sides}")


def run_on_zeros(bundle: Bundle, graph: str, inputs: Sequence[Slot], options: ort.RunOptions) -> None:
    problem: Exception | None = None
    for side in WARM_SIDES:
        try:
            bundle.run({slot.name: np.zeros(warm_shape(slot, side), slot.dtype) for slot in inputs}, graph, options=options)
            return
        except Exception as error:  # onnxruntime raises its own types, all without a common base
            problem = error
    assert problem is not None
    raise BundleError(f"The graph must be able to run. Received: {bundle.name}/{graph}, {first_line(problem)}") from problem


def warm_shape(slot: Slot, side: int) -> list[int]:
    return [wanted if isinstance(wanted, int) else side if axis else 1 for axis, wanted in enumerate(slot.shape)]
