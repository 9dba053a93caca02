"""A sentence for each picture: a decoder that looks at its places says one word after another.

The decoders are that of "Show, Attend and Tell" (Xu et al. 2015, arXiv:1502.03044) and the Transformer's (Vaswani et al. 2017,
arXiv:1706.03762). They learn the next word from the true words before it; every score is of captions that the model said by itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
from keras import layers, ops

from kerasdl import caption_facts, caption_report, decoding, reid_report
from kerasdl.layers.captioning import DecoderStart, DecoderStep, PictureMemory, RecurrentDecoder, TransformerDecoder
from kerasdl.losses import CaptionCrossEntropy, DoublyStochastic, word_is_right
from kerasdl.metrics import wilson_interval
from kerasdl.metrics.captions import caption_scores
from kerasdl.tasks.task import Predict
from kerasdl.text import Vocabulary

DECODERS = ("recurrent", "transformer")
NO_SHARES = ("BLEU", "ROUGE", "CIDEr")  # scores of a corpus, not shares of its pictures


@dataclasses.dataclass(frozen=True)
class Captioning:
    """decoder: "recurrent", of `cell` "lstm" or "gru" with `units` and words of `width`; or "transformer", `blocks` of `width` with
    `heads` and `positions` "sinusoidal" or "learnt".

    places: whether the picture's features are brought to `width` and told where they are; else a decoder takes them as they come.
    attention: of the recurrent decoder; False lets it see the mean over the places alone, the ablation.
    dropout: rate in the decoder; label_smoothing: share of the target spread evenly over all words.
    regulariser: weight of the doubly stochastic attention of a recurrent decoder; 0 for none.
    beam: captions that a search keeps open; 1 is greedy.
    slots: (candidates, references) to further scores, shares of the pictures, for example `kerasdl.data.scenes.slot_scores`.
    """

    decoder: str = "transformer"
    cell: str = "lstm"
    units: int = 256
    width: int = 128
    blocks: int = 2
    heads: int = 4
    positions: str = "sinusoidal"
    places: bool = True
    attention: bool = True
    dropout: float = 0.1
    label_smoothing: float = 0.0
    regulariser: float = 1.0
    beam: int = 3
    slots: Callable[[Sequence[str], Sequence[Sequence[str]]], dict[str, float]] | None = None

    name: ClassVar[str] = "captioning"
    outputs: ClassVar[tuple[str, ...]] = ("tokens",)
    tolerance: ClassVar[float] = 1e-4
    validates: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.decoder not in DECODERS:
            raise ValueError(f"decoder is one of {', '.join(DECODERS)}. Received: {self.decoder!r}")
        if not self.attention and self.decoder != "recurrent":
            raise ValueError(f"only the recurrent decoder goes without attention. Received: decoder={self.decoder!r}, attention=False")
        if self.beam < 1:
            raise ValueError(f"a beam keeps at least 1 caption open. Received: beam={self.beam}")
        if self.regulariser < 0:
            raise ValueError(f"the weight of the regulariser must not be negative. Received: regulariser={self.regulariser}")

    def build(self, backbone: keras.Model, spec: Any) -> keras.Model:
        """Raw float32 pictures 0..255 `image` (B,H,W,C) and `tokens` (B,T-1) int32 to `logits` (B,T-1,V) of the token behind each, and of a
        recurrent decoder with a regulariser to `coverage` (B,N)."""
        if spec.caption_length < 3:
            raise ValueError(f"captioning needs data with captions, whose spec has a caption_length. Received: {spec.data_name!r} without")
        image = keras.Input(spec.image_shape, name="image")
        tokens = keras.Input((spec.caption_length - 1,), dtype="int32", name="tokens")
        scale = [1 / (255 * s) for s in spec.std]
        offset = [-m / s for m, s in zip(spec.mean, spec.std, strict=True)]
        x = layers.Rescaling(scale, offset, name="scaling")(image)  # (image / 255 - mean) / std
        x = _features(backbone(x))
        grid = _grid(x.shape)
        x = layers.Reshape((grid[0] * grid[1], x.shape[-1]), name="features")(x)  # (B, N, C), rows of the picture first
        if self.places:
            x = PictureMemory(self.width, grid, name="memory")(x)  # (B, N, width)
        found = self._decoder(spec.classes)([tokens, x])
        # A layer of its own names each output: to Keras the decoder's are one.
        outputs = {name: layers.Identity(dtype="float32", name=name)(found[name]) for name in self.loss()}
        return keras.Model({"image": image, "tokens": tokens}, outputs, name=backbone.name)

    def _decoder(self, words: int) -> keras.layers.Layer:
        if self.decoder == "recurrent":
            return RecurrentDecoder(words, self.units, self.width, self.cell, self.attention, dropout=self.dropout, name="decoder")
        return TransformerDecoder(words, self.width, self.blocks, self.heads, self.positions, dropout=self.dropout, name="decoder")

    def trained(self, model: keras.Model) -> keras.Model:
        """The training model without what the regulariser asks for."""
        if list(model.output) == ["logits"]:
            return model
        return keras.Model(model.input, {"logits": model.output["logits"]}, name=model.name)

    def loss(self) -> dict[str, tuple[Any, float]]:
        losses: dict[str, tuple[Any, float]] = {"logits": (CaptionCrossEntropy(self.label_smoothing), 1.0)}
        if self.decoder == "recurrent" and self.attention and self.regulariser:
            losses["coverage"] = (DoublyStochastic(), self.regulariser)
        return losses

    def metrics(self) -> dict[str, list[Any]]:
        """The share of next words that are right where the true ones before are given: of use in training alone."""
        return {"logits": [keras.metrics.MeanMetricWrapper(word_is_right, name="accuracy")]}

    def batch(self, inputs: dict[str, Any], targets: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Inputs and targets of `fit` from pictures `image` and captions `tokens` (B,T): each token is asked for behind those before it."""
        tokens = targets["tokens"]
        return {"image": inputs["image"], "tokens": tokens[:, :-1]}, {name: tokens[:, 1:] for name in self.loss()}

    def serving(self, model: keras.Model, spec: Any) -> dict[str, keras.Model]:
        """{"encoder", "decoder"}: once a picture, once a word.

        encoder: uint8 `image` (B,H,W,C) to `features` (B,N,D), `keys` (B,N,A) and `state` (B,S,units) of a recurrent decoder (S is 2 of an
            LSTM, h and c, and 1 of a GRU; no keys without attention), to `cross` (B,L,2,heads,N,d) of a Transformer.
        decoder: `token` int32 (B,), `state` and the encoder's other outputs to `logits` (B,V), `next_state` and `attention` (B,heads,N).
            The state of a Transformer is (B,L,2,heads,T,d), keys and values of the T tokens before, from T = 0.
        """
        decoder = model.get_layer("decoder")
        seen = model.get_layer("memory" if self.places else "features").output
        look = keras.Model({"image": model.input["image"]}, seen, name="look")
        image = keras.Input(spec.image_shape, dtype="uint8", name="image")
        start = DecoderStart(decoder, name="start")(look({"image": ops.cast(image, "float32")}, training=False))
        encoder = keras.Model({"image": image}, _named(start), name=f"{model.name}_encoder")
        given = {name: keras.Input(x.shape[1:], dtype=x.dtype, name=name) for name, x in start.items()}
        if "state" not in given:
            blocks, pair, heads, _, size = given["cross"].shape[1:]
            given["state"] = keras.Input((blocks, pair, heads, None, size), name="state")
        given = {"token": keras.Input((), dtype="int32", name="token"), **given}
        stepped = DecoderStep(decoder, name="step")(given)
        return {"encoder": encoder, "decoder": keras.Model(given, _named(stepped), name=f"{model.name}_decoder")}

    def grid(self, model: keras.Model) -> tuple[int, int]:
        """(height, width) of the places that the attention runs over, rows of the picture first."""
        return _grid(model.get_layer("features").input.shape)

    def predictor(self, graphs: dict[str, Predict], spec: Any) -> Predict:
        """From runners of `serving`'s graphs to one function: `image` (B,H,W,C) to the fields of `kerasdl.decoding.Captions`, `tokens`
        int32 (B,T), `score`, `margin` (B,) float32 and `attention` (B,T,heads,N), found with the option `beam`, the task's by default."""

        def predict(inputs: dict[str, np.ndarray], beam: int = self.beam) -> dict[str, np.ndarray]:
            memory = graphs["encoder"](inputs)
            if beam == 1:
                found = decoding.greedy(graphs["decoder"], memory, spec.caption_length)
            else:
                found = decoding.beam(graphs["decoder"], memory, spec.caption_length, beam)
            return {"tokens": found.tokens, "score": found.scores, "margin": found.margins, "attention": found.attention}

        return predict

    def inputs(self, examples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"image": examples["image"]}

    def evaluate(self, predict: Predict, splits: Any, split: str = "valid", batch_size: int = 64) -> dict[str, float]:
        """`kerasdl.metrics.caption_scores` of the captions said, and those of `slots`, against all captions of each picture."""
        references = self._references(splits, split)
        said = self.captions(predict, splits, np.arange(len(references)), split, batch_size)
        return {**caption_scores(said, references), **(self.slots(said, references) if self.slots else {})}

    def _references(self, splits: Any, split: str) -> Sequence[Sequence[str]]:
        references = splits.references.get(split, ())
        if not len(references) or len(references) != len(splits.split(split)):
            raise ValueError(
                f"scores need all captions of each picture of the split {split!r}. "
                f"Received: {len(references)} references for {len(splits.split(split))} pictures"
            )
        return references

    def captions(self, predict: Predict, splits: Any, numbers: np.ndarray, split: str = "valid", batch_size: int = 64) -> list[str]:
        """What the model says of those pictures of a split."""
        words, said = vocabulary(splits.spec), []
        for start in range(0, len(numbers), batch_size):
            examples = splits.split(split).arrays(numbers[start : start + batch_size])
            said += [words.decode(row) for row in predict(self.inputs(examples))["tokens"]]
        return said

    def count(self, splits: Any, split: str) -> int:
        return len(splits.split(split))

    def metric_intervals(self, values: dict[str, float], n: int) -> dict[str, tuple[float, float]]:
        """Of the shares of pictures; BLEU, ROUGE and CIDEr are of the whole corpus."""
        return {name: wilson_interval(value, n) for name, value in values.items() if not name.startswith(NO_SHARES)}

    def decide(self, outputs: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of each caption in one string, and how near another choice lay."""
        return np.array([" ".join(map(str, row)) for row in outputs["tokens"].tolist()]), outputs["margin"]

    def labels(self, spec: Any) -> tuple[str, ...]:
        """The words by token."""
        return spec.labels

    def facts(self, predict: Predict, reference: Predict, splits: Any, split: str, folder: Path) -> dict[str, Any]:
        """{"caption": scores by greedy choice and by beam, and whether both runtimes say the same of every picture}; {} without references.

        Writes captions.png and attention.png. Both functions take the option `beam`.
        """
        if not splits.references.get(split):
            return {}
        references, words = self._references(splits, split), vocabulary(splits.spec)
        near = 2 * self.tolerance
        found = caption_facts.section(predict, reference, splits.split(split), references, words, self.beam, near, self.slots)
        pictures = ["captions.png", "attention.png"]
        title = f"{splits.card.get('name', 'captions')}, {split} split"
        self._draw([folder / name for name in pictures], predict, splits, split, title, 12, 3)
        for name in pictures:
            reid_report.shrink(folder / name)
        return {"caption": {"decoder": self.described(), "split": split, **found, "pictures": pictures}}

    def described(self) -> str:
        """The decoder in words."""
        if self.decoder == "transformer":
            return f"Transformer, {self.blocks} blocks of width {self.width} with {self.heads} heads, {self.positions} positions"
        looks = "soft attention" if self.attention else "the mean over the places in place of attention"
        return f"{self.cell.upper()} of {self.units} units with {looks}, words of width {self.width}"

    def figures(self, folder: Path, predict: Predict, splits: Any, title: str, pictures: int = 24, followed: int = 4) -> None:
        """captions.png: pictures of the validation split, what is said of them and their true captions. attention.png: where the model
        looks at each word, for a few."""
        self._draw([folder / "captions.png", folder / "attention.png"], predict, splits, "valid", title, pictures, followed)

    def report(self, path: Path, predict: Predict, splits: Any, split: str, title: str) -> list[Path]:
        """Pictures of a split with what is said of them at `path`, and where the model looks at each word as NAME-attention.png."""
        paths = [path, path.with_name(f"{path.stem}-attention.png")]
        self._draw(paths, predict, splits, split, title)
        return paths

    def _draw(
        self, paths: list[Path], predict: Predict, splits: Any, split: str, title: str, pictures: int = 24, followed: int = 4
    ) -> None:
        references, words = self._references(splits, split), vocabulary(splits.spec)
        numbers = np.unique(np.linspace(0, len(references) - 1, pictures).astype(int))
        images = splits.split(split).arrays(numbers)["image"]
        found = predict({"image": images})
        said = [words.decode(row) for row in found["tokens"]]
        caption_report.contact_sheet(images, said, [references[int(n)] for n in numbers], paths[0], title)
        looks = found["attention"][:followed].mean(axis=2)  # (n, T, N), mean over the heads
        spoken = [[*(words.words[t] for t in row if t > decoding.UNK), "(end)"] for row in found["tokens"][:followed]]
        caption_report.attention_sheet(images[:followed], spoken, looks[:, 1:], self._drawn(looks, splits), paths[1], title)

    def _drawn(self, looks: np.ndarray, splits: Any) -> tuple[int, int]:
        """The grid of an attention, whose proportions are those of the picture."""
        places, (height, width, _) = looks.shape[-1], splits.spec.image_shape
        rows = min((r for r in range(1, places + 1) if places % r == 0), key=lambda r: abs(math.log(r * r / places * width / height)))
        return rows, places // rows


def vocabulary(spec: Any) -> Vocabulary:
    """The words that a spec's labels are."""
    return Vocabulary(spec.labels, (0,) * spec.classes)


def _features(features: Any) -> Any:
    features = features["features"] if isinstance(features, dict) else features  # a backbone with auxiliary classifiers
    if len(features.shape) not in (3, 4) or None in features.shape[1:]:
        raise ValueError(
            "captions need a backbone that gives a map (B,H,W,C) or tokens (B,N,C), a ViT with pool='mean'. "
            f"Received: {tuple(features.shape)}"
        )
    return features


def _grid(shape: Sequence[int]) -> tuple[int, int]:
    """(height, width) of a map; of tokens a square where they make one, else a row."""
    if len(shape) == 4:
        return shape[1], shape[2]
    side = math.isqrt(shape[1])
    return (side, side) if side * side == shape[1] else (1, shape[1])


def _named(tensors: dict[str, Any]) -> dict[str, Any]:
    return {name: layers.Identity(name=name)(x) for name, x in tensors.items()}
