"""The recurrent decoder of "Show, Attend and Tell" (Xu et al. 2015, arXiv:1502.03044, section 3.1.2; course rows E8, E9, E11, F1, F2)."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from kerasdl.layers.captioning.soft_attention import SoftAttention

CELLS = {"lstm": 2, "gru": 1}  # tensors of their state


@keras.saving.register_keras_serializable(package="kerasdl")
class RecurrentDecoder(keras.layers.Layer):
    """[tokens (B,T) int32, features (B,N,D)] to {"logits": (B,T,V) of each next token, "coverage": (B,N)}, both float32.

        state_0 = tanh(W mean_i a_i + b), its h and its c          f_init of section 3.1.2
        h_t, c_t = LSTM([E y_{t-1}; z_t], h_{t-1}, c_{t-1})        equations 1 to 3, z_t of `SoftAttention`; or a GRU
        logits_t = L_o (E y_{t-1} + L_h h_t + L_z z_t)             equation 7

    The coverage of a place is its attention summed over the tokens that are not `<pad>`, for the doubly stochastic regulariser. The steps
    are unrolled when the layer is traced. `encode` and `step` are the same net a token at a time.

    Args:
        vocabulary: V, words with `<pad>` (0), `<start>`, `<end>` and `<unk>`.
        units: of the cell.
        width: of a word's vector, E.
        cell: "lstm" or "gru".
        attention: False gives every place the same weight, the ablation.
        attention_units: A, of the hidden layer of the attention; 0 is `units`.
        dropout: of words and of what the logits are made of, in training.
        seed: of the dropout.
    """

    def __init__(
        self,
        vocabulary: int,
        units: int,
        width: int,
        cell: str = "lstm",
        attention: bool = True,
        attention_units: int = 0,
        dropout: float = 0.0,
        seed: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if cell not in CELLS:
            raise ValueError(f"cell is one of {', '.join(CELLS)}. Received: {cell!r}")
        if vocabulary < 5 or units < 1 or width < 1:
            raise ValueError(f"a decoder needs a word besides the four signs, units and width. Received: {vocabulary=}, {units=}, {width=}")
        self.vocabulary, self.units, self.width, self.kind = vocabulary, units, width, cell
        self.attends, self.attention_units, self.rate, self.seed = attention, attention_units, dropout, seed
        own: dict[str, Any] = {"dtype": self.dtype_policy}
        self.embed = keras.layers.Embedding(vocabulary, width, name="embed", **own)
        self.begin = keras.layers.Dense(CELLS[cell] * units, "tanh", name="begin", **own)
        self.attention = SoftAttention(attention_units or units, name="attention", **own) if attention else None
        make = keras.layers.LSTMCell if cell == "lstm" else keras.layers.GRUCell
        more = {} if cell == "lstm" else {"reset_after": False}  # r before the product, as in the paper and course row E9
        self.cell = make(units, name="cell", **more, **own)
        self.from_hidden = keras.layers.Dense(width, name="from_hidden", **own)  # L_h
        self.from_context = keras.layers.Dense(width, use_bias=False, name="from_context", **own)  # L_z
        self.logits = keras.layers.Dense(vocabulary, name="logits", dtype="float32")  # L_o, float32 also under mixed precision
        self.drop_words = keras.layers.Dropout(dropout, seed=seed, name="drop_words", **own)
        self.drop_output = keras.layers.Dropout(dropout, seed=seed, name="drop_output", **own)

    def build(self, input_shape: Any) -> None:
        tokens, features = input_shape
        if len(tokens) != 2 or tokens[1] is None or len(features) != 3 or None in features[1:]:
            raise ValueError(
                f"tokens must be (B,T) and features (B,N,D), T, N and D fixed. Received: {tuple(tokens)} and {tuple(features)}"
            )
        self.tokens, (_, self.places, depth) = tokens[1], features
        state = (None, self.units)
        self.embed.build(tokens)
        self.begin.build((None, depth))
        if self.attention is not None:
            self.attention.build([state, features])
        self.cell.build((None, self.width + depth))
        self.from_hidden.build(state)
        self.from_context.build((None, depth))
        self.logits.build((None, self.width))
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> dict[str, Any]:
        tokens, features = inputs
        memory = self.encode(features)
        words = self.drop_words(self.embed(tokens), training=training)  # (B, T, E)
        state, hidden, contexts, looks = self._split(memory.pop("state")), [], [], []
        for t in range(self.tokens):
            state, context, look = self._advance(words[:, t], state, memory)
            hidden.append(state[0])
            contexts.append(context)
            looks.append(look)
        logits = self._output(words, ops.stack(hidden, axis=1), ops.stack(contexts, axis=1), training)  # (B, T, V)
        real = ops.cast(ops.not_equal(tokens, 0), "float32")[:, :, None]
        return {"logits": logits, "coverage": ops.sum(ops.stack(looks, axis=1) * real, axis=1)}

    def encode(self, features: Any) -> dict[str, Any]:
        """Features (B,N,D) to what every step is given: `features`, `keys` (B,N,A), and the first `state` (B,S,units), h before c."""
        state = self.begin(ops.mean(features, axis=1))
        memory = {"features": features, "state": ops.reshape(state, (-1, CELLS[self.kind], self.units))}
        return memory if self.attention is None else {**memory, "keys": self.attention.keys(features)}

    def step(self, token: Any, state: Any, memory: dict[str, Any]) -> dict[str, Any]:
        """One token (B,), `state` and the rest of `encode` to `logits` (B,V), `next_state` and `attention` (B,1,N)."""
        word = self.embed(token[:, None])[:, 0]  # (B, E)
        states, context, look = self._advance(word, self._split(state), memory)
        logits = self._output(word, states[0], context, training=False)
        return {"logits": logits, "next_state": ops.stack(states, axis=1), "attention": look[:, None]}

    def _split(self, state: Any) -> list[Any]:
        return [state[:, i] for i in range(CELLS[self.kind])]

    def _advance(self, word: Any, state: list[Any], memory: dict[str, Any]) -> tuple[list[Any], Any, Any]:
        """A word (B,E) and the state before it to the state, the context (B,D) and the attention (B,N)."""
        if self.attention is None:
            context = ops.mean(memory["features"], axis=1)
            look = ops.ones_like(memory["features"][:, :, 0], dtype="float32") / self.places
        else:
            context, look = self.attention([state[0], memory["features"], memory["keys"]])
        _, state = self.cell(ops.concatenate([word, context], axis=-1), state)
        return list(state), context, look

    def _output(self, words: Any, hidden: Any, context: Any, training: bool) -> Any:
        x = words + self.from_hidden(hidden) + self.from_context(context)
        return self.logits(self.drop_output(x, training=training))

    def compute_output_spec(self, inputs: Any, training: bool = False) -> dict[str, Any]:
        shapes = self.compute_output_shape([x.shape for x in inputs])
        return {name: keras.KerasTensor(shape, "float32") for name, shape in shapes.items()}

    def compute_output_shape(self, input_shape: Any) -> dict[str, tuple]:
        (batch, length), (_, places, _) = input_shape
        return {"logits": (batch, length, self.vocabulary), "coverage": (batch, places)}

    def get_config(self) -> dict[str, Any]:
        own = {
            "vocabulary": self.vocabulary,
            "units": self.units,
            "width": self.width,
            "cell": self.kind,
            "attention": self.attends,
            "attention_units": self.attention_units,
            "dropout": self.rate,
            "seed": self.seed,
        }
        return {**super().get_config(), **own}
