"""The Open Inference Protocol v2 over HTTP for every graph of every bundle, with Triton's extensions for binary data and the repository.

https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from apps.describe import problems
from apps.engine import Busy, Engine, Ticket
from apps.limits import gone
from apps.repository import VERSION, Repository, UnknownModel
from apps.runtime import Bundle, BundleError, GraphError, Slot
from apps.tensors import DATATYPES, Bounds, TensorError, parameters_of, read_request, read_timeout, split_body, write_answer

EXTENSIONS = ["binary_tensor_data", "model_repository", "model_repository(unload_dependents)"]
MAX_CHANGES = 8  # loads and reloads that may wait for one another
HEADER_LENGTH = "Inference-Header-Content-Length"


class Server(BaseModel):
    name: str
    version: str
    extensions: list[str]


class Live(BaseModel):
    live: bool


class Ready(BaseModel):
    ready: bool


class ModelReady(BaseModel):
    name: str
    ready: bool


class TensorFacts(BaseModel):
    name: str
    datatype: str
    shape: list[int] = Field(description="-1 where any size fits")


class ModelFacts(BaseModel):
    name: str
    versions: list[str]
    platform: str
    properties: dict[str, str] = Field(description="the file of the bundle that answers, and its sha256")
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


class InputTensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = Field(None, description="binary_data_size")
    data: list[Any] | None = Field(None, description="flat or nested, row by row; absent when binary_data_size is given")


class WantedOutput(BaseModel):
    name: str
    parameters: dict[str, Any] | None = Field(None, description="binary_data")


class InferRequest(BaseModel):
    id: str | None = None
    parameters: dict[str, Any] | None = Field(None, description="timeout in microseconds, binary_data_output")
    inputs: list[InputTensor]
    outputs: list[WantedOutput] | None = None


class OutputTensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] | None = None
    data: list[Any] | None = None


class InferAnswer(BaseModel):
    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensor]


class IndexEntry(BaseModel):
    name: str
    version: str
    state: str
    reason: str


class IndexRequest(BaseModel):
    ready: bool = False


class ChangeRequest(BaseModel):
    parameters: dict[str, Any] | None = None


def body_of(model: type[BaseModel], required: bool) -> dict[str, Any]:
    """For openapi_extra: the bodies are read by hand, in the engine's threads."""
    content: dict[str, Any] = {"application/json": {"schema": inlined(model.model_json_schema())}}
    if model is InferRequest:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return {"requestBody": {"required": required, "content": content}}


