"""Bounds on what a stranger may send, and what every answer carries."""

import asyncio
import contextlib
import json
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

from apps.life import Life
from apps.limits import Limits
from apps.metrics import Metrics
from apps.settings import Settings


@pytest.fixture(scope="module")
def tight(own_server, bundles, tmp_path_factory):
    audit = tmp_path_factory.mktemp("audit") / "sockets.log"
    return own_server(bundles, audit, "--body-seconds", "1", "--max-body", "200000", "--log-format", "json")


def connect(server) -> socket.socket:
    host, _, port = server.url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65536), b""))


def slowly(parts: int, seconds: float) -> Iterator[bytes]:
    for _ in range(parts):
        time.sleep(seconds)
        yield b"x" * 10


def test_a_slow_body_is_answered_408(tight):
    began = time.monotonic()
    with connect(tight) as connection:
        connection.sendall(b"POST /api/classify?model=digits-templates HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\nsome")
        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 408 ") and b"must arrive within 1 seconds" in answer and b"x-request-id" in answer
    assert b"connection: close" in answer.lower()
    assert 0.9 < time.monotonic() - began < 30


@pytest.mark.parametrize("path", ["/api/classify?model=digits-templates", "/v2/models/digits-templates/infer", "/gradio_api/queue/join"])
def test_a_body_that_drips_is_as_slow(tight, path):
    with connect(tight) as connection:
        connection.sendall(
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n".encode()
        )
        for part in slowly(5, 0.15):
            connection.sendall(part)
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("head", [b"", b"GET /healthz/live HTT", b"GET /healthz/live HTTP/1.1\r\nhost: localhost\r\n"])
def test_a_slow_head_is_hung_up_on(tight, head):
    with connect(tight) as connection:
        began = time.monotonic()
        connection.sendall(head)
        assert read_all(connection) == b""
        assert 0.9 < time.monotonic() - began < 30


