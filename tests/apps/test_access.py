"""Who may ask: the token, the login, the Host names, and no page of another site."""

import asyncio
import re

import httpx
import pytest
from starlette.responses import PlainTextResponse

from apps.access import Access, host_allowed
from apps.life import Life
from apps.metrics import Metrics
from apps.settings import Settings

TOKEN = {"authorization": "Bearer right-token"}
LOOPBACK = ["127.0.0.1", "::1", "localhost"]


@pytest.fixture(scope="module")
def secured(own_server, bundles, tmp_path_factory):
    audit = tmp_path_factory.mktemp("audit") / "sockets.log"
    server = own_server(bundles, audit, "--token", "right-token", "--login", "alice:wonderland", "--log-format", "json")
    with httpx.Client(base_url=server.url, timeout=120) as client:
        yield client


GUARDED = [
    "/v2",
    "/v2/models/digits-templates",
    "/api/classify",
    "/api/match",
    "/api/gallery",
    "/api/none",
    "/metrics",
    "/v2/repository/index",
]


@pytest.mark.parametrize("path", GUARDED)
def test_programs_need_the_token(secured, path):
    assert secured.get(path).status_code == 401 and secured.get(path).headers["www-authenticate"] == "Bearer"
    for wrong in ("Bearer wrong", "Bearer right-token2", "Bearer", "Basic right-token", "right-token", "Bearer r\u00efght"):
        answer = secured.get(path, headers={"authorization": wrong.encode("latin-1")})  # type: ignore[dict-item]
        assert answer.status_code == 401 and answer.json()["error"], wrong
    assert secured.get(path, headers=TOKEN).status_code in (200, 400, 404, 405)
    assert secured.get(path, headers={"authorization": "bearer right-token"}).status_code in (200, 400, 404, 405)


