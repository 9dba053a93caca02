"""Training on several hosts: one process on each, KERAS_BACKEND=jax, keras.distribution.DataParallel. Started on every host as

    KERAS_BACKEND=jax kerasdl train NAME --hosts 10.0.0.1:7000,10.0.0.2:7000 --host 0      (--host 1 on the second, ...)

Every process reads the same data, trains the same model on its part of each batch, and adds up gradients with the others in each
step; process 0 writes the run folder. Keras does not support TensorFlow's strategy for several hosts (keras#20585), JAX's it does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np


@dataclasses.dataclass(frozen=True)
class Hosts:
    """addresses: "HOST:PORT" of every process, the same on each; at the first they meet. index: which of them this process is."""

    addresses: tuple[str, ...]
    index: int

    def __post_init__(self) -> None:
        if len(self.addresses) < 2:
            raise ValueError(f"several hosts need two addresses or more. Received: {list(self.addresses)}")
        for address in self.addresses:
            host, _, port = address.rpartition(":")
            if not (host and port.isdigit() and 0 < int(port) < 65536):
                raise ValueError(f"the address of a host is HOST:PORT. Received: {address!r}")
        if not 0 <= self.index < len(self.addresses):
            raise ValueError(f"--host is 0 to {len(self.addresses) - 1}, this host's place among the addresses. Received: {self.index}")


def find_hosts(addresses: str | None = None, index: int | None = None) -> Hosts | None:
    """Of `--hosts A,B --host I`, or of Keras' own KERAS_DISTRIBUTION_JOB_ADDRESSES and KERAS_DISTRIBUTION_PROCESS_ID; None for one host."""
    addresses = addresses or os.environ.get("KERAS_DISTRIBUTION_JOB_ADDRESSES")
    if index is None and "KERAS_DISTRIBUTION_PROCESS_ID" in os.environ:
        index = int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"])
    if addresses is None and index is None:
        return None
    if addresses is None or index is None:
        raise ValueError(f"--hosts (all addresses) and --host (which of them this is) go together. Received: {addresses}, {index}")
    hosts = Hosts(tuple(address.strip() for address in addresses.split(",")), index)
    if keras.config.backend() != "jax":
        raise ValueError(
            "several hosts need KERAS_BACKEND=jax, because Keras 3 cannot train with TensorFlow's strategy for them. "
            f"Received: KERAS_BACKEND={keras.config.backend()}"
        )
    return hosts


def join(hosts: Hosts, purpose: str = "") -> None:
    """Waits, up to five minutes, until all processes are there, and makes their devices known to each other: `jax.distributed`.

    Call after `keras.utils.set_random_seed` and before anything is computed. Where somebody does not come JAX ends the process.

    Args:
        purpose: what is trained; ValueError in processes that were started with different ones.
    """
    import jax

    print(f"host {hosts.index} of {len(hosts.addresses)}: waiting up to 5 minutes for all to meet at {hosts.addresses[0]}", flush=True)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # where the processes have CPUs alone
    keras.distribution.initialize(",".join(hosts.addresses), len(hosts.addresses), hosts.index)
    agree(zlib.crc32(purpose.encode()) % 2**31, "all hosts must train the same recipe")


def _alone() -> bool:
    if keras.config.backend() != "jax":
        return True
    import jax

    return jax.process_count() == 1


@contextlib.contextmanager
def written_folder(run: Path, hosts: Hosts | None) -> Iterator[Path]:
    """Where this process writes: into the run on the first host, on the others into a folder that is removed."""
    if hosts is None or hosts.index == 0:
        yield run
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def meet(place: str) -> None:
    """No process goes on before all have come here."""
    if not _alone():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(place)


def agree(values: Any, rule: str) -> None:
    """ValueError with the rule where the numbers of one process differ from those of another."""
    if _alone():
        return
    from jax.experimental import multihost_utils

    try:
        multihost_utils.assert_equal(np.asarray(values, "int32"))
    except AssertionError:
        raise ValueError(f"{rule}. Received: {values} here, something else there") from None


def own_part(batches: Any) -> Any:
    """This process's rows of each batch of a tf.data.Dataset, or of an iterable of NumPy arrays."""
    if _alone():
        return batches

    def own_rows(*batch: Any) -> Any:
        return keras.tree.map_structure(lambda array: array[own_slice(array.shape[0])], batch)

    return batches.map(own_rows) if hasattr(batches, "element_spec") else (own_rows(*batch) for batch in batches)


def own_slice(count: int) -> slice:
    """Which of `count` examples are this process's, as many as any other's; all where it is alone."""
    if _alone():
        return slice(0, count)
    import jax

    share = count // jax.process_count()
    return slice(jax.process_index() * share, (jax.process_index() + 1) * share)
