"""What every request meets first, page or API: a number, a bound on its body in bytes and seconds, headers that bind the browser."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from typing import Any

import h11
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from apps.life import Life
from apps.logs import REQUEST_ID
from apps.metrics import Metrics
from apps.settings import Settings

log = logging.getLogger("apps")

MAX_UPLOAD = 64_000_000  # gradio sends a folder's files in one body; each file is held to max_body by gradio itself
UPLOAD_ROUTE = "/gradio_api/upload"
ENDLESS_ROUTE = "/gradio_api/heartbeat/"  # an open page holds it for as long as it is open
OWN_ROUTES = ("/api/", "/v2", "/healthz/", "/metrics")
DRAIN_BYTES = 8 * MAX_UPLOAD  # a client reads the answer only when its body is sent: swallow this much of it first
DRAIN_SECONDS = 10
REQUEST_ID_FORM = re.compile(rb"[A-Za-z0-9._-]{1,64}")
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors "
)
ALWAYS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # no-referrer would make the login form's Origin null, which gradio refuses
    "permissions-policy": "camera=(self), microphone=(), geolocation=(), payment=(), usb=(), serial=(), midi=(), "
    "display-capture=(), browsing-topics=()",
    "cross-origin-resource-policy": "same-origin",
}


class BodyRefused(Exception):
    """Ends the reading of a body; the answer is sent by Limits."""


async def gone(request: Request) -> None:
    """Returns when the client has left; to be started once the body is read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class Limits:
    """ASGI middleware around the whole app. Content-Length is believed only when it is too large; the stream is counted."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, life: Life):
        self.app = app
        self.settings, self.metrics, self.life = settings, metrics, life
        self.held = 0  # bytes of bodies of all requests under way
        self.may_hold = (settings.workers + settings.queue) * settings.max_body
        self.headers = security_headers(settings.frame_ancestors)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await Exchange(self, scope, receive, send).run()
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)

    def limit_for(self, path: str) -> int:
        return max(MAX_UPLOAD, self.settings.max_body) if path == UPLOAD_ROUTE else self.settings.max_body


def security_headers(frame_ancestors: list[str]) -> list[tuple[bytes, bytes]]:
    headers = ALWAYS | {"content-security-policy": POLICY + " ".join(["'self'", *frame_ancestors])}
    if not frame_ancestors:
        headers["x-frame-options"] = "SAMEORIGIN"
    return [(name.encode(), value.encode()) for name, value in headers.items()]


class Exchange:
    """One request and its answer."""

    def __init__(self, limits: Limits, scope: Scope, receive: Receive, send: Send):
        self.limits = limits
        self.scope, self._receive, self._send = scope, receive, send
        self.limit = limits.limit_for(scope["path"])
        self.seconds = limits.settings.body_seconds * self.limit / limits.settings.max_body  # a larger body may take longer
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        self.id = given if REQUEST_ID_FORM.fullmatch(given) else uuid.uuid4().hex.encode()
        announced = headers.get(b"content-length", b"0")
        self.announced = int(announced[:18]) if announced.isdigit() else 0
        self.began = time.monotonic()
        self.body_ends: float | None = None
        self.whole = self.refused = self.failed = False
        self.received = self.status = 0

    async def run(self) -> None:
        self.scope.setdefault("state", {})["request_id"] = self.id.decode()
        token = REQUEST_ID.set(self.id.decode())
        try:
            await self.answer()
        finally:
            if self.counted:
                self.limits.held -= self.received
            self.report()
            REQUEST_ID.reset(token)

    async def answer(self) -> None:
        if self.announced > self.limit:
            await self.refuse_size(more=True)
            return
        try:
            await self.limits.app(self.scope, self.receive, self.send)
        except BodyRefused:
            return
        except Exception as error:
            if self.refused or error_is(error, (BodyRefused, ClientDisconnect)) or (self.status and error_is(error, (TimeoutError,))):
                return
            if self.status and isinstance(error.__cause__, HTTPException):  # gradio says "no such session" in a stream, then raises
                await self._send({"type": "http.response.body", "body": b""})
                return
            self.failed = True
            log.exception("the request failed: %s %s", self.scope["method"], self.scope["path"][:200])
        if self.failed and not self.status:
            sentence = f"The server failed on this request. Its log has it under {self.id.decode()}."
            await self.say(500, sentence, [])

    async def receive(self) -> Message:
        if self.whole:
            return await self.receive_end()
        message = await self.receive_part()
        size = len(message.get("body", b""))
        self.received += size
        if self.counted:
            self.limits.held += size
        self.whole = message["type"] == "http.disconnect" or not message.get("more_body", False)
        if not self.refused and self.received > self.limit:
            await self.refuse_size(not self.whole)
        if not self.refused and self.limits.held > self.limits.may_hold:
            await self.refuse(503, "busy", "The server holds as many bodies as it may. Try again in a moment.", [(b"retry-after", b"1")])
        if self.refused:
            raise BodyRefused
        return message

    async def receive_part(self) -> Message:
        if self.body_ends is None:
            self.body_ends = time.monotonic() + self.seconds
        try:
            return await asyncio.wait_for(self._receive(), max(0.0, self.body_ends - time.monotonic()))
        except TimeoutError:
            await self.refuse(408, "slow", f"The body took too long: it must arrive within {self.seconds:g} seconds.", [])
            raise BodyRefused from None

    async def receive_end(self) -> Message:
        """The client leaves; a stream without an end is told so when the door closes, or it would hold the server up."""
        if not self.scope["path"].startswith(ENDLESS_ROUTE):
            return await self._receive()
        ends = [asyncio.ensure_future(self._receive()), asyncio.ensure_future(self.limits.life.closing.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        return {"type": "http.disconnect"}

    @property
    def counted(self) -> bool:
        """Uploads go to the disk as they come, everything else lies in memory."""
        return self.scope["path"] != UPLOAD_ROUTE

    async def send(self, message: Message) -> None:
        if self.refused or self.failed:
            return
        if message["type"] == "http.response.start":
            headers = message.get("headers", [])
            if message["status"] == 500 and is_plain(headers):  # a framework's own words for a fault: run() has better ones
                self.failed = True
                return
            self.status = message["status"]
            message["headers"] = [*filter(allowed, headers), *self.own_headers()]
        async with asyncio.timeout(self.seconds):  # a client that does not read would hold its request for ever
            await self._send(message)

    def own_headers(self) -> list[tuple[bytes, bytes]]:
        closing = [(b"connection", b"close")] if self.limits.life.state == "draining" else []
        return [(b"x-request-id", self.id), *self.limits.headers, *closing]

    async def refuse_size(self, more: bool) -> None:
        self.refused = True
        await self.drain(more)
        await self.refuse(413, "large", f"The request is too large: at most {self.limit / 1e6:g} MB are accepted.", [])

    async def refuse(self, status: int, reason: str, sentence: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.refused = True
        self.limits.metrics.rejected.labels(reason).inc()
        if not self.status:
            await self.say(status, sentence, [*headers, (b"connection", b"close")])

    async def say(self, status: int, sentence: str, headers: list[tuple[bytes, bytes]]) -> None:
        self.status = status
        body = json.dumps({"error": sentence}).encode()
        own = [name for name in self.own_headers() if name not in headers]
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *headers, *own]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def drain(self, more: bool) -> None:
        end, swallowed = time.monotonic() + DRAIN_SECONDS, self.received
        while more and swallowed < DRAIN_BYTES and self.announced < DRAIN_BYTES and time.monotonic() < end:
            try:
                message = await asyncio.wait_for(self._receive(), end - time.monotonic())
            except TimeoutError:
                return
            swallowed += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)

    def report(self) -> None:
        """One line in the log and the figures; 499 is a client that left before its answer."""
        seconds, route, method = time.monotonic() - self.began, template(self.scope), self.scope["method"]
        status = self.status or 499
        self.limits.metrics.answered(route, method, status, seconds)
        quiet = status < 400 and (method in ("GET", "HEAD") or not self.scope["path"].startswith(OWN_ROUTES))
        facts = {"method": method[:16], "route": route, "status": status, "ms": round(1000 * seconds, 2), "bytes_in": self.received}
        words = ("%s %s %s %.1f ms", method[:16], self.scope["path"][:200], status, 1000 * seconds)
        log.log(logging.DEBUG if quiet else logging.INFO, *words, extra=facts)


def allowed(header: tuple[bytes, bytes]) -> bool:
    """Nothing of ours is for scripts of other origins; gradio would allow them all on a public host."""
    return not header[0].lower().startswith(b"access-control-")


def is_plain(headers: Any) -> bool:
    return any(name.lower() == b"content-type" and value.startswith(b"text/plain") for name, value in headers)


def error_is(error: BaseException, kinds: tuple[type[BaseException], ...]) -> bool:
    """Task groups wrap what was raised in them."""
    return isinstance(error, kinds) or any(error_is(part, kinds) for part in getattr(error, "exceptions", ()))


def template(scope: Scope) -> str:
    """/v2/models/{name}/infer: of the few routes there are, never what the client wrote."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) and path else "none"


class Connection(H11Protocol):
    """uvicorn's HTTP/1.1 with a bound on the seconds of a head, and JSON with a number for what is no HTTP at all."""

    head_seconds = 20.0
    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.watch_head(True)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.watch_head(self.conn.their_state is h11.IDLE and not self.transport.is_closing())

    def connection_lost(self, exc: Exception | None) -> None:
        self.watch_head(False)
        super().connection_lost(exc)

    def watch_head(self, incomplete: bool) -> None:
        if incomplete and self.head_timer is None:
            self.head_timer = self.loop.call_later(self.head_seconds, self.transport.close)
        elif not incomplete and self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def send_400_response(self, msg: str) -> None:
        body = b'{"error": "The request must be HTTP/1.1."}'
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        headers.append((b"x-request-id", uuid.uuid4().hex.encode()))
        for event in (h11.Response(status_code=400, headers=headers, reason=b"Bad Request"), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def connection_class(head_seconds: float) -> type[Connection]:
    class Bounded(Connection): ...

    Bounded.head_seconds = head_seconds
    return Bounded


__all__ = ["BodyRefused", "connection_class", "Limits", "gone"]
