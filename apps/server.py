"""One ASGI app: the pages, POST /api/classify and its neighbours, the Open Inference Protocol, and /healthz, /metrics, /docs."""

from __future__ import annotations

import socket
import warnings
from collections.abc import Callable
from typing import Any

import gradio as gr
import gradio.processing_utils
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from gradio.utils import LRUCache
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from apps import api, captioning, classification, describe, examples, home, matching, people, regression, rows, theme, v2
from apps.access import Access
from apps.engine import Busy, ClientGone, Engine, TooLate
from apps.galleries import Galleries
from apps.gallery import GalleryError
from apps.library import Library
from apps.life import Life, Server
from apps.limits import BodyRefused, Limits, connection_class
from apps.matches import Matcher
from apps.metrics import Metrics
from apps.repository import NotLoaded, Repository, UnknownModel
from apps.runtime.signature import read_public_key
from apps.settings import Settings


class Live(BaseModel):
    status: str


class Readiness(BaseModel):
    status: str
    bundles: list[str]
    broken: dict[str, str]
    refused: dict[str, str]
    galleries: dict[str, str]


def create_app(
    settings: Settings, repository: Repository, engine: Engine, metrics: Metrics, life: Life, galleries: Galleries | None = None
) -> ASGIApp:
    """The whole server. The bundles may be loaded later: until life.state is ready, only health, figures and docs answer."""
    guard_gradio(settings.max_pixels)
    metrics.watch(engine)
    library = Library(repository, engine, settings.max_pixels, settings.max_batch)
    galleries = galleries or Galleries(repository, settings)
    matcher = Matcher(library, galleries)
    app = FastAPI(title="kerasdl apps", version=describe.VERSION, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.settings, app.state.repository, app.state.engine, app.state.metrics, app.state.life = (
        settings,
        repository,
        engine,
        metrics,
        life,
    )
    add_errors(app)
    add_health(app, repository, galleries, life)
    add_metrics(app, metrics)
    app.include_router(api.router(library, engine))
    app.include_router(people.router(matcher, engine))
    app.include_router(rows.router(library, engine))
    app.include_router(v2.router(repository, engine, settings))
    app.include_router(examples.router(library))
    describe.add_docs(app, settings)
    describe.add_unknown(app)
    gr.mount_gradio_app(
        app,
        build_pages(matcher, settings),
        path="/",
        auth=settings.user,
        show_error=False,
        max_file_size=settings.max_body,
        allowed_paths=[],
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        footer_links=[],
        theme=theme.THEME,
        css=theme.CSS,
        head=theme.HEAD,
    )
    return Limits(Access(app, settings, metrics, life), settings, metrics, life)


def run(settings: Settings, listener: socket.socket, when_ready: Callable[[list[str]], None]) -> str | None:
    """Serve until SIGTERM or Ctrl+C. Returns why nothing could be served, or None."""
    metrics, life = Metrics(), Life()
    key = read_public_key(settings.public_key) if settings.public_key else None
    repository = Repository(settings.bundles, settings.threads, metrics, key, settings.variant)
    engine = Engine(settings.workers, settings.queue, settings.deadline, metrics)
    galleries = Galleries(repository, settings)
    config = uvicorn.Config(
        create_app(settings, repository, engine, metrics, life, galleries),
        http=connection_class(settings.body_seconds),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.grace_seconds,  # type: ignore[arg-type]
    )
    Server(config, life, repository, galleries, settings.drain_seconds, lambda: when_ready(list(repository.bundles))).run(
        sockets=[listener]
    )
    engine.close()
    galleries.close()
    return life.problem


def guard_gradio(max_pixels: int) -> None:
    """Gradio opens pictures itself in places and fetches what a client names by its address: bound the one, forbid the other."""
    Image.MAX_IMAGE_PIXELS = max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", "SSR mode is not supported with multi-page apps")  # gradio says it although it is off
    gradio.processing_utils.async_ssrf_protected_download = refuse_address


async def refuse_address(url: str, cache_dir: str) -> str:
    raise gr.Error("Send the picture itself, not its address.", print_exception=False)


def build_pages(matcher: Matcher, settings: Settings) -> gr.Blocks:
    library, secured = matcher.library, settings.token is not None
    with gr.Blocks(title="kerasdl", analytics_enabled=False, delete_cache=(3600, 3600)) as pages:
        home.build(pages, library, secured=secured)
    with pages.route("Classify a picture", "/classify"):
        classification.build(pages, library, secured=secured)
    with pages.route("Caption a picture", "/caption"):
        captioning.build(pages, library, secured=secured)
    with pages.route("Match people", "/match"):
        matching.build(pages, matcher, secured=secured, changes=settings.enrollable_on_pages)
    with pages.route("Predict numbers", "/regression"):
        regression.build(pages, library, secured=secured)
    pages.queue(api_open=False, max_size=64, default_concurrency_limit=1)
    pages.state_session_capacity = 200  # gradio keeps 10,000 sessions, at 100 kB each; ours hold no state
    pages._queue.pending_messages_per_session = LRUCache(256)  # and 2,000 message queues, at 18 kB each
    pages._queue.sleep_when_free = 0.02  # gradio asks its empty queue 1,000 times a second, a tenth of a core for nothing
    pages._queue.progress_update_sleep_when_free = 0.1
    return pages


def add_health(app: FastAPI, repository: Repository, galleries: Galleries, life: Life) -> None:
    @app.get("/healthz/live", tags=["health"], responses={200: {"model": Live}})
    async def live() -> JSONResponse:
        """The process answers."""
        return JSONResponse({"status": "live"})

    @app.get("/healthz/ready", tags=["health"], responses={status: {"model": Readiness} for status in (200, 503)})
    async def ready() -> JSONResponse:
        """Red before the bundles are warm, after SIGTERM, and while any bundle of the folder never loaded or a gallery cannot be used: a
        bad roll-out stops here."""
        broken, bundles = repository.broken, repository.bundles
        unusable = broken or not bundles or galleries.broken()
        status = life.state if life.state != "ready" else "not ready" if unusable else "ready"
        told = {"refused": repository.refused, "galleries": galleries.states()}
        answer = {"status": status, "bundles": list(bundles), "broken": broken, **told}
        return JSONResponse(answer, 200 if status == "ready" else 503)


def add_metrics(app: FastAPI, metrics: Metrics) -> None:
    @app.get(
        "/metrics", tags=["health"], response_class=Response, responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}
    )
    async def figures() -> Response:
        """Figures for Prometheus."""
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)


