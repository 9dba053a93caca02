"""One FastAPI app: the pages, POST /api/classify, and two questions for whoever runs it, /healthz/live and /healthz/ready."""

from __future__ import annotations

import logging
import socket
import warnings
from collections.abc import Callable
from typing import Any

import gradio as gr
import gradio.processing_utils
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from apps import classification, home, theme
from apps.library import Library, PictureError, UnknownModel
from apps.limits import MAX_BODY, BodyTooLarge, Limits
from apps.runtime.pictures import MAX_PIXELS

log = logging.getLogger("apps")

STATUS = {"format": 415, "size": 413, "damaged": 422, "missing": 400}
MAX_WAITING = 32  # pictures held in memory at once; one is decoded at a time
PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}}},
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}


def create_app(library: Library, address: str = "http://127.0.0.1:7860", max_body: int = MAX_BODY) -> ASGIApp:
    """The whole server over a library of bundles."""
    guard_gradio()
    app = FastAPI(title="kerasdl apps", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")  # their pages load from a CDN
    app.add_exception_handler(HTTPException, answer_http_error)
    app.add_exception_handler(BodyTooLarge, lambda request, error: JSONResponse({}, 413))  # Limits has answered: this is dropped
    app.add_exception_handler(Exception, answer_fault)
    add_health(app, library)
    add_api(app, library)
    gr.mount_gradio_app(
        app,
        build_pages(library, address),
        path="/",
        show_error=False,
        max_file_size=max_body,
        allowed_paths=[],
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        footer_links=["api"],
        theme=theme.THEME,
        css=theme.CSS,
    )
    return Limits(app, max_body)


def run(library: Library, listener: socket.socket, address: str, when_ready: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl+C; work in progress gets ten seconds to finish."""
    config = uvicorn.Config(create_app(library, address), log_level="warning", timeout_graceful_shutdown=10, server_header=False)
    Server(config, when_ready).run(sockets=[listener])


class Server(uvicorn.Server):
    """Says that it is ready when the first request can be answered, not before."""

    def __init__(self, config: uvicorn.Config, when_ready: Callable[[], None]):
        super().__init__(config)
        self.when_ready = when_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.when_ready()


def guard_gradio() -> None:
    """Gradio opens pictures itself in places and fetches what a client names by its address: bound the one, forbid the other."""
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", "SSR mode is not supported with multi-page apps")  # gradio says it although it is off
    gradio.processing_utils.async_ssrf_protected_download = refuse_address


async def refuse_address(url: str, cache_dir: str) -> str:
    raise gr.Error("Send the picture itself, not its address.", print_exception=False)


def build_pages(library: Library, address: str) -> gr.Blocks:
    with gr.Blocks(title="kerasdl", analytics_enabled=False, delete_cache=(3600, 3600)) as pages:
        home.build(library, address)
    with pages.route("Classify a picture", "/classify"):
        classification.build(pages, library)
    return pages.queue(api_open=False, max_size=64, default_concurrency_limit=1)


def add_health(app: FastAPI, library: Library) -> None:
    @app.get("/healthz/live")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/healthz/ready")
    async def ready() -> JSONResponse:
        """Red while any bundle of the folder is broken: a bad roll-out stops here."""
        status = 503 if library.broken or not library.bundles else 200
        answer = {"status": "ready" if status == 200 else "not ready", "bundles": list(library.bundles), "broken": library.broken}
        return JSONResponse(answer, status)


def add_api(app: FastAPI, library: Library) -> None:
    waiting = 0

    @app.post("/api/classify", openapi_extra=PICTURE_BODY)
    async def classify(request: Request, model: str = "", top: str = "5") -> JSONResponse:
        """The most probable labels of one picture, sent as the multipart field `image` or as the raw body."""
        nonlocal waiting
        name, count = choose_model(library, model), read_top(top)
        if waiting >= MAX_WAITING:
            raise HTTPException(503, "The server is busy. Try again in a moment.")
        waiting += 1
        try:
            picture = await read_picture(request)
            answer = await run_in_threadpool(library.classify, name, picture, count)
        except PictureError as error:
            raise HTTPException(STATUS[error.reason], str(error)) from None
        except UnknownModel as error:
            raise HTTPException(404, str(error)) from None
        finally:
            waiting -= 1
        return JSONResponse({"model": name, "label": answer.predictions[0]["label"], "predictions": answer.predictions})

    @app.api_route("/api/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def unknown(path: str) -> None:
        if path == "classify":
            raise HTTPException(405, "Send the picture with POST.")
        raise HTTPException(404, f"There is no /api/{path[:80]}. There is POST /api/classify?model=NAME.")


def choose_model(library: Library, model: str) -> str:
    if not model:
        raise HTTPException(400, f"Name the bundle: /api/classify?model=NAME. There is {', '.join(library.names())}.")
    try:
        return library.get(model).name
    except UnknownModel as error:
        raise HTTPException(404, str(error)) from None


def read_top(top: str) -> int:
    if not top.isascii() or not top.isdigit() or not 1 <= int(top[:9]) <= 1000:
        raise HTTPException(400, f"top must be a number from 1 to 1000. Received: {top[:40]}")
    return int(top)


async def read_picture(request: Request) -> bytes:
    """The bytes of the one picture; their number is bounded by Limits."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=8) as form:
            field = form.get("image")
            if not isinstance(field, UploadFile):
                raise HTTPException(422, f"The multipart body must have a file field named image. Received: {', '.join(form) or 'none'}")
            data = await field.read()
    else:
        data = await request.body()
    if not data:
        raise HTTPException(400, "The picture is empty.")
    return data


async def answer_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def answer_fault(request: Request, error: Exception) -> JSONResponse:
    number: Any = request.scope.get("state", {}).get("request_id")
    log.error("request %s failed, %s %s: %r", number, request.method, request.url.path, error)
    return JSONResponse({"error": f"The server failed on this request. Its log has it under {number}."}, 500)