def test_a_slow_second_head_is_hung_up_on(tight):
    with connect(tight) as connection:
        connection.sendall(b"GET /healthz/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
        seen = b""
        while b'"live"' not in seen:
            seen += connection.recv(65536)
        connection.sendall(b"GET /healthz")
        assert read_all(connection) == b""


def test_a_client_that_does_not_read_is_hung_up_on(tight):
    with connect(tight) as connection:
        connection.sendall(10 * b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n")
        time.sleep(4)
        received = read_until_end(connection)
    assert 0 < received < 10 * 1_400_000


def read_until_end(connection: socket.socket) -> int:
    received = 0
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(1_000_000):
            received += len(part)
    return received


def test_what_is_no_http_is_answered_in_json_with_a_number(tight):
    with connect(tight) as connection:
        connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and b"x-request-id: " in head
    assert json.loads(body) == {"error": "The request must be HTTP/1.1."}


def test_a_smaller_bound_is_the_settings_one(tight):
    answer = httpx.post(f"{tight.url}/api/classify?model=digits-templates", content=bytes(200_001), timeout=60)
    assert answer.status_code == 413 and answer.json()["error"].endswith("at most 0.2 MB are accepted.")
    with httpx.Client(base_url=tight.url, timeout=60) as client:
        assert client.post("/api/classify?model=digits-templates", content=bytes(199_000)).status_code == 415


def test_the_log_has_one_json_line_for_a_request_under_its_number(tight):
    httpx.post(f"{tight.url}/api/classify?model=nothing", headers={"x-request-id": "find-me"}, timeout=60)
    deadline = time.monotonic() + 30
    while not (found := [line for line in tight.lines if "find-me" in line]) and time.monotonic() < deadline:
        time.sleep(0.05)
    (line,) = map(json.loads, found)
    assert (line["method"], line["route"], line["status"], line["level"]) == ("POST", "/api/classify", 404, "INFO")
    assert line["ms"] > 0 and line["time"].endswith("+00:00") and line["request_id"] == "find-me"


def test_a_client_that_leaves_in_the_middle_is_no_fault_of_ours(tight):
    before = len(tight.lines)
    with connect(tight) as connection:
        head = (
            b"POST /api/classify?model=digits-templates HTTP/1.1\r\nhost: localhost\r\nx-request-id: left-1\r\ncontent-length: 1000\r\n\r\n"
        )
        connection.sendall(head + bytes(500))
        time.sleep(0.2)
    deadline = time.monotonic() + 30
    while not (found := [line for line in tight.lines[before:] if "left-1" in line]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [json.loads(line)["status"] for line in found] == [499]
    assert not any("Traceback" in line for line in tight.lines[before:])


def test_an_unknown_session_of_gradio_ends_its_stream_without_a_trace(tight):
    before = len(tight.lines)
    answer = httpx.get(f"{tight.url}/gradio_api/queue/data?session_hash=none", timeout=60)
    assert answer.status_code == 200 and "session_not_found" in answer.text
    time.sleep(0.5)
    assert not any("Traceback" in line for line in tight.lines[before:])


def test_figures_have_templates_for_labels_and_nothing_that_a_client_wrote(api):
    for path in (
        "/v2/models/secret-words",
        "/v2/models/secret-words/infer",
        "/secret-words",
        "/gradio_api/file=/secret-words",
        "/api/secret-words",
    ):
        api.get(path)
        api.request("SECRETWORDS", path)
    figures = api.get("/metrics").text
    assert "secret" not in figures.lower()
    assert 'kerasdl_requests_total{method="GET",route="/v2/models/{name}",status="404"}' in figures
    assert 'method="other"' in figures
    for name in (
        "kerasdl_request_seconds_bucket",
        "kerasdl_queue_waiting",
        "kerasdl_process_resident_memory_bytes",
        "kerasdl_model_loaded",
    ):
        assert re.search(rf"^{name}", figures, re.MULTILINE), name


PLACES = (str(Path.home()), str(Path(__file__).parents[2]), sys.prefix, tempfile.gettempdir(), "/usr/", "/home/")
STRANGE = [
    ("GET", "/gradio_api/file=/none/such.png", None),
    ("GET", "/gradio_api/info?all_endpoints=x", None),
    ("GET", "/gradio_api/queue/data?session_hash=none", None),
    ("GET", "/gradio_api/component_server", None),
    ("POST", "/gradio_api/queue/join", b"{"),
    ("POST", "/gradio_api/queue/join", b"[]"),
    ("POST", "/gradio_api/queue/join", b'{"fn_index": 99999, "data": [], "session_hash": "x"}'),
    ("POST", "/gradio_api/queue/join", b'{"fn_index": "x", "data": {"path": "/etc/passwd"}, "session_hash": "x"}'),
    ("POST", "/gradio_api/call/none", b"{}"),
    ("POST", "/gradio_api/call/classify", b'{"data": 3}'),
    ("POST", "/gradio_api/component_server", b'{"session_hash": "x", "component_id": 99999, "fn_name": "__init__", "data": 1}'),
    ("POST", "/gradio_api/reset", b'{"event_id": "x"}'),
    ("POST", "/gradio_api/upload", b"nothing"),
    ("POST", "/gradio_api/cancel", b'{"session_hash": "x", "fn_index": 99999, "event_id": "x"}'),
    ("POST", "/login", b"x"),
    ("GET", "/none", None),
    ("GET", "/static/../../etc/passwd", None),
    ("GET", "/assets/%2e%2e/%2e%2e/etc/passwd", None),
    ("GET", "/custom_component/x/y/z", None),
    ("GET", "/svelte/..%2f..%2fetc", None),
    ("DELETE", "/config", None),
]


@pytest.mark.parametrize(("method", "path", "body"), STRANGE, ids=[f"{method} {path}" for method, path, _ in STRANGE])
def test_no_answer_of_gradio_tells_of_traces_or_places(api, method, path, body):
    answer = api.request(method, path, content=body, headers={"content-type": "application/json"})
    assert answer.headers["x-request-id"]
    for word in ("Traceback", "site-packages", *PLACES, 'File "', ".py"):
        assert word not in answer.text or answer.headers["content-type"].startswith("text/html"), (word, answer.text[:500])
    if answer.status_code >= 500:
        assert answer.json()["error"].startswith("The server failed on this request."), answer.text


def ready() -> Life:
    life = Life()
    life.state = "ready"
    return life


def client_of(app, **settings) -> httpx.AsyncClient:
    limits = Limits(app, Settings(**settings), Metrics(), ready())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=limits), base_url="http://localhost")


def test_a_fault_is_a_sentence_with_its_number_and_no_trace(caplog):
    async def broken(scope, receive, send):
        raise RuntimeError("a secret of /home/somebody")

    async def go() -> httpx.Response:
        async with client_of(broken) as client:
            return await client.get("/", headers={"x-request-id": "broke-1"})

    answer = asyncio.run(go())
    assert answer.status_code == 500 and answer.headers["x-request-id"] == "broke-1"
    assert answer.json() == {"error": "The server failed on this request. Its log has it under broke-1."}
    assert "a secret of /home/somebody" in caplog.text


def test_a_frameworks_own_words_for_a_fault_are_replaced():
    async def go() -> httpx.Response:
        async with client_of(PlainTextResponse("Internal Server Error: /home/somebody", 500)) as client:
            return await client.get("/")

    answer = asyncio.run(go())
    assert answer.status_code == 500 and "The server failed" in answer.json()["error"] and "/home" not in answer.text


def test_all_bodies_together_have_a_bound():
    """With room for one waiting request, two bodies of one bound each are one too many; what is done with is forgotten."""
    began, go_on = asyncio.Event(), asyncio.Event()

    async def hold(scope, receive, send):
        await Request(scope, receive).body()
        began.set()
        await go_on.wait()
        await JSONResponse({})(scope, receive, send)

    async def go() -> list[int]:
        async with client_of(hold, max_body=1000, workers=1, queue=0) as client:
            first = asyncio.create_task(client.post("/", content=bytes(1000)))
            await began.wait()
            second = await client.post("/", content=bytes(1000))
            go_on.set()
            return [(await first).status_code, second.status_code, (await client.post("/", content=bytes(1000))).status_code]

    assert asyncio.run(go()) == [200, 503, 200]
