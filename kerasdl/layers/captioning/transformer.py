"""The Transformer's decoder (Vaswani et al. 2017, arXiv:1706.03762, section 3.1; course rows D5, D6, D8) over the places of a picture.

Pre-norm blocks (Xiong et al. 2020, arXiv:2002.04745), exact GELU; dropout before each residual sum and of the attention weights. Keys and
values of the picture are made once, those of the words kept: a step costs as much at the end of a caption as at its beginning, but for
the attention to what was said.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from kerasdl.layers.attention import attention_weights, causal_mask
from kerasdl.layers.positions import sinusoidal_positions


@keras.saving.register_keras_serializable(package="kerasdl")
class DecoderBlock(keras.layers.Layer):
    """Self-attention over words, attention to the picture, MLP; each behind a norm and added: [x (B,T,D), features (B,N,C)] to (B,T,D).

    Args:
        heads: divides D.
        hidden: of the MLP, as a multiple of D.
        dropout: rate.
        seed: of the dropout.
    """

    def __init__(self, heads: int, hidden: float = 4.0, dropout: float = 0.0, seed: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.hidden, self.rate, self.seed = heads, hidden, dropout, seed
        self.drop = keras.layers.Dropout(dropout, seed=seed, name="drop", dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        (_, _, width), features = input_shape
        if self.heads < 1 or width % self.heads:
            raise ValueError(f"the heads must divide the width. Received: heads={self.heads}, width={width}")
        self.width, self.size = width, width // self.heads
        self.norms = [keras.layers.LayerNormalization(epsilon=1e-6, name=f"norm{i}", dtype=self.dtype_policy) for i in (1, 2, 3)]
        self.qkv, self.proj = self._dense(3 * width, "qkv"), self._dense(width, "proj")
        self.query, self.pair, self.cross_proj = (
            self._dense(width, "query"),
            self._dense(2 * width, "pair"),
            self._dense(width, "cross_proj"),
        )
        self.fc1, self.fc2 = self._dense(int(width * self.hidden), "fc1", "gelu"), self._dense(width, "fc2")
        row = (None, None, width)
        for layer in (*self.norms, self.qkv, self.proj, self.query, self.cross_proj, self.fc1):
            layer.build(row)
        self.pair.build(features)
        self.fc2.build((None, None, int(width * self.hidden)))
        self.built = True

    def _dense(self, units: int, name: str, activation: str | None = None) -> keras.layers.Dense:
        return keras.layers.Dense(units, activation, name=name, dtype=self.dtype_policy)

    def call(self, inputs: Any, training: bool = False) -> Any:
        x, features = inputs
        return self.run(x, self.cross(features), mask=causal_mask(x.shape[1]), training=training)[0]

    def cross(self, features: Any) -> Any:
        """Keys and values of the picture: (B,N,C) to (B,2,heads,N,d)."""
        pair = ops.reshape(self.pair(features), (-1, features.shape[1], 2, self.heads, self.size))
        return ops.transpose(pair, (0, 2, 3, 1, 4))

    def run(self, x: Any, cross: Any, past: Any = None, mask: Any = None, training: bool = False) -> tuple[Any, Any, Any]:
        """x (B,T,D), `cross`, and keys and values (B,2,heads,P,d) of the words before, if any, to x, those of all words, and the weights
        (B,heads,T,N) of the attention to the picture."""
        words = self._heads(self.qkv(self.norms[0](x)), 3)  # (B, 3*heads, T, d)
        q, k, v = ops.split(words, 3, axis=1)
        if past is not None:
            k, v = ops.concatenate([past[:, 0], k], axis=2), ops.concatenate([past[:, 1], v], axis=2)  # (B, heads, P+T, d)
        # Of a single word all weights are 1, and Keras warns of a softmax over one.
        weights = ops.ones_like(q[..., :1]) if k.shape[2] == 1 else attention_weights(q, k, mask)
        weights = self.drop(weights, training=training)
        x = x + self.drop(self.proj(self._joined(ops.matmul(weights, v))), training=training)

        q = self._heads(self.query(self.norms[1](x)), 1)  # (B, heads, T, d)
        looks = attention_weights(q, cross[:, 0])  # (B, heads, T, N)
        seen = ops.matmul(self.drop(looks, training=training), cross[:, 1])
        x = x + self.drop(self.cross_proj(self._joined(seen)), training=training)

        x = x + self.drop(self.fc2(self.drop(self.fc1(self.norms[2](x)), training=training)), training=training)
        return x, ops.stack([k, v], axis=1), looks

    def _heads(self, x: Any, parts: int) -> Any:
        """(B,T,parts*D) to (B,parts*heads,T,d)."""
        return ops.transpose(ops.reshape(x, (-1, x.shape[1], parts * self.heads, self.size)), (0, 2, 1, 3))

    def _joined(self, x: Any) -> Any:
        """(B,heads,T,d) to (B,T,D)."""
        return ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, x.shape[2], self.width))

    def compute_output_shape(self, input_shape: Any) -> tuple:
        return tuple(input_shape[0])

    def get_config(self) -> dict[str, Any]:
        own = {"heads": self.heads, "hidden": self.hidden, "dropout": self.rate, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="kerasdl")
class TransformerDecoder(keras.layers.Layer):
    """[tokens (B,T) int32, features (B,N,C)] to {"logits": (B,T,V) float32 of each next token}; `encode` and `step` do it one by one.

    Words are vectors times sqrt(D), as in section 3.4 of the paper, plus the code of their place.

    Args:
        vocabulary: V, words with `<pad>` (0), `<start>`, `<end>` and `<unk>`.
        width: D; `heads` divides it.
        blocks: of them.
        heads: of the attention.
        positions: "sinusoidal", or "learnt"; as many as the tokens that the layer is built for.
        hidden: of the MLP, as a multiple of D.
        dropout: rate.
        seed: of the dropout.
    """

    def __init__(
        self,
        vocabulary: int,
        width: int,
        blocks: int,
        heads: int,
        positions: str = "sinusoidal",
        hidden: float = 4.0,
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if positions not in ("sinusoidal", "learnt"):
            raise ValueError(f"positions are sinusoidal or learnt. Received: {positions!r}")
        if vocabulary < 5 or blocks < 1:
            raise ValueError(f"a decoder needs a word besides the four signs, and a block. Received: {vocabulary=}, {blocks=}")
        self.vocabulary, self.width, self.heads, self.positions = vocabulary, width, heads, positions
        self.hidden, self.rate, self.seed = hidden, dropout, seed
        own: dict[str, Any] = {"dtype": self.dtype_policy}
        start = keras.initializers.RandomNormal(stddev=1 / math.sqrt(width))  # times sqrt(D) is 1, as large as the code of the place
        self.embed = keras.layers.Embedding(vocabulary, width, start, name="embed", **own)
        seeds = [None if seed is None else seed + i for i in range(1, blocks + 1)]
        self.blocks = [DecoderBlock(heads, hidden, dropout, s, name=f"block{i}", **own) for i, s in enumerate(seeds, 1)]
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, name="norm", **own)
        self.logits = keras.layers.Dense(vocabulary, name="logits", dtype="float32")  # float32 also under mixed precision
        self.drop = keras.layers.Dropout(dropout, seed=seed, name="drop", **own)

    def build(self, input_shape: Any) -> None:
        tokens, features = input_shape
        if len(tokens) != 2 or tokens[1] is None or len(features) != 3 or None in features[1:]:
            raise ValueError(
                f"tokens must be (B,T) and features (B,N,C), T, N and C fixed. Received: {tuple(tokens)} and {tuple(features)}"
            )
        if self.positions == "learnt":
            start = keras.initializers.TruncatedNormal(stddev=0.02)
            self.places = self.add_weight(name="positions", shape=(tokens[1], self.width), initializer=start)
        else:
            self.places = sinusoidal_positions(tokens[1], self.width)  # numpy: an eager tensor would become an input of the exported graph
        row = (None, tokens[1], self.width)
        self.embed.build(tokens)
        for block in self.blocks:
            block.build([row, features])
        self.norm.build(row)
        self.logits.build(row)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> dict[str, Any]:
        tokens, features = inputs
        words = self._words(tokens)
        x = self.drop(words + ops.convert_to_tensor(self.places, words.dtype), training=training)  # (B, T, D)
        for block in self.blocks:
            x = block([x, features], training=training)
        return {"logits": self.logits(self.norm(x))}

    def encode(self, features: Any) -> dict[str, Any]:
        """Features (B,N,C) to what every step is given: `cross` (B,L,2,heads,N,d), keys and values for each block."""
        return {"cross": ops.stack([block.cross(features) for block in self.blocks], axis=1)}

    def step(self, token: Any, state: Any, memory: dict[str, Any]) -> dict[str, Any]:
        """One token (B,) and `state` (B,L,2,heads,T,d), T tokens before it, to `logits` (B,V), `next_state` and `attention` (B,heads,N).

        The attention is that of the last block.
        """
        place = ops.take(ops.convert_to_tensor(self.places, self.compute_dtype), ops.shape(state)[4], axis=0)
        x = self._words(token[:, None]) + place  # (B, 1, D)
        states, looks = [], None
        for i, block in enumerate(self.blocks):
            x, present, looks = block.run(x, memory["cross"][:, i], state[:, i])
            states.append(present)
        logits = self.logits(self.norm(x))[:, 0]
        return {"logits": logits, "next_state": ops.stack(states, axis=1), "attention": ops.cast(ops.squeeze(looks, 2), "float32")}

    def _words(self, tokens: Any) -> Any:
        return self.embed(tokens) * math.sqrt(self.width)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> dict[str, Any]:
        shapes = self.compute_output_shape([x.shape for x in inputs])
        return {name: keras.KerasTensor(shape, "float32") for name, shape in shapes.items()}

    def compute_output_shape(self, input_shape: Any) -> dict[str, tuple]:
        return {"logits": (*input_shape[0], self.vocabulary)}

    def get_config(self) -> dict[str, Any]:
        own = {
            "vocabulary": self.vocabulary,
            "width": self.width,
            "blocks": len(self.blocks),
            "heads": self.heads,
            "positions": self.positions,
            "hidden": self.hidden,
            "dropout": self.rate,
            "seed": self.seed,
        }
        return {**super().get_config(), **own}
