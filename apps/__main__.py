"""python -m apps: check the bundles, start the server, say where it is."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m apps",
        description="Serve exported bundles: web pages for people, POST /api/classify?model=NAME for programs.",
        epilog="Example: python -m apps --port 8000, then curl -F image=@seven.png 'http://127.0.0.1:8000/api/classify?model=digits-lenet5'",
    )
    parser.add_argument("--bundles", default="saved_models", metavar="FOLDER", help="folder of bundles (default: %(default)s)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 opens the server to the network (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=7860, help="port to listen on; 0 takes a free one (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads a network may use for one picture (default: %(default)s)")
    parser.add_argument("--open", action=argparse.BooleanOptionalAction, default=False, help="open the page in a browser when it is ready")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        check_bundles(options.bundles)
        with bind(options.host, options.port) as listener:
            return serve(options, listener)
    except CannotStart as problem:
        print(f"apps: {problem}", file=sys.stderr)
        return 1


class CannotStart(Exception):
    """The message is a sentence for whoever typed the command."""


def check_bundles(folder: str) -> None:
    if not any(Path(folder).glob("*/card.json")):
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


def serve(options: argparse.Namespace, listener: socket.socket) -> int:
    port = listener.getsockname()[1]
    address = f"http://{f'[{options.host}]' if ':' in options.host else options.host}:{port}"
    print(f"Starting on {address} ...", flush=True)
    with private_temporary_folder():
        from apps.library import Library
        from apps.server import run

        library = Library(options.bundles, options.threads)
        if not library.bundles:
            raise CannotStart(" ".join(library.broken.values()))
        signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again once it has stopped cleanly
        with contextlib.suppress(KeyboardInterrupt):
            run(library, listener, address, lambda: announce(address, library, options.open))
    return 0


def announce(address: str, library, open_page: bool) -> None:
    print(f"Ready: {address}  ({', '.join(library.bundles)})  Ctrl+C stops.", flush=True)
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