def inlined(schema: Any, definitions: dict[str, Any] | None = None) -> Any:
    """A schema without $defs: an OpenAPI document has them elsewhere."""
    if isinstance(schema, list):
        return [inlined(entry, definitions) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    definitions = schema.get("$defs") or definitions or {}
    if "$ref" in schema:
        return inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {key: inlined(value, definitions) for key, value in schema.items() if key != "$defs"}


@contextlib.contextmanager
def bad_requests() -> Iterator[None]:
    """Sentences about what was sent are answers with 400; other refusals have their status wherever they come from."""
    try:
        yield
    except (TensorError, GraphError, BundleError) as error:
        raise HTTPException(400, str(error)) from None


def router(repository: Repository, engine: Engine, settings: Any) -> APIRouter:
    """All routes under /v2."""
    routes = APIRouter(prefix="/v2", tags=["Open Inference Protocol v2"])
    add_server(routes, repository)
    add_models(routes, repository)
    add_infer(routes, repository, engine, Bounds(settings.max_batch, settings.max_elements))
    add_control(routes, repository, settings.controllable)
    return routes


def add_server(routes: APIRouter, repository: Repository) -> None:
    @routes.get("", response_model=Server)
    async def server(request: Request) -> Server:
        """Name, version and extensions of the server."""
        return Server(name="kerasdl", version=request.app.version, extensions=EXTENSIONS)

    @routes.get("/health/live", response_model=Live)
    async def live() -> Live:
        return Live(live=True)

    @routes.get("/health/ready", response_model=Ready, responses={503: {"model": Ready}})
    async def ready(request: Request) -> JSONResponse:
        """Red while the server starts or stops, and while any bundle of the folder never loaded."""
        life = getattr(request.app.state, "life", None)
        fine = (life is None or life.state == "ready") and bool(repository.bundles) and not repository.broken
        return JSONResponse({"ready": fine}, 200 if fine else 503)


def add_models(routes: APIRouter, repository: Repository) -> None:
    @routes.get("/models/{name}", response_model=ModelFacts, responses=problems(404, 503))
    @routes.get("/models/{name}/versions/{version}", response_model=ModelFacts, responses=problems(404, 503))
    async def model(name: str, version: str = VERSION) -> ModelFacts:
        """Inputs and outputs of one graph: NAME, or NAME.GRAPH where a bundle has several."""
        bundle, graph = find(repository, name, version)
        return ModelFacts(
            name=name,
            versions=[VERSION],
            platform="onnxruntime_onnx",
            properties={"file": bundle.file(graph), "sha256": bundle.digest(graph)},
            inputs=[facts_of(slot) for slot in bundle.inputs(graph)],
            outputs=[facts_of(slot) for slot in bundle.outputs(graph)],
        )

    @routes.get("/models/{name}/ready", response_model=ModelReady, responses=problems(404, 503))
    @routes.get("/models/{name}/versions/{version}/ready", response_model=ModelReady, responses=problems(404, 503))
    async def model_ready(name: str, version: str = VERSION) -> ModelReady:
        """200 when the graph is loaded and warm."""
        find(repository, name, version)
        return ModelReady(name=name, ready=True)


def add_infer(routes: APIRouter, repository: Repository, engine: Engine, bounds: Bounds) -> None:
    declared: dict[str, Any] = {
        "response_model": InferAnswer,
        "responses": {200: {"content": {"application/octet-stream": {}}}, **problems(400, 404, 408, 413, 415, 503, 504)},
        "openapi_extra": body_of(InferRequest, required=True),
    }

    @routes.post("/models/{name}/infer", **declared)
    @routes.post("/models/{name}/versions/{version}/infer", **declared)
    async def infer(request: Request, name: str, version: str = VERSION) -> Response:
        """Run one graph on the tensors of the request, in JSON or with binary data behind it."""
        bundle, graph = find(repository, name, version)
        refuse_encoding(request)
        work = inference(bundle, graph, name, await request.body(), request.headers.get(HEADER_LENGTH), bounds, engine.metrics)
        with bad_requests():
            answer, header_length = await engine.run(work, gone=gone(request))
        if header_length is None:
            return Response(answer, media_type="application/json")
        return Response(answer, media_type="application/octet-stream", headers={HEADER_LENGTH: str(header_length)})


def inference(
    bundle: Bundle, graph: str, name: str, body: bytes, header_length: str | None, bounds: Bounds, metrics: Any
) -> Callable[[Ticket], tuple[bytes, int | None]]:
    """The whole request as work for the engine: parsing and encoding are as heavy as many a graph."""

    def work(ticket: Ticket) -> tuple[bytes, int | None]:
        head, binary = split_body(body, header_length)
        timeout = read_timeout(head)
        if timeout is not None:
            ticket.shorten(timeout)
        asked = read_request(head, binary, bundle.inputs(graph), bundle.outputs(graph), bounds)
        ticket.check()
        began = time.perf_counter()
        arrays = bundle.run(asked.inputs, graph, list(asked.outputs), ticket.options)
        if metrics is not None:
            metrics.inference_seconds.labels(name).observe(time.perf_counter() - began)
        ticket.check()
        return write_answer(name, asked, arrays)

    return work


def add_control(routes: APIRouter, repository: Repository, allowed: bool) -> None:
    changing = asyncio.Lock()
    waiting = 0

    async def change(function: Callable[..., Any], *arguments: str) -> Any:
        """One change at a time, in a thread; few may wait, so that nobody fills the threads with reloads."""
        nonlocal waiting
        if waiting >= MAX_CHANGES:
            raise Busy
        waiting += 1
        try:
            async with changing:
                with bad_requests():
                    return await run_in_threadpool(function, *arguments)
        finally:
            waiting -= 1

    def check_allowed() -> None:
        if not allowed:
            raise HTTPException(403, "Bundles are not loaded or unloaded over HTTP here. Received: a request to change the repository.")

    @routes.post("/repository/index", response_model=list[IndexEntry], responses=problems(400), openapi_extra=body_of(IndexRequest, False))
    async def index(request: Request) -> list[dict[str, str]]:
        """What is served and what is not, with the reason."""
        with bad_requests():
            head = await read_object(request)
        if not isinstance(head.get("ready", False), bool):
            raise HTTPException(400, "ready must be true or false.")
        return [entry for entry in repository.index() if entry["state"] == "READY" or not head.get("ready")]

    declared: dict[str, Any] = {"responses": problems(400, 403, 404, 503), "openapi_extra": body_of(ChangeRequest, False)}

    @routes.post("/repository/models/{name}/load", **declared)
    async def load(request: Request, name: str) -> dict[str, str]:
        """Load a bundle from disk, again or after it was unloaded."""
        check_allowed()
        with bad_requests():
            parameters = parameters_of(await read_object(request), "the request")
        if parameters:
            raise HTTPException(400, "A bundle is loaded from its folder as it is. Received: parameters")
        await change(repository.load, name)
        return {}

    @routes.post("/repository/models/{name}/unload", **declared)
    async def unload(request: Request, name: str) -> dict[str, str]:
        """Take a bundle out until it is loaded again; requests that run finish."""
        check_allowed()
        with bad_requests():
            parameters_of(await read_object(request), "the request")
        await change(repository.unload, name)
        return {}

    @routes.post("/repository/reload", responses=problems(400, 403, 503))
    async def reload() -> dict[str, str]:
        """Look at the folder again; for every bundle what became of it, or why it was refused."""
        check_allowed()
        return await change(repository.reload)


def find(repository: Repository, name: str, version: str) -> tuple[Bundle, str]:
    found = repository.graph(name)
    if version != VERSION:
        raise UnknownModel(f"Every model has version {VERSION} only. Received: {version[:80]}")
    return found


def facts_of(slot: Slot) -> TensorFacts:
    return TensorFacts(name=slot.name, datatype=DATATYPES[slot.dtype], shape=[side if isinstance(side, int) else -1 for side in slot.shape])


def refuse_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise HTTPException(415, f"The body must not be compressed. Received: {encoding[:40]}")


async def read_object(request: Request) -> dict[str, Any]:
    """A small JSON object; no body is an empty one."""
    body = await request.body()
    return split_body(body, None)[0] if body.strip() else {}
