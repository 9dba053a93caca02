"""Training on several hosts: one process on each, KERAS_BACKEND=jax, keras.distribution.DataParallel. Started on every host as

    KERAS_BACKEND=jax kerasdl train NAME --hosts 10.0.0.1:7000,10.0.0.2:7000 --host 0      (--host 1 on the second, ...)

Every process reads the same data, trains the same model on its part of each batch, and adds up gradients with the others in each
step; process 0 writes the run folder. Keras does not support TensorFlow's strategy for several hosts (keras#20585), JAX's it does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

PATIENCE = 300.0  # seconds that the first process to come waits for the last


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


def join(hosts: Hosts, purpose: str = "", patience: float = PATIENCE) -> None:
    """Waits until all processes are there, then makes their devices known to each other.

    Call after `keras.utils.set_random_seed` and before anything is computed.

    Args:
        purpose: what is trained; processes that were started with different ones refuse each other.
        patience: seconds to wait.

    Raises:
        ValueError: the purposes differ. TimeoutError: somebody did not come.
    """
    import jax

    roll_call(hosts, purpose, patience)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # where the processes have CPUs alone
    keras.distribution.initialize(",".join(hosts.addresses), len(hosts.addresses), hosts.index)


def roll_call(hosts: Hosts, purpose: str = "", patience: float = PATIENCE) -> None:
    """All processes say that they are there, at the first address: where one is missing JAX would end the others without a sentence."""
    deadline = time.monotonic() + patience
    if hosts.index == 0:
        _gather(hosts, purpose, deadline, patience)
    else:
        _report(hosts, purpose, deadline, patience)


def _gather(hosts: Hosts, purpose: str, deadline: float, patience: float) -> None:
    missing, answered = set(range(1, len(hosts.addresses))), []
    with contextlib.ExitStack() as open_until_all_are_there, _door(hosts.addresses[0]) as door:
        while missing:
            door.settimeout(max(deadline - time.monotonic(), 0.01))
            try:
                caller = open_until_all_are_there.enter_context(door.accept()[0])
                caller.settimeout(5)
                word = json.loads(caller.makefile().readline())
            except TimeoutError:
                if time.monotonic() < deadline:
                    continue  # somebody who knocked and said nothing
                names = ", ".join(f"{i} ({hosts.addresses[i]})" for i in sorted(missing))
                raise TimeoutError(f"every host must be started within {patience:g} seconds. Missing: {names}") from None
            except (ValueError, OSError):
                continue  # not one of us
            if word.get("count") != len(hosts.addresses) or word.get("purpose") != purpose:
                caller.sendall(b"no\n")
                raise ValueError(
                    f"all hosts must train the same recipe with the same list. Received: another from host {word.get('index')}"
                )
            missing.discard(word.get("index"))
            answered.append(caller)
        for caller in answered:
            caller.sendall(b"go\n")


def _door(address: str) -> socket.socket:
    try:
        return socket.create_server(("", _split(address)[1]))  # on every interface, as JAX does: the address may be a translated one
    except OSError as problem:
        raise OSError(f"the first host must be able to listen at its address. Received: {address} ({problem.strerror})") from None


def _report(hosts: Hosts, purpose: str, deadline: float, patience: float) -> None:
    word = json.dumps({"index": hosts.index, "count": len(hosts.addresses), "purpose": purpose}) + "\n"
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(_split(hosts.addresses[0]), timeout=5) as first:
                first.sendall(word.encode())
                first.settimeout(max(deadline - time.monotonic(), 0.01))
                answer = first.makefile().readline().strip()
        except OSError:  # not there yet
            time.sleep(0.2)
            continue
        if answer == "go":
            return
        if answer == "no":
            raise ValueError(f"all hosts must train the same recipe with the same list. Received: another at {hosts.addresses[0]}")
    raise TimeoutError(
        f"every host must be started within {patience:g} seconds. Missing: 0 ({hosts.addresses[0]}), or one that it waits for"
    )


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


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
        multihost_utils.assert_equal(values)
    except AssertionError:
        raise ValueError(f"{rule}. Received: {values} here, something else there") from None


def own_part(batches: Iterable[Any]) -> Iterator[Any]:
    """This process's rows of each batch of NumPy arrays."""
    for batch in batches:
        yield keras.tree.map_structure(lambda array: array[own_numbers(len(array))], batch)


def own_numbers(count: int) -> np.ndarray:
    """Which of `count` examples are this process's, as many as any other's; all where it is alone."""
    if _alone():
        return np.arange(count)
    import jax

    share = count // jax.process_count()
    return np.arange(jax.process_index() * share, (jax.process_index() + 1) * share)