@pytest.mark.parametrize("path", ["/healthz/live", "/healthz/ready", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json"])
def test_health_and_docs_need_no_token(secured, path):
    assert secured.get(path).status_code == 200


def test_the_document_says_which_routes_need_the_token(secured):
    document = secured.get("/openapi.json").json()
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert (
        document["paths"]["/metrics"]["get"]["security"] == [{"token": []}] and "401" in document["paths"]["/metrics"]["get"]["responses"]
    )
    assert "security" not in document["paths"]["/healthz/live"]["get"]


def test_the_pages_need_the_login(secured, bundles):
    assert secured.get("/config").status_code == 401
    assert '"auth_required"' in secured.get("/").text.replace("auth_required:", '"auth_required":')
    picture = {"files": ("a.png", b"x")}
    assert secured.post("/gradio_api/upload", files=picture).status_code == 401
    assert secured.post("/login", data={"username": "alice", "password": "wrong"}).status_code == 400
    with httpx.Client(base_url=secured.base_url, timeout=120) as browser:
        assert browser.post("/login", data={"username": "alice", "password": "wonderland"}).json() == {"success": True}
        assert browser.get("/config").status_code == 200
        assert browser.post("/gradio_api/upload", files=picture).status_code == 200


def test_a_page_whose_name_was_pointed_at_this_machine_is_refused(api):
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example:7860", ""):
        answer = api.get("/healthz/live", headers={"host": host})
        assert answer.status_code in (400, 403), host  # 400: an empty Host is no HTTP/1.1
        assert answer.headers["x-request-id"]
    assert api.get("/", headers={"host": "evil.example"}).status_code == 403
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:7860", "localhost."):
        assert api.get("/healthz/live", headers={"host": host}).status_code == 200, host


@pytest.mark.parametrize(
    ("host", "names", "right"),
    [
        ("example.org", ["*"], True),
        ("", ["*"], True),
        ("example.org:80", ["example.org"], True),
        ("a.example.org", ["*.example.org"], True),
        ("example.org", ["*.example.org"], False),
        ("evilexample.org", ["*.example.org"], False),
        ("", LOOPBACK, False),
        ("[::1", LOOPBACK, False),
        ("user@localhost", LOOPBACK, True),
        ("localhost@evil.example", LOOPBACK, False),
    ],
)
def test_a_host_is_compared_by_its_name(host, names, right):
    assert host_allowed(host, names) is right


CROSS = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
]


@pytest.mark.parametrize(
    "path",
    ["/api/classify", "/api/match", "/api/gallery", "/v2/models/digits-templates/infer", "/v2/repository/reload", "/gradio_api/queue/join"],
)
@pytest.mark.parametrize("headers", CROSS, ids=str)
def test_a_page_of_another_site_may_not_post(api, path, headers):
    answer = api.post(path, content=b"{}", headers=headers)
    assert answer.status_code == 403 and "other sites" in answer.json()["error"]


def test_a_program_and_our_own_page_may_post(api):
    own = str(api.base_url)
    for headers in ({}, {"sec-fetch-site": "same-origin", "origin": own}, {"sec-fetch-site": "none"}, {"origin": own}):
        assert api.post("/v2/repository/index", headers=headers).status_code == 200, headers


def test_no_answer_opens_itself_to_other_origins(api):
    asked = {"origin": "http://127.0.0.1:9", "access-control-request-method": "POST"}
    for answer in (api.options("/gradio_api/queue/join", headers=asked), api.get("/config", headers=asked), api.get("/v2", headers=asked)):
        assert not any(name.startswith("access-control-") for name in answer.headers)


def test_the_pages_may_use_the_camera_and_nobody_may_frame_them(api):
    headers = api.get("/").headers
    assert "camera=(self)" in headers["permissions-policy"] and "microphone=()" in headers["permissions-policy"]
    assert headers["content-security-policy"].endswith("frame-ancestors 'self'") and headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["referrer-policy"] == "same-origin" and headers["x-content-type-options"] == "nosniff"


def ask(settings: Settings, life: Life, method: str, path: str, **headers: str) -> httpx.Response:
    app = Access(PlainTextResponse("passed"), settings, Metrics(), life)

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:  # type: ignore[arg-type]
            return await client.request(method, path, headers=headers)

    return asyncio.run(send())


def ready() -> Life:
    life = Life()
    life.state = "ready"
    return life


def test_strangers_do_not_load_and_unload():
    public = Settings(host="0.0.0.0")
    for path in ("/v2/repository/models/x/load", "/v2/repository/models/x/unload", "/v2/repository/reload"):
        assert ask(public, ready(), "POST", path).status_code == 403
        assert ask(Settings(control=False), ready(), "POST", path).status_code == 403
        assert ask(Settings(), ready(), "POST", path).status_code == 200
        assert ask(Settings(host="0.0.0.0", token="x"), ready(), "POST", path, authorization="Bearer x").status_code == 200  # type: ignore[arg-type]
    assert ask(public, ready(), "POST", "/v2/repository/index").status_code == 200


@pytest.mark.parametrize(("method", "path"), [("POST", ""), ("PATCH", "/x"), ("DELETE", "/x"), ("DELETE", "/x/pictures/y")])
def test_strangers_change_no_gallery(method, path):
    route = f"/api/gallery{path}"
    for settings in (Settings(host="0.0.0.0"), Settings(enrol=False), Settings(enrol=False, token="x")):  # type: ignore[arg-type]
        answer = ask(settings, ready(), method, route, authorization="Bearer x")
        assert answer.status_code == 403 and "The gallery cannot be changed here" in answer.json()["error"]
    assert ask(Settings(), ready(), method, route).status_code == 200
    assert ask(Settings(host="0.0.0.0", token="x"), ready(), method, route, authorization="Bearer x").status_code == 200  # type: ignore[arg-type]
    assert ask(Settings(), ready(), method, route, **{"sec-fetch-site": "cross-site"}).status_code == 403


def test_strangers_may_look_at_a_gallery_and_search_it():
    for method, path in (("GET", "/api/gallery"), ("GET", "/api/gallery/x"), ("POST", "/api/match")):
        assert ask(Settings(host="0.0.0.0"), ready(), method, path).status_code == 200
        assert ask(Settings(token="x"), ready(), method, path).status_code == 401  # type: ignore[arg-type]


def test_visitors_of_a_public_page_enrol_nobody_without_a_login():
    assert Settings().enrollable_on_pages and not Settings(host="0.0.0.0", token="x").enrollable_on_pages  # type: ignore[arg-type]
    assert Settings(host="0.0.0.0", token="x", login="a:b").enrollable_on_pages  # type: ignore[arg-type]
    assert not Settings(enrol=False).enrollable_on_pages


def test_while_starting_only_health_figures_and_docs_answer():
    starting = Life()
    for path in ("/", "/api/classify", "/v2/models/x/infer", "/config"):
        answer = ask(Settings(), starting, "GET", path)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1") and "starting" in answer.json()["error"]
    for path in ("/healthz/ready", "/v2/health/ready", "/metrics", "/docs", "/openapi.json"):
        assert ask(Settings(), starting, "GET", path).status_code == 200


def test_refusals_are_counted_by_their_reason(api):
    assert api.post("/api/classify", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    found = re.search(r'kerasdl_rejected_total\{reason="cross_site"\} (\d+)', api.get("/metrics").text)
    assert found and int(found[1]) >= 1
