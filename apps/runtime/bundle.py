"""A bundle is a folder with card.json, one or more ONNX graphs and what belongs to them; nothing is trusted before its sha256 agrees."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from PIL import Image

from apps.runtime.cards import check_fields
from apps.runtime.onnx_file import files_of_weights
from apps.runtime.pictures import MAX_PIXELS, prepare
from apps.runtime.signature import PublicKey, check_signature
from apps.runtime.trust import MAX_GRAPH, BundleError, parse_json, read_checked, read_file, shown
from apps.runtime.variants import FLOAT32, answering_files, digests, variant_of
from apps.runtime.words import Words

FORMAT_MAJOR = "1"
PROVIDER = "CPUExecutionProvider"
CARD, WORDS = "card.json", "vocab.json"
INDICES = ("int32", "int64")


class GraphError(ValueError):
    """The graph cannot run on these inputs although each fits it alone; the message is a sentence for whoever sent them."""


@dataclass(frozen=True)
class Slot:
    """One input or output of a graph: numpy's name of its dtype, and its shape, a free dimension as a word."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


class Bundle:
    """A checked bundle with its graphs loaded. Safe to use from several threads.

    mark: sha256 of the card.json it was loaded with.
    files: of each of its graphs the one that answers.
    """

    def __init__(
        self,
        path: Path,
        card: dict[str, Any],
        sessions: dict[str, ort.InferenceSession],
        words: Words | None = None,
        mark: str = "",
        files: dict[str, str] | None = None,
    ):
        self.path = path
        self.mark = mark
        self.files = files or {graph: graph for graph in card["graphs"]}
        self.card = card
        self.name: str = card["name"]
        self.task: str = card["task"]
        self.labels: list[str] = list(card.get("labels", []))
        self.words = words  # of a captioner
        self._sessions = sessions
        self._inputs = {graph: slots(session.get_inputs()) for graph, session in sessions.items()}
        self._outputs = {graph: slots(session.get_outputs()) for graph, session in sessions.items()}

    @property
    def graphs(self) -> list[str]:
        return list(self._sessions)

    @property
    def variant(self) -> str:
        """float32, or the variant that answers for some graph at least."""
        return variant_of(self.files)

    def file(self, graph: str = "model") -> str:
        """Path of the file that answers, as the card has it."""
        return self.files[f"{graph}.onnx"]

    def digest(self, graph: str = "model") -> str:
        """sha256 of that file."""
        return {**self.card["files"], **digests(self.card, self.files)}[self.file(graph)]

    def inputs(self, graph: str = "model") -> list[Slot]:
        return self._inputs[graph]

    def outputs(self, graph: str = "model") -> list[Slot]:
        return self._outputs[graph]

    def picture_input(self, graph: str | None = None) -> dict[str, Any]:
        """What the card says of the graph's input `image`, or of the first graph that has one: shape, color, prepare."""
        looked_at = self.graphs if graph is None else [graph]
        for entry in (entry for one in looked_at for entry in self._graph_card(one)["inputs"]):
            if entry["name"] == "image":
                return entry
        raise BundleError(f"The graph must have an input `image`. Received: {self.name}/{', '.join(looked_at)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a picture that nothing has to be done to; of a graph that takes any size, what it resizes to."""
        return shape_of(self.picture_input(), self.name)

    @property
    def any_size(self) -> bool:
        """The graph takes pictures of any height and width and resizes them itself, as the card says under `resize`."""
        return "resize" in self.picture_input()

    @property
    def channels_first(self) -> bool:
        """The graph takes [B, C, H, W]; pictures outside of it stay [H, W, C]."""
        return is_channels_first(self.picture_input())

    @property
    def color(self) -> str:
        return self.picture_input()["color"]

    def prepare(self, picture: Image.Image) -> np.ndarray:
        """An opened picture becomes the uint8 [H, W, C] the network sees, by the steps of the card."""
        return prepare(picture, self.shape, self.picture_input()["prepare"], self.any_size)

    def batch(self, pictures: Sequence[Image.Image | np.ndarray]) -> np.ndarray:
        """Prepared pictures as the graph takes them: uint8 [B, H, W, C], or [B, C, H, W] where the card's `layout` is NCHW.

        Arrays are taken as prepared, uint8 [H, W, C]. Of a graph of any size they are of one size; `look` runs others one by one.
        """
        prepared = [picture if isinstance(picture, np.ndarray) else self.prepare(picture) for picture in pictures]
        for array in prepared:
            if array.dtype != np.uint8 or not self._fits(array.shape):
                wanted = f"[H, W, {self.shape[2]}]" if self.any_size else self.shape
                raise BundleError(f"A picture must be uint8 {wanted}. Received: {array.dtype} {array.shape}")
        if len({array.shape for array in prepared}) > 1:
            raise BundleError(f"The pictures of one batch must be of one size. Received: {', '.join(str(one.shape) for one in prepared)}")
        batch = np.stack(prepared)
        return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if self.channels_first else batch

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == 3 and shape[2] == self.shape[2] and min(shape) > 0 if self.any_size else shape == self.shape

    def look(
        self,
        pictures: Sequence[Image.Image | np.ndarray],
        graph: str = "model",
        outputs: Sequence[str] | None = None,
        options: ort.RunOptions | None = None,
    ) -> dict[str, np.ndarray]:
        """As `run`, of a graph whose one input is `image`: in one batch where they are of one size, else one picture after the other."""
        prepared = [picture if isinstance(picture, np.ndarray) else self.prepare(picture) for picture in pictures]
        together = len({array.shape for array in prepared}) <= 1 and (not self.any_size or sum(map(pixels, prepared)) <= MAX_PIXELS)
        parts = [
            self.run({"image": self.batch(some)}, graph, outputs, options)
            for some in ([prepared] if together else [[one] for one in prepared])
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def run(
        self,
        inputs: dict[str, np.ndarray],
        graph: str = "model",
        outputs: Sequence[str] | None = None,
        options: ort.RunOptions | None = None,
    ) -> dict[str, np.ndarray]:
        """Named arrays in, named arrays out (all, or the named ones); the batch is the first dimension of both.

        `options` lets another thread stop the run; GraphError when free dimensions were chosen that do not go together.
        """
        session = self._sessions.get(graph)
        if session is None:
            raise BundleError(f"The graph must be one of {', '.join(self._sessions)}. Received: {graph}")
        wanted = [slot.name for slot in self._inputs[graph]]
        if set(inputs) != set(wanted):
            raise BundleError(f"The inputs must be {', '.join(wanted)}. Received: {', '.join(inputs)}")
        names = [slot.name for slot in self._outputs[graph]] if outputs is None else list(outputs)
        try:
            arrays = session.run(names, inputs, options)
        except Exception as error:  # onnxruntime raises its own types, all without a common base
            if (options is not None and options.terminate) or not self._may_refuse(graph):
                raise
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
            told = "shapes and whole numbers" if self._has_indices(graph) else "shapes"
            raise GraphError(f"The graph {self.name}/{graph} must be able to run on the {told} given. Received: {shapes}") from error
        return {name: np.asarray(array) for name, array in zip(names, arrays, strict=True)}

    def _may_refuse(self, graph: str) -> bool:
        """What each of its inputs allows: sides beyond the batch that are free, whole numbers that may be places in a table."""
        return self._has_indices(graph) or any(isinstance(side, str) for slot in self._inputs[graph] for side in slot.shape[1:])

    def _has_indices(self, graph: str) -> bool:
        return any(slot.dtype in INDICES for slot in self._inputs[graph])

    def classify(
        self, pictures: Sequence[Image.Image | np.ndarray], top: int = 5, options: ort.RunOptions | None = None
    ) -> list[list[dict[str, Any]]]:
        """The `top` most probable labels of each picture, best first; arrays are taken as prepared uint8 [H, W, C]."""
        if not pictures:
            return []
        rows = self.look(pictures, options=options)["probabilities"]
        return [self._best(row, top) for row in rows]

    def _best(self, probabilities: np.ndarray, top: int) -> list[dict[str, Any]]:
        order = np.argsort(-probabilities, kind="stable")[:top]
        return [{"label": self.labels[i], "probability": float(probabilities[i])} for i in order]

    def _graph_card(self, graph: str) -> dict[str, Any]:
        return self.card["graphs"][f"{graph}.onnx"]


def shape_of(entry: dict[str, Any], name: str) -> tuple[int, int, int]:
    """(H, W, C) of a card's entry for `image`, whatever its layout; BundleError where it has none."""
    shape = entry["shape"]
    sides, channels = (shape[2:], shape[1]) if is_channels_first(entry) else (shape[1:3], shape[-1])
    if "resize" in entry:
        sides = entry["resize"].get("size") if isinstance(entry["resize"], dict) else None
    found = [*sides, channels] if isinstance(sides, list) else []
    if len(shape) != 4 or len(found) != 3 or any(type(side) is not int or side < 1 for side in found):
        raise BundleError(f"The card must tell the height, width and channels of `image`. Received: {name} with {entry}")
    return found[0], found[1], found[2]


def is_channels_first(entry: dict[str, Any]) -> bool:
    return entry.get("layout") == "NCHW"


def pixels(array: np.ndarray) -> int:
    return int(np.prod(array.shape[:2]))


def slots(entries: Sequence[Any]) -> list[Slot]:
    """onnxruntime's inputs or outputs; a free dimension without a name is one of its own."""
    return [
        Slot(name, dtype, tuple(side if isinstance(side, int) else str(side or f"{name}_{axis}") for axis, side in enumerate(entry.shape)))
        for entry in entries
        for name, dtype, _ in [signature(entry.name, entry.type, entry.shape)]
    ]


def find_bundles(folder: str | Path) -> list[Path]:
    """The folders below `folder` that hold a card.json, by name; hidden ones are left out."""
    return sorted(card.parent for card in Path(folder).glob("*/card.json") if not card.parent.name.startswith("."))


def load_bundle(path: str | Path, threads: int = 1, key: PublicKey | None = None, variant: str = FLOAT32) -> Bundle:
    """Read the card, check every file against it, load the graphs; BundleError says what is wrong.

    With a key the bundle must be signed by it. The bytes that were checked are those that are loaded: no file is opened twice.
    With a `variant`, int8 or fp16, its graphs are loaded where the card tells of them and they are here, else those of float32.
    """
    path = Path(path)
    data = card_bytes(path)
    card = parse_card(data, path.name)
    mark = hashlib.sha256(data).hexdigest()
    if key is not None:
        check_signature(path, card, mark, key)
    files = named_files(path, card, variant)
    more = digests(card, files)
    held = read_checked(path, {**card["files"], **more}, wanted(card) | set(more))
    sessions = {}
    for file_name, graph in card["graphs"].items():
        session = open_graph(path / file_name, threads, {**held, file_name: held[files[file_name]]})
        check_graph(session, graph, f"{card['name']}/{files[file_name]}")
        sessions[Path(file_name).stem] = session
    return Bundle(path, card, sessions, read_words(path, card, held), mark, files)


def named_files(path: Path, card: dict[str, Any], variant: str) -> dict[str, str]:
    try:
        return answering_files(path, card, variant)
    except ValueError as problem:
        raise BundleError(str(problem)) from None


def check_variant_files(path: Path, card: dict[str, Any], variant: str) -> dict[str, str]:
    """Of each graph the file that answers; those of the variant have the sha256 of the card."""
    files = named_files(path, card, variant)
    check_files(path, {"name": card["name"], "graphs": {}, "files": digests(card, files)})
    return files


def check_bundle(path: Path, key: PublicKey | None = None) -> str:
    """The same checks of card, signature and files, nothing loaded; gives the sha256 of card.json."""
    data = card_bytes(path)
    card, mark = parse_card(data, path.name), hashlib.sha256(data).hexdigest()
    if key is not None:
        check_signature(path, card, mark, key)
    check_files(path, card)
    return mark


def wanted(card: dict[str, Any]) -> set[str]:
    """The files that are parsed, whose bytes are held from their check on: graphs and what lies beside them by their name, and words."""
    graphs = tuple(f"{graph}." for graph in card["graphs"])
    return {name for name in card["files"] if name in card["graphs"] or name == WORDS or name.startswith(graphs)}


def read_words(path: Path, card: dict[str, Any], held: dict[str, bytes]) -> Words | None:
    """The words of a bundle that speaks."""
    if WORDS not in card["files"]:
        return None
    try:
        return Words.of(parse_json(held[WORDS], f"{path.name}/{WORDS}"), WORDS)
    except (TypeError, ValueError) as problem:
        raise BundleError(f"The bundle's words must be readable. Received: {path.name}, {problem}") from None


def card_bytes(path: Path) -> bytes:
    if not (path / CARD).exists():
        raise BundleError(f"A bundle must hold card.json. Received: {path.name}")
    return read_file(path, CARD)


def parse_card(data: bytes, folder: str) -> dict[str, Any]:
    card = parse_json(data, f"{folder}/{CARD}")
    if not isinstance(card, dict):
        raise BundleError(f"card.json must hold an object. Received: {type(card).__name__} in {folder}")
    major = str(card.get("format")).split(".")[0]
    if major != FORMAT_MAJOR:
        raise BundleError(
            f"The card's format must be {FORMAT_MAJOR}.x for this reader. Received: {str(card.get('format'))[:40]} in {folder}"
        )
    missing = [key for key in ("name", "task", "graphs", "files") if not card.get(key)]
    if missing:
        raise BundleError(f"card.json must have name, task, graphs and files. Received: {folder} without {', '.join(missing)}")
    check_fields(card, folder)
    return card


def check_files(path: Path, card: dict[str, Any]) -> None:
    """Every file the card lists is inside the folder and has the sha256 the card says."""
    read_checked(path, card["files"])


def open_graph(file: Path, threads: int = 1, held: dict[str, bytes] | None = None) -> ort.InferenceSession:
    """One session on the CPU: few threads, no spinning, no arena that only grows, because a server shares its cores and memory.

    `held` has the bytes of checked files by their paths in the bundle, the graph's and those of its external data; of a graph alone
    they are read here.
    """
    held = {file.name: read_file(file.parent, file.name, MAX_GRAPH)} if held is None else held
    data = held[file.name]
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    add_weights(options, files_of_weights(data, file.name, file.parent.name), held, f"{file.parent.name}/{file.name}")
    try:
        session = ort.InferenceSession(data, options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime raises its own types, all without a common base
        raise BundleError(f"onnxruntime must be able to load {file.name}. Received: {file.parent.name}, {first_line(error)}") from error
    if session.get_providers()[0] != PROVIDER:  # onnxruntime falls back silently
        raise BundleError(f"The provider must be {PROVIDER}. Received: {session.get_providers()}")
    return session


def add_weights(options: ort.SessionOptions, files: set[str], held: dict[str, bytes], where: str) -> None:
    """The files of a graph's weights, from memory: onnxruntime opens none by itself."""
    for name in sorted(files):
        if name not in held:
            rule = "A graph's external data must be a listed file beside it whose name begins with the graph's"
            raise BundleError(f"{rule}. Received: {where} with {shown(name)}")
    if files:
        names = sorted(files)
        options.add_external_initializers_from_files_in_memory(names, [held[name] for name in names], [len(held[name]) for name in names])


def check_graph(session: ort.InferenceSession, graph: dict[str, Any], where: str) -> None:
    """The file's inputs and outputs are those of the card."""
    for kind, entries in (("inputs", session.get_inputs()), ("outputs", session.get_outputs())):
        found = [signature(entry.name, entry.type, entry.shape) for entry in entries]
        told = [signature(entry["name"], entry["dtype"], entry["shape"]) for entry in graph[kind]]
        if found != told:
            raise BundleError(f"The {kind} of {where} must be those of its card: {told}. Received: {found}")


def signature(name: str, dtype: str, shape: Sequence[int | str | None]) -> tuple[str, str, tuple[int | str, ...]]:
    """Name, numpy's dtype and shape, free dimensions as '?': onnxruntime says tensor(float) where a card says float32."""
    dtype = dtype.removeprefix("tensor(").removesuffix(")")
    dtype = {"float": "float32", "double": "float64"}.get(dtype, dtype)
    return name, dtype, tuple(side if isinstance(side, int) else "?" for side in shape)


def first_line(error: Exception) -> str:
    """What onnxruntime says, without where files lie on this machine or its makers': the sentence may reach a stranger."""
    lines = str(error).strip().splitlines()
    return re.sub(r"(?<!\w)/\S+/", "", lines[0])[:200] if lines else type(error).__name__
