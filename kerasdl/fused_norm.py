"""BatchNormalization by TensorFlow's fused kernel while training on a CPU: the same function in fewer passes over memory.

Keras writes the layer as separate mean, variance, scale and shift operations, each of which reads the whole activation again,
forward and backward; tests/bench/train_step.py measures what the fused kernel saves. Only the training call of 4-D, channels-last
layers is exchanged; inference, variables, saving and export stay Keras' own. A test holds losses, trained weights and moving
statistics equal over several steps.
"""

from __future__ import annotations

import types
from typing import Any

import keras


def use_fused_norms(model: keras.Model) -> int:
    """Exchanges the training call of every fitting layer of `model`; the number of layers changed. TensorFlow backend only."""
    changed = 0
    for layer in model._flatten_layers():
        if type(layer) is keras.layers.BatchNormalization and _fits(layer):
            layer.call = types.MethodType(_call, layer)
            changed += 1
    return changed


def _fits(layer: Any) -> bool:
    plain = layer.center and not layer.synchronized and layer.compute_dtype in ("float32", "bfloat16")
    return plain and layer.built and layer.axis in (-1, 3) and len(layer.input.shape) == 4


def _call(self: Any, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
    if not training or not self.trainable or mask is not None:
        return keras.layers.BatchNormalization.call(self, inputs, training=training, mask=mask)
    import tensorflow as tf

    beta = tf.convert_to_tensor(self.beta)
    gamma = tf.convert_to_tensor(self.gamma) if self.scale else tf.ones_like(beta)
    y, mean, variance = tf.compat.v1.nn.fused_batch_norm(inputs, gamma, beta, epsilon=self.epsilon, is_training=True)
    count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:3]), tf.float32)
    variance = variance * (count - 1) / count  # the kernel reports the unbiased variance, Keras keeps the biased one
    keep = self.momentum
    self.moving_mean.assign(self.moving_mean * keep + mean * (1 - keep))
    self.moving_variance.assign(self.moving_variance * keep + variance * (1 - keep))
    return y
