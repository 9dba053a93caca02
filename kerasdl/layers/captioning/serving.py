"""A decoder's two other entries as layers, so that they can be models of their own with the decoder's weights."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="kerasdl")
class DecoderStart(keras.layers.Layer):
    """Features (B,N,D) to what `decoder.encode` gives of them, a dict: once a picture."""

    def __init__(self, decoder: keras.layers.Layer, **options: Any) -> None:
        super().__init__(**options)
        self.decoder: Any = decoder
        self.built = True

    def call(self, features: Any) -> dict[str, Any]:
        return self.decoder.encode(features)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "decoder": keras.saving.serialize_keras_object(self.decoder)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DecoderStart:
        return cls(**{**config, "decoder": keras.saving.deserialize_keras_object(config["decoder"])})


@keras.saving.register_keras_serializable(package="kerasdl")
class DecoderStep(DecoderStart):
    """{"token": (B,), "state": ..., what else `DecoderStart` gave} to `logits`, `next_state` and `attention`: once a word."""

    def call(self, inputs: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        memory = {name: x for name, x in inputs.items() if name not in ("token", "state")}
        return self.decoder.step(inputs["token"], inputs["state"], memory)
