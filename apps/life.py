"""The life of one server: starting, ready, draining. SIGTERM drains, SIGINT stops at once, SIGHUP looks at the bundles again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import Literal

import uvicorn

from apps.galleries import Galleries
from apps.repository import Repository
from apps.runtime import BundleError

log = logging.getLogger("apps")
FAST_SECONDS = 1  # what requests in flight get after Ctrl+C


class Life:
    """What the server says of itself; read by readiness, the middleware and the streams that would never end by themselves."""

    def __init__(self) -> None:
        self.state: Literal["starting", "ready", "draining"] = "starting"
        self.closing = asyncio.Event()
        self.problem: str | None = None  # why nothing can be served


class Server(uvicorn.Server):
    """uvicorn, with a door that opens before the bundles are loaded and closes some time after readiness has turned red."""

    def __init__(
        self,
        config: uvicorn.Config,
        life: Life,
        repository: Repository,
        galleries: Galleries,
        drain_seconds: float,
        when_ready: Callable[[], None],
    ):
        super().__init__(config)
        self.life, self.repository, self.galleries = life, repository, galleries
        self.drain_seconds = drain_seconds
        self.when_ready = when_ready
        self.close_at: float | None = None
        self.said = False
        self.tasks: set[asyncio.Task] = set()
        self.on_terminal = os.isatty(0)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.keep(self.warm_up())
            if hasattr(signal, "SIGHUP"):
                asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self.hang_up)

    async def warm_up(self) -> None:
        try:
            await asyncio.to_thread(self.repository.load_all)
        except BundleError as error:
            self.life.problem = str(error)
        except Exception as error:
            log.exception("the bundles could not be loaded")
            self.life.problem = str(error)
        if not self.repository.bundles:
            self.life.problem = self.life.problem or " ".join(self.repository.broken.values()) or "No bundle was found."
            self.should_exit = True
        elif self.life.state == "starting":
            if not self.galleries.demo:  # what an owner names must be there; drawn people come while others are served
                await asyncio.to_thread(self.galleries.open_all)
            self.life.state = "ready"
            self.when_ready()
            await asyncio.to_thread(self.galleries.open_all)

    def hang_up(self) -> None:
        if self.on_terminal and not os.isatty(0):  # its window was closed
            self.handle_exit(signal.SIGTERM, None)
        else:
            self.keep(self.reload())

    async def reload(self) -> None:
        try:
            results = await asyncio.to_thread(self.repository.reload)
            log.info("looked at the bundles again", extra={"results": results})
            await asyncio.to_thread(self.galleries.open_all)
        except BundleError as error:
            log.error("the reload failed: %s", error)
        except Exception:
            log.exception("the reload failed; what was served is served on")

    def keep(self, work) -> None:  # noqa: ANN001
        """asyncio forgets a task that nobody holds."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first = self.life.state != "draining"
        self.life.state = "draining"
        if sig == signal.SIGTERM and first:
            self.close_at = time.monotonic() + self.drain_seconds
            return
        if sig == signal.SIGINT:
            self.force_exit = self.should_exit
            self.config.timeout_graceful_shutdown = FAST_SECONDS
        self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        if self.life.state == "draining" and not self.said:
            self.said = True  # here and not in handle_exit: a signal handler may interrupt another line of the log
            log.info("draining: readiness is red, the door closes in %g s", self.drain_seconds if self.close_at else 0)
        if self.close_at is not None and time.monotonic() >= self.close_at:
            self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.life.closing.set()
        self.galleries.stop()
        await super().shutdown(sockets)


__all__ = ["Life", "Server"]