def add_errors(app: FastAPI) -> None:
    """Every refusal is {"error": sentence}; a fault of ours is answered by Limits."""

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def wrong_parameter(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": " ".join(rule(problem) for problem in error.errors())}, 400)

    @app.exception_handler(UnknownModel)
    async def unknown_model(request: Request, error: UnknownModel) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503 if isinstance(error, NotLoaded) else 404)

    @app.exception_handler(GalleryError)
    async def gallery_error(request: Request, error: GalleryError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, people.GALLERY_STATUS[error.reason])

    @app.exception_handler(Busy)
    async def busy(request: Request, error: Busy) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 503, headers={"retry-after": str(error.retry_after)})

    @app.exception_handler(TooLate)
    async def too_late(request: Request, error: TooLate) -> JSONResponse:
        return JSONResponse({"error": str(error)}, 499 if isinstance(error, ClientGone) else 504)  # 499 goes to the log: nobody is there

    @app.exception_handler(BodyRefused)
    async def refused(request: Request, error: BodyRefused) -> JSONResponse:
        return JSONResponse({}, 413)  # Limits has answered: this is dropped


def rule(problem: dict[str, Any]) -> str:
    return f"{problem['loc'][-1]} must be {problem['msg'].removeprefix('Input should be ')}. Received: {str(problem['input'])[:40]}"
