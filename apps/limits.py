"""What every request meets first, pages and API alike: a number, a bound on its body, and headers that keep the browser on this host."""

from __future__ import annotations

import json
import re
import time
import uuid

from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 8_000_000
MAX_UPLOAD = 64_000_000  # gradio sends a folder's files in one body; each file is held to MAX_BODY by gradio itself
UPLOAD_ROUTE = "/gradio_api/upload"
DRAIN_BYTES = 8 * MAX_UPLOAD  # a client reads the answer only when its body is sent: swallow this much of it first
DRAIN_SECONDS = 10
REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' data: blob:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)


class BodyTooLarge(Exception):
    """Ends the reading of a body; the answer 413 is sent by Limits."""


class Limits:
    """ASGI middleware around the whole app. Content-Length is believed only when it is too large; the stream is counted."""

    def __init__(self, app: ASGIApp, max_body: int = MAX_BODY):
        self.app = app
        self.max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await Exchange(self, scope, receive, send).run()

    def limit_for(self, path: str) -> int:
        return max(MAX_UPLOAD, self.max_body) if path.endswith(UPLOAD_ROUTE) else self.max_body


class Exchange:
    """One request and its answer."""

    def __init__(self, limits: Limits, scope: Scope, receive: Receive, send: Send):
        self.app = limits.app
        self.limit = limits.limit_for(scope["path"])
        self.scope, self._receive, self._send = scope, receive, send
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        self.id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        self.announced = int(headers.get(b"content-length", b"0")) if headers.get(b"content-length", b"0").isdigit() else 0
        self.received = 0
        self.started = self.refused = False

    async def run(self) -> None:
        self.scope.setdefault("state", {})["request_id"] = self.id.decode()
        if self.announced > self.limit:
            await self.refuse(more=True)
            return
        try:
            await self.app(self.scope, self.receive, self.send)
        except BodyTooLarge:
            pass
        except Exception:
            if not self.refused:
                raise

    async def receive(self) -> Message:
        message = await self._receive()
        self.received += len(message.get("body", b""))
        if message["type"] == "http.request" and self.received > self.limit and not self.refused:
            await self.refuse(message.get("more_body", False))
        if self.refused:
            raise BodyTooLarge
        return message

    async def send(self, message: Message) -> None:
        if self.refused:
            return
        if message["type"] == "http.response.start":
            self.started = True
            message["headers"] = [*message.get("headers", []), *self.own_headers()]
        await self._send(message)

    def own_headers(self) -> list[tuple[bytes, bytes]]:
        return [(b"x-request-id", self.id), (b"content-security-policy", POLICY.encode()), (b"x-content-type-options", b"nosniff")]

    async def refuse(self, more: bool) -> None:
        self.refused = True
        await self.drain(more)
        if self.started:
            return
        sentence = f"The request is too large: at most {self.limit / 1e6:g} MB are accepted."
        body = json.dumps({"error": sentence}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), (b"connection", b"close")]
        await self._send({"type": "http.response.start", "status": 413, "headers": headers + self.own_headers()})
        await self._send({"type": "http.response.body", "body": body})

    async def drain(self, more: bool) -> None:
        end = time.monotonic() + DRAIN_SECONDS
        while more and self.received < DRAIN_BYTES and self.announced < DRAIN_BYTES and time.monotonic() < end:
            message = await self._receive()
            self.received += len(message.get("body", b""))
            more = message["type"] == "http.request" and message.get("more_body", False)
