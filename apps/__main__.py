"""python -m apps: check the settings and the bundles, take the port, start the server, say where it is."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from apps.settings import BadSettings, Settings, read_settings


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        settings = read_settings(arguments)
        check_bundles(settings.bundles)
        with bind(settings.host, settings.port) as listener:
            serve(settings, listener)
    except (BadSettings, CannotStart) as problem:
        print(f"apps: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


class CannotStart(Exception):
    """The message is a sentence for whoever typed the command."""


def check_bundles(folder: Path) -> None:
    if not any(folder.glob("*/card.json")):
        raise CannotStart(f"No bundle was found: {folder} has no folder with a card.json. Make one: python -m export NAME")


def bind(host: str, port: int) -> socket.socket:
    """Take the port first: another program on it is known before the slow imports."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # named TCP, or asyncio leaves Nagle on: 40 ms an answer
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise CannotStart(f"Cannot listen on {host}:{port} ({reason}). Another port: --port {port + 1 if port < 65535 else 7860}") from None
    return listener


def serve(settings: Settings, listener: socket.socket) -> None:
    address = address_of(settings.host, listener.getsockname()[1])
    print(f"Starting on {address} ...", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until uvicorn takes the signal: the temporary folder goes
    if hasattr(signal, "SIGHUP") and not os.isatty(0):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a reload that comes too early must not end a service
    with private_temporary_folder():
        from apps import logs, server

        logs.set_up(settings.log_format, settings.log_level)
        if not settings.loopback and settings.token is None:
            logs.log.warning("anybody who reaches this machine may use the server: there is no token")
        problem = server.run(settings, listener, lambda names: announce(address, names, settings.open))
    if problem:
        raise CannotStart(problem)


def address_of(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def announce(address: str, names: list[str], open_page: bool) -> None:
    print(f"Ready: {address}  ({', '.join(names)})  Ctrl+C stops.", flush=True)
    if open_page:
        webbrowser.open(address)


@contextlib.contextmanager
def private_temporary_folder():
    """Uploads lie in a folder that only this user can read and that goes when the server does."""
    with tempfile.TemporaryDirectory(prefix="kerasdl-apps-", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("GRADIO_TEMP_DIR", folder)
        yield


if __name__ == "__main__":
    sys.exit(main())
