"""What the server says of itself: /openapi.json with every status an endpoint can give, /docs to try it, sentences for other routes."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from fastapi import FastAPI, HTTPException
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

from apps.access import GUARDED, HEALTH, below
from apps.metrics import METHODS
from apps.settings import Settings

VERSION = "1.0"
FILES = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}  # shipped by the package fastapi-offline
OWN = ("/api", "/v2", "/healthz", "/metrics", "/docs", "/openapi.json", "/examples")
ABOUT = """Pictures to labels at `/api/classify`, to sentences at `/api/caption`, to people of a gallery at `/api/match`, whom
`/api/gallery` keeps; rows of a table to numbers at `/api/regress`; tensors to tensors at `/v2`, the
[Open Inference Protocol](https://github.com/kserve/open-inference-protocol).
Every refusal is `{"error": "sentence"}`, every answer has `X-Request-Id`."""
ROUTES = (
    "There is POST /api/classify?model=NAME, POST /api/caption?model=NAME, POST /api/match?model=NAME, GET /api/gallery?model=NAME "
    "and POST /api/regress?model=NAME."
)
MEANING = {
    400: "malformed",
    401: "no token, or a wrong one",
    403: "not from this site, under this Host name, or not allowed here",
    404: "no such model, person or picture",
    408: "the body took too long",
    409: "the gallery is full, or another network's",
    413: "too large",
    415: "not an accepted picture format",
    422: "a damaged picture, a missing field, or a row that does not fit",
    503: "busy, starting, stopping, or the model is not loaded",
    504: "not done before the deadline",
    507: "the disk of the gallery is full",
}
ERROR_SCHEMA = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
NUMBER_HEADER = {"X-Request-Id": {"schema": {"type": "string"}, "description": "as sent, or new; the log has it, too"}}


class Problem(BaseModel):
    error: str


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses`."""
    return {status: {"model": Problem, "description": MEANING[status]} for status in statuses}


def add_docs(app: FastAPI, settings: Settings) -> None:
    document = cache(lambda: write_document(app, settings))
    app.openapi = document

    @app.get("/openapi.json", include_in_schema=False)
    @app.get("/api/openapi.json", include_in_schema=False)
    async def interface() -> JSONResponse:
        return JSONResponse(document())

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        script, style = (f"docs/{name}" for name in FILES)
        quiet = {"validatorUrl": None}  # else the page asks its makers whether the document is valid
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="kerasdl apps",
            swagger_js_url=script,
            swagger_css_url=style,
            swagger_favicon_url="favicon.ico",
            swagger_ui_parameters=quiet,
        )

    @app.get("/docs/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in FILES:
            raise HTTPException(404, "There is no such file.")
        return Response(read_file(name), media_type=FILES[name], headers={"cache-control": "public, max-age=86400"})


@cache
def read_file(name: str) -> bytes:
    return (resources.files("fastapi_offline") / "static" / name).read_bytes()


def write_document(app: FastAPI, settings: Settings) -> dict[str, Any]:
    document = get_openapi(title="kerasdl apps", version=VERSION, description=ABOUT, routes=app.routes)
    parts = document.setdefault("components", {})
    parts.setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    if settings.token:
        parts["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            complete(operation, path, method, guarded=bool(settings.token) and below(path, GUARDED) and not below(path, HEALTH))
    for name in ("HTTPValidationError", "ValidationError"):
        parts["schemas"].pop(name, None)
    return document


def complete(operation: dict[str, Any], path: str, method: str, guarded: bool) -> None:
    """Add what the middlewares may answer before the route does."""
    statuses = [403, *[401] * guarded, *[503] * (not below(path, HEALTH)), *[408, 413] * (method in ("post", "patch"))]
    responses = operation["responses"]
    if "HTTPValidationError" in str(responses.get("422")):  # what FastAPI would say; our parameters are answered 400 in a sentence
        del responses["422"]
    for status in statuses:
        responses.setdefault(str(status), {"description": MEANING[status], "content": ERROR_SCHEMA})
    for response in responses.values():
        response["headers"] = NUMBER_HEADER | response.get("headers", {})
    operation["responses"] = dict(sorted(responses.items()))
    if guarded:
        operation["security"] = [{"token": []}]


def add_unknown(app: FastAPI) -> None:
    """To be called when all routes are there and gradio's are not yet: those answer everything else with a page."""
    unknown = Unknown(list(app.router.routes))
    for root in OWN:
        app.router.routes.append(Route(root, unknown))
        app.router.routes.append(Route(root + "/{path:path}", unknown))


class Unknown:
    """404 or 405 in a sentence for what begins like one of our routes and is none."""

    def __init__(self, routes: list[BaseRoute]):
        self.routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        methods = [method for method in METHODS if self.matches(scope, method)]
        if methods:
            answer = JSONResponse({"error": f"The method must be {' or '.join(methods)}."}, 405, {"allow": ", ".join(methods)})
        else:
            hint = ROUTES if below(scope["path"], ("/api",)) else "See /docs."
            answer = JSONResponse({"error": f"There is no {scope['path'][:80]}. {hint}"}, 404)
        await answer(scope, receive, send)

    def matches(self, scope: Scope, method: str) -> bool:
        asked = {**scope, "method": method}
        return any(route.matches(dict(asked))[0] is Match.FULL for route in self.routes)


__all__ = ["Problem", "add_docs", "add_unknown", "problems"]
