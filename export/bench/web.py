"""onnxruntime-web in a headless Chromium: a page of 127.0.0.1 that fetches calls and posts answers. WebAssembly, one thread.

The page is isolated (COOP and COEP), for only then does the browser's clock tell less than a tenth of a millisecond. It can reach no
other machine: every other name is resolved to nothing.
"""

from __future__ import annotations

import queue
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from export import npm
from export.bench import frames
from export.bench.runtimes import Call, Opened, Subject, size_of
from export.npm import Unavailable
from export.parity import Arrays

PACKAGE = "onnxruntime-web"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
KINDS = {".html": "text/html; charset=utf-8", ".mjs": "text/javascript", ".wasm": "application/wasm"}
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
SECONDS = 600  # for one answer


class Exchange:
    """Calls on their way to the page and answers on their way back; `page` is what drives the browser, and its end is an end."""

    def __init__(self) -> None:
        self.calls: queue.Queue[bytes | None] = queue.Queue()
        self.answers: queue.Queue[bytes] = queue.Queue()
        self.page: Future[Any] = Future()

    def receive(self) -> tuple[dict[str, Any], Arrays]:
        for _ in range(SECONDS):
            try:
                return frames.unpack(self.answers.get(timeout=1))
            except queue.Empty:
                if self.page.done():
                    self.page.result()
                    raise RuntimeError("the page ended without an answer") from None
        raise RuntimeError(f"the page must answer within {SECONDS} s. Received: nothing")

    def caller(self, graph: str) -> Call:
        def call(feeds: Arrays) -> tuple[Arrays, float]:
            self.calls.put(frames.pack({"graph": graph}, feeds))
            header, found = self.receive()
            return found, header["ms"]

        return call


@contextmanager
def opened(subject: Subject) -> Iterator[Opened]:
    """Unavailable where the package, Playwright or Chromium cannot be had, RuntimeError where the runtime refuses a graph."""
    home = npm.package(PACKAGE) / "dist"
    launch = launcher()
    exchange = Exchange()
    with serving(exchange, home, subject.files) as address, ThreadPoolExecutor(1) as pool:
        version: Future[str] = Future()
        over = threading.Event()
        exchange.page = pool.submit(browse, launch, address, list(subject.files), version, over)  # no other Playwright runs in its thread
        try:
            exchange.receive()
            calls = {name: exchange.caller(name) for name in subject.files}
            yield Opened(calls, 1, size_of(subject), {PACKAGE: npm.VERSIONS[PACKAGE], "Chromium": version.result()})
        finally:
            over.set()
            exchange.calls.put(None)


def launcher() -> Any:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise Unavailable("Playwright must be installed: pip install playwright. Received: no module of that name") from None
    return sync_playwright


def browse(launch: Any, address: str, graphs: list[str], version: Future[str], over: threading.Event) -> None:
    """Shows the page until all is over, or its end shows in an error."""
    program = next(filter(None, map(shutil.which, CHROMIUMS)), None)
    if program is None:
        raise Unavailable(f"a browser must be there: one of {', '.join(CHROMIUMS)}. Received: no program of these names")
    with launch() as playwright, playwright.chromium.launch(executable_path=program, args=FLAGS) as browser:
        version.set_result(browser.version)
        page = browser.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-ready]", state="attached")
        page.evaluate("graphs => { serve(graphs); }", graphs)
        while not over.wait(1):
            page.title()


@contextmanager
def serving(exchange: Exchange, package: Path, graphs: dict[str, Path]) -> Iterator[str]:
    """The address of a server of 127.0.0.1 for the page, its runtime, the graphs and the exchange."""
    here = Path(__file__).parent
    files = {"/": here / "page.html", "/worker.mjs": here / "worker.mjs", **{f"/graphs/{name}": path for name, path in graphs.items()}}
    files |= {f"/ort/{path.name}": path for path in package.iterdir() if path.suffix in KINDS}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # one connection for thousands of calls
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            if self.path == "/call":
                frame = exchange.calls.get()
                self.reply(204, b"") if frame is None else self.reply(200, frame)
            elif self.path in files:
                self.reply(200, files[self.path].read_bytes(), KINDS.get(files[self.path].suffix, "application/octet-stream"))
            else:
                self.reply(404, b"")

        def do_POST(self) -> None:
            exchange.answers.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(204, b"")

        def reply(self, status: int, body: bytes, kind: str = "application/octet-stream") -> None:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **ISOLATED}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
