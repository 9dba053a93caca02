"""Who may ask: the Host names this server answers to, no other site's forms, a token for programs, no control for strangers."""

from __future__ import annotations

import hmac
from typing import NamedTuple
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from apps.life import Life
from apps.metrics import Metrics
from apps.settings import Settings

GUARDED = ("/api", "/v2", "/metrics")
HEALTH = ("/healthz", "/v2/health")
BEFORE_READY = (*HEALTH, "/metrics", "/docs", "/openapi.json")
CONTROL = ("/v2/repository/models", "/v2/repository/reload")
PEOPLE = ("/api/gallery",)
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class Refusal(NamedTuple):
    """Why a request goes no further."""

    status: int
    reason: str
    sentence: str
    header: tuple[str, str] | None = None


STARTING = Refusal(503, "starting", "The server is starting. Try again in a moment.", ("retry-after", "1"))
WRONG_HOST = Refusal(403, "host", "This server does not answer to this Host name. Its owner can add it: --allowed-hosts.")
CROSS_SITE = Refusal(403, "cross_site", "Pages of other sites may not send requests here.")
NO_TOKEN = Refusal(401, "token", "Send the header Authorization: Bearer TOKEN.", ("www-authenticate", "Bearer"))
WRONG_TOKEN = Refusal(401, "token", "The token is wrong.", ("www-authenticate", 'Bearer error="invalid_token"'))
NO_CONTROL = Refusal(
    403, "control", "Bundles cannot be loaded or unloaded here: the server needs a token for that, or its owner has turned it off."
)
NO_CHANGES = Refusal(403, "enrol", "The gallery cannot be changed here: the server needs a token for that, or its owner has turned it off.")


class Access:
    """ASGI middleware: the first rule that is broken answers."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics, life: Life):
        self.app, self.settings, self.metrics, self.life = app, settings, metrics, life
        self.token = settings.token.get_secret_value().encode() if settings.token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self.app(scope, receive, send)
            return
        self.metrics.rejected.labels(refusal.reason).inc()
        headers = dict([refusal.header]) if refusal.header else None
        await JSONResponse({"error": refusal.sentence}, refusal.status, headers)(scope, receive, send)

    def refusal(self, scope: Scope) -> Refusal | None:
        headers, path = Headers(scope=scope), scope["path"]
        if not host_allowed(headers.get("host", ""), self.settings.allowed_hosts):
            return WRONG_HOST
        if scope["method"] not in SAFE_METHODS and from_another_site(headers):
            return CROSS_SITE
        if self.token is not None and below(path, GUARDED) and not below(path, HEALTH):
            problem = self.token_problem(headers.get("authorization", ""))
            if problem:
                return problem
        if below(path, CONTROL) and not self.settings.controllable:
            return NO_CONTROL
        if below(path, PEOPLE) and scope["method"] not in SAFE_METHODS and not self.settings.enrollable:
            return NO_CHANGES
        return STARTING if self.life.state == "starting" and not below(path, BEFORE_READY) else None

    def token_problem(self, authorization: str) -> Refusal | None:
        scheme, _, given = authorization.partition(" ")
        if scheme.lower() != "bearer":
            return NO_TOKEN
        same = hmac.compare_digest(given.strip().encode("latin-1"), self.token or b"")
        return None if same else WRONG_TOKEN


def below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)


def host_allowed(host: str, names: list[str]) -> bool:
    """A page of the attacker's, its name pointed at 127.0.0.1, still sends its own name."""
    name = host_name(host)
    return any(rule == "*" or name == rule.lower() or (rule.startswith("*.") and name.endswith(rule[1:].lower())) for rule in names)


def host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def from_another_site(headers: Headers) -> bool:
    """What the browser says of itself; a program sends neither header. An older browser sends only Origin."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("cross-site", "same-site")
    origin = headers.get("origin")
    return origin is not None and host_name(origin.partition("://")[2]) != host_name(headers.get("host", ""))


__all__ = ["Access", "Refusal"]
