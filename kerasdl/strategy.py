"""How a training is spread: one device, several of one machine, or those of several hosts. What Keras supports, behind one small face.

On TensorFlow it is tf.distribute.MirroredStrategy, the only strategy that Keras 3 tests; on JAX keras.distribution.DataParallel.
Either way `batch_size` counts the examples of all devices together, and BatchNormalization sees the whole batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

from kerasdl import device
from kerasdl.fused_norm import use_fused_norms
from kerasdl.hosts import Hosts, own_part


class OneDevice:
    """shares: into how many parts a batch goes; twin: whether the trained model is copied into a plain one before it is used."""

    shares, twin = 1, False

    def scope(self) -> contextlib.AbstractContextManager:
        return contextlib.nullcontext()

    def prepare(self, model: keras.Model) -> None:
        """After the model was compiled, before it trains."""
        if device.on_tensorflow_cpu():
            use_fused_norms(model)

    def own_part(self, batches: Any) -> Any:
        """What this process reads of the training batches."""
        return batches

    def validation(self, count: int, batch_size: int) -> tuple[int, int]:
        """(examples, examples a batch) that validation within training uses of `count`.

        With several devices every batch goes into equal shares: some examples are left out, fewer than shares times batches.
        """
        if self.shares == 1:
            return count, batch_size
        batches = max(-(-count // batch_size), 1)
        size = count // batches // self.shares * self.shares
        if not size:
            raise ValueError(f"the validation split needs an example for each device. Received: {count} for {self.shares} devices")
        return batches * size, size

    def leave(self) -> None:
        """After training: the rest is for one device."""


class Mirrored(OneDevice):
    """TensorFlow: a copy of the model on each device, gradients added up in each step."""

    twin = True

    def __init__(self, devices: int) -> None:
        import tensorflow as tf

        names = _tensorflow_devices(devices)
        # The default numbers its exchanges in each replica's thread, and those of synchronised norms and gradients may get mixed up.
        exchange = tf.distribute.NcclAllReduce() if names[0].startswith("GPU") else tf.distribute.ReductionToOneDevice()
        self.shares, self.strategy = devices, tf.distribute.MirroredStrategy(names, cross_device_ops=exchange)

    def scope(self) -> contextlib.AbstractContextManager:
        return self.strategy.scope()

    def prepare(self, model: keras.Model) -> None:
        settings = ("clipnorm", "global_clipnorm", "clipvalue", "gradient_accumulation_steps")
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        if used := [name for name in settings if getattr(optimizer, name, None)]:
            raise ValueError(
                f"with TensorFlow's devices Keras clips and accumulates before it adds them up: not the same. Received: {used}"
            )
        if optimizer is not model.optimizer:
            raise ValueError("several devices train in float32 or mixed_bfloat16. Received: mixed_float16")
        for layer in model._flatten_layers():
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = True


class DataParallel(OneDevice):
    """JAX: one program over all devices, of all hosts that were joined."""

    twin = True

    def __init__(self, devices: list[str]) -> None:
        self.shares = len(devices)
        # each process takes its rows of a batch itself: Keras would shard only what comes as a tf.data.Dataset
        keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False))

    def own_part(self, batches: Any) -> Any:
        return own_part(batches)

    def leave(self) -> None:
        keras.distribution.set_distribution(None)


@contextlib.contextmanager
def spread(devices: int, batch_size: int, hosts: Hosts | None = None) -> Iterator[OneDevice]:
    """The strategy for `devices` of this machine, or for all devices of the joined hosts.

    Devices are GPUs; where there is none the CPU is divided into as many, to try a training out (TensorFlow).

    Raises:
        ValueError: that many are not there, or they do not divide the batch.
    """
    strategy = _chosen(devices, hosts)
    try:
        if batch_size % strategy.shares:
            raise ValueError(f"the number of devices must divide the batch. Received: {strategy.shares} for a batch of {batch_size}")
        yield strategy
    finally:
        strategy.leave()


def _chosen(devices: int, hosts: Hosts | None) -> OneDevice:
    backend = keras.config.backend()
    if hosts:
        return DataParallel(keras.distribution.list_devices())
    if devices < 1:
        raise ValueError(f"devices must be at least 1. Received: {devices}")
    if devices == 1:
        return OneDevice()
    if backend == "tensorflow":
        return Mirrored(devices)
    if backend != "jax":
        raise ValueError(f"several devices need TensorFlow or JAX. Received: KERAS_BACKEND={backend}")
    found = keras.distribution.list_devices()
    if devices > len(found):
        raise ValueError(f"there are not that many devices. Received: {devices}, there are {len(found)}")
    return DataParallel(found[:devices])


def _tensorflow_devices(devices: int) -> list[str]:
    import tensorflow as tf

    gpus = len(tf.config.list_physical_devices("GPU"))
    if gpus:
        if devices > gpus:
            raise ValueError(f"there are not that many GPUs. Received: {devices}, there are {gpus}")
        return [f"GPU:{i}" for i in range(devices)]
    (cpu,) = tf.config.list_physical_devices("CPU")
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)
    except RuntimeError:  # TensorFlow has begun to compute
        parts = len(tf.config.list_logical_devices("CPU"))
        if parts < devices:
            raise ValueError(
                f"a CPU is divided before TensorFlow first computes: train in a new process. Received: {devices} devices, {parts} in use"
            ) from None
    return [f"CPU:{i}" for i in range(devices)]


def idle(devices: int) -> str:
    """A sentence where GPUs are left without work, else ""."""
    found = len(device.gpus())
    return f"{found - devices} of {found} GPUs stay idle: --devices {found} trains on all" if found > devices else ""
