"""POST /api/classify and its neighbours: right answers, sentences for the rest, a bound on every body."""

import base64
import io
import re

import pytest
from PIL import Image

MODEL = {"model": "colors-templates"}


@pytest.fixture(scope="module")
def red() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), "red").save(stream, "PNG")
    return stream.getvalue()


def test_the_server_is_live_and_ready(api):
    assert api.get("/healthz/live").json() == {"status": "live"}
    ready = api.get("/healthz/ready")
    assert ready.status_code == 200
    told = {"status": "ready", "bundles": ["colors-templates", "digits-templates"], "broken": {}, "refused": {}, "galleries": {}}
    assert ready.json() == told


def test_a_form_and_a_raw_body_give_the_same_answer(api, red):
    form = api.post("/api/classify", params=MODEL, files={"image": ("red.png", red, "image/png")})
    raw = api.post("/api/classify", params=MODEL, content=red, headers={"content-type": "image/png"})
    assert form.status_code == raw.status_code == 200
    assert form.json() == raw.json()
    assert set(form.json()) == {"model", "label", "predictions"}
    assert [entry["label"] for entry in form.json()["predictions"]][0] == form.json()["label"] == "red"
    assert len(form.json()["predictions"]) == 5


def test_top_says_how_many_labels(api, red):
    answer = api.post("/api/classify", params={**MODEL, "top": 10}, content=red).json()
    assert len(answer["predictions"]) == 10
    assert sum(entry["probability"] for entry in answer["predictions"]) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("top", ["0", "-1", "many", "1e3", "99999999999"])
def test_a_wrong_top_is_named(api, red, top):
    answer = api.post("/api/classify", params={**MODEL, "top": top}, content=red)
    assert answer.status_code == 400 and f"Received: {top}" in answer.json()["error"]


def test_a_model_must_be_named(api, red):
    answer = api.post("/api/classify", content=red)
    assert answer.status_code == 400 and "colors-templates, digits-templates" in answer.json()["error"]


def test_an_unknown_model_suggests_the_nearest(api, red):
    answer = api.post("/api/classify", params={"model": "digit-template"}, content=red)
    assert answer.status_code == 404 and "Did you mean digits-templates?" in answer.json()["error"]


@pytest.mark.parametrize("model", ["../colors-templates", "x" * 5000, "\x00", "colors-templates/"])
def test_a_strange_model_name_is_just_unknown(api, red, model):
    answer = api.post("/api/classify", params={"model": model}, content=red)
    assert answer.status_code == 404 and len(answer.text) < 300


def test_the_form_field_must_be_a_file_named_image(api, red):
    for wrong in ({"files": {"picture": red}}, {"files": {"x": red}, "data": {"image": "text"}}):
        answer = api.post("/api/classify", params=MODEL, **wrong)
        assert answer.status_code == 422 and "a file field named image" in answer.json()["error"]


def test_a_broken_form_is_a_client_error(api):
    for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
        answer = api.post("/api/classify", params=MODEL, content=b"--y\r\nnothing", headers={"content-type": kind})
        assert 400 <= answer.status_code < 500 and answer.json()["error"]


def test_other_methods_and_routes_answer_in_a_sentence(api):
    assert api.get("/api/classify").status_code == 405
    answer = api.get("/api/nothing")
    assert answer.status_code == 404 and "POST /api/classify" in answer.json()["error"]


def test_every_answer_has_a_request_id_and_a_given_one_is_kept(api, red):
    one, two = (api.get("/healthz/live").headers["x-request-id"] for _ in range(2))
    assert one != two
    kept = api.post("/api/classify", params={"model": "?"}, content=red, headers={"x-request-id": "order-66"})
    assert kept.headers["x-request-id"] == "order-66"
    assert api.get("/healthz/live", headers={"x-request-id": "a b;c"}).headers["x-request-id"] != "a b;c"


def test_pages_may_load_from_this_host_only(api):
    assert "default-src 'self'" in api.get("/").headers["content-security-policy"]


def too_large_for(api, path: str, body) -> None:
    answer = api.post(path, params=MODEL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json() == {"error": "The request is too large: at most 8 MB are accepted."}


ROUTES = [
    "/api/classify",
    "/gradio_api/queue/join",
    "/gradio_api/call/classify",
    "/gradio_api/run/classify",
    "/gradio_api/component_server",
]


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_beyond_the_limit_is_refused_by_its_announced_length(api, path):
    picture = "data:image/png;base64," + base64.b64encode(bytes(7_000_000)).decode()
    too_large_for(api, path, f'{{"data": ["colors-templates", {{"path": null, "url": "{picture}"}}]}}'.encode())


@pytest.mark.parametrize("path", ROUTES)
def test_a_body_beyond_the_limit_is_refused_while_it_streams(api, path):
    too_large_for(api, path, (bytes(1_000_000) for _ in range(12)))


def test_one_uploaded_file_beyond_the_limit_is_refused(api):
    answer = api.post("/gradio_api/upload", files={"files": ("a.png", bytes(9_000_000))})
    assert answer.status_code == 413


def test_a_folder_of_files_may_be_larger_together(api):
    answer = api.post("/gradio_api/upload", files=[("files", (f"{number}.png", bytes(7_000_000))) for number in range(3)])
    assert answer.status_code == 200 and len(answer.json()) == 3


def test_gradio_runs_nothing_past_its_queue(api):
    answer = api.post("/gradio_api/run/classify", json={"data": ["colors-templates", None]})
    assert answer.status_code == 404


def test_gradio_serves_no_file_that_is_not_its_own(api, bundles):
    bundle = f"{bundles.resolve()}/colors-templates"
    for path in ("/etc/passwd", f"{bundle}/card.json", f"{bundle}/examples/red-0.png", "apps/server.py"):
        assert api.get(f"/gradio_api/file={path}").status_code in (403, 404)


def test_example_pictures_are_served_and_nothing_beside_them(api, bundles):
    picture = bundles / "colors-templates" / "examples" / "red-0.png"
    answer = api.get("/examples/colors-templates/red-0.png")
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, picture.read_bytes(), "image/png")
    for path in ("colors-templates/card.json", "colors-templates/..%2fcard.json", "colors-templates/model.onnx", "none/red-0.png", ""):
        answer = api.get(f"/examples/{path}")
        assert answer.status_code == 404 and answer.json()["error"], path


def test_the_interface_is_described(api):
    document = api.get("/openapi.json").json()
    assert document == api.get("/api/openapi.json").json()
    operation = document["paths"]["/api/classify"]["post"]
    assert "multipart/form-data" in operation["requestBody"]["content"]
    assert set(operation["responses"]) == {"200", "400", "403", "404", "408", "413", "415", "422", "503", "504"}


def test_every_declared_answer_has_a_schema_and_a_number(api):
    for path, operations in api.get("/openapi.json").json()["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                assert "X-Request-Id" in answer["headers"] and bool(answer.get("content")) == (status != "204"), (path, status)


def test_the_docs_are_served_from_here(api):
    page = api.get("/docs")
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert page.status_code == 200 and len(addresses) == 3 and "://" not in page.text.partition("</head>")[2]
    assert all(api.get(f"/{address}").status_code == 200 for address in addresses)
    assert "://" not in "".join(addresses)
