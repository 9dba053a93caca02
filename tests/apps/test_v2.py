"""The Open Inference Protocol v2, asked by tritonclient over HTTP and by hand where a client would not let us be wrong."""

import threading
import time

import httpx
import numpy as np
import orjson
import pytest
import tritonclient.http as triton
import uvicorn
from fastapi import FastAPI
from tritonclient.utils import InferenceServerException

from apps import v2
from apps.__main__ import bind
from apps.engine import Engine
from apps.metrics import Metrics
from apps.repository import Repository
from apps.server import add_errors
from apps.settings import Settings

DIGITS = "digits-templates"
RNG = np.random.default_rng(0)


class Service:
    """The routes of v2 in a real server, in a thread."""

    def __init__(self, repository: Repository, engine: Engine, **settings):
        self.repository, self.engine = repository, engine
        app = FastAPI(version="1.2.3")
        add_errors(app)
        app.include_router(v2.router(repository, engine, Settings(**settings)))
        self.app = app
        self.listener = bind("127.0.0.1", 0)
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"
        self.server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [self.listener]}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.should_exit = True
        self.thread.join(20)
        self.listener.close()
        self.engine.close()
        assert not self.thread.is_alive()


@pytest.fixture
def serve():
    """serve(folder, **settings) -> Service; all are stopped at the end."""
    services: list[Service] = []

    def start(folder, engine=None, **settings) -> Service:
        repository = Repository(folder, metrics=Metrics())
        repository.load_all()
        services.append(Service(repository, engine or Engine(metrics=repository.metrics), **settings))
        return services[-1]

    yield start
    for service in services:
        service.close()


@pytest.fixture(scope="module")
def service(bundles, graph_bundle, make_bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("v2")
    make_bundle(folder, "digits")
    graph_bundle(folder)
    repository = Repository(folder, metrics=Metrics())
    repository.load_all()
    assert not repository.broken
    running = Service(repository, Engine(metrics=repository.metrics), max_batch=8, max_elements=1_000_000)
    yield running
    running.close()


@pytest.fixture
def client(service):
    with triton.InferenceServerClient(service.address) as client:
        yield client


@pytest.fixture(scope="module")
def http(service):
    with httpx.Client(base_url=f"http://{service.address}", timeout=60) as http:
        yield http


def tensor(name: str, array: np.ndarray, binary: bool) -> triton.InferInput:
    datatype = {"uint8": "UINT8", "int64": "INT64", "float32": "FP32"}[array.dtype.name]
    entry = triton.InferInput(name, list(array.shape), datatype)
    entry.set_data_from_numpy(array, binary_data=binary)
    return entry


def test_the_server_says_who_it_is(client, http):
    assert client.is_server_live() and client.is_server_ready()
    assert client.get_server_metadata() == {"name": "kerasdl", "version": "1.2.3", "extensions": v2.EXTENSIONS}


def test_a_model_says_what_it_takes_and_gives(client, service):
    for version in ("", "1"):
        assert client.is_model_ready(DIGITS, version)
        assert client.get_model_metadata(DIGITS, version) == {
            "name": DIGITS,
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "properties": {"file": "model.onnx", "sha256": service.repository.bundles[DIGITS].card["files"]["model.onnx"]},
            "inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 32, 32, 1]}],
            "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]}],
        }
    encoder = client.get_model_metadata("pair.encoder")
    assert [(entry["name"], entry["datatype"], entry["shape"]) for entry in encoder["inputs"]] == [
        ("ids", "INT64", [-1, -1]),
        ("scale", "FP32", [-1, 1]),
    ]
    assert [entry["datatype"] for entry in client.get_model_metadata("pair.decoder")["outputs"]] == ["FP32", "BOOL"]


@pytest.mark.parametrize("binary_in", [False, True])
@pytest.mark.parametrize("binary_out", [False, True])
def test_an_answer_is_what_onnxruntime_says(service, client, binary_in, binary_out):
    batch = RNG.integers(0, 256, (3, 32, 32, 1), dtype=np.uint8)
    expected = service.repository.bundles[DIGITS].run({"image": batch})["probabilities"]
    answer = client.infer(
        DIGITS,
        [tensor("image", batch, binary_in)],
        outputs=[triton.InferRequestedOutput("probabilities", binary_data=binary_out)],
        request_id="one",
    )
    np.testing.assert_array_equal(answer.as_numpy("probabilities"), expected)
    assert answer.get_response()["id"] == "one" and answer.get_response()["model_version"] == "1"


def test_two_graphs_with_integers_numbers_truths_and_free_sides(client):
    ids = np.array([[1, -2, 2**62], [4, 5, 6]], np.int64)
    scale = np.array([[0.5], [-1]], np.float32)
    for binary in (False, True):
        encoded = client.infer("pair.encoder", [tensor("scale", scale, not binary), tensor("ids", ids, binary)], model_version="1")
        np.testing.assert_array_equal(encoded.as_numpy("doubled"), ids * 2)
        np.testing.assert_array_equal(encoded.as_numpy("rows"), ids.astype(np.float32) * scale)
        wanted = [triton.InferRequestedOutput("positive", binary_data=binary)]
        decoded = client.infer("pair.decoder", [tensor("rows", np.array([[1, -2], [0, 3]], np.float32), binary)], outputs=wanted)
        np.testing.assert_array_equal(decoded.as_numpy("positive"), [[True, False], [False, True]])
        assert decoded.as_numpy("total") is None


def test_all_outputs_in_binary_by_one_word(client):
    answer = client.infer("pair.decoder", [tensor("rows", np.ones((2, 3), np.float32), True)])
    np.testing.assert_array_equal(answer.as_numpy("total"), [3, 3])
    assert all("binary_data_size" in entry["parameters"] for entry in answer.get_response()["outputs"])


def test_the_index_names_every_model(client):
    assert client.get_model_repository_index() == [
        {"name": name, "version": "1", "state": "READY", "reason": ""} for name in (DIGITS, "pair.encoder", "pair.decoder")
    ]


def test_unload_and_load_a_bundle(client, service):
    client.unload_model("pair.encoder")
    assert not client.is_model_ready("pair.encoder") and not client.is_model_ready("pair.decoder")
    assert {"name": "pair", "version": "1", "state": "UNAVAILABLE", "reason": "It was unloaded."} in client.get_model_repository_index()
    with pytest.raises(InferenceServerException, match="pair is not served: It was unloaded") as caught:
        client.get_model_metadata("pair.encoder")
    assert caught.value.status() == "503"
    service.repository.reload()
    assert not client.is_model_ready("pair.encoder")
    client.load_model("pair")
    assert client.is_model_ready("pair.encoder") and client.is_server_ready()


def test_the_index_may_leave_out_what_is_not_ready(http, service):
    service.repository.unload("pair")
    names = [[entry["name"] for entry in http.post("/v2/repository/index", json=body).json()] for body in ({}, {"ready": True})]
    service.repository.load("pair")
    assert names == [[DIGITS, "pair"], [DIGITS]]
    for body in (b'{"ready": 1}', b"[]", b"{"):
        assert http.post("/v2/repository/index", content=body).status_code == 400


def test_a_client_hears_what_is_wrong(client):
    picture = tensor("image", np.zeros((1, 32, 32, 1), np.uint8), True)
    with pytest.raises(InferenceServerException, match="Did you mean digits-templates") as caught:
        client.infer("digit-template", [picture])
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="version 1 only. Received: 7"):
        client.infer(DIGITS, [picture], model_version="7")
    with pytest.raises(InferenceServerException, match="several graphs: name one. There is pair.encoder, pair.decoder"):
        client.get_model_metadata("pair")
    with pytest.raises(InferenceServerException, match="as it is. Received: parameters"):
        client.load_model(DIGITS, config="{}")
    with pytest.raises(InferenceServerException, match="There is no bundle named nothing"):
        client.unload_model("nothing")


def request(**changes) -> dict:
    image = {"name": "image", "datatype": "UINT8", "shape": [1, 32, 32, 1], "data": [0] * 1024}
    return {"inputs": [image | changes]}


def two(**changes) -> dict:
    """For pair.encoder: ids as given, scale sound."""
    ids = {"name": "ids", "datatype": "INT64", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]} | changes
    return {"inputs": [ids, {"name": "scale", "datatype": "FP32", "shape": [2, 1], "data": [1, 2]}]}


def rows(data, shape=(1, 2)) -> dict:
    return {"inputs": [{"name": "rows", "datatype": "FP32", "shape": list(shape), "data": data}]}


WRONG = {
    "not JSON": (DIGITS, b"{", "must be JSON. Received"),
    "nothing": (DIGITS, b"", "must be JSON"),
    "a list": (DIGITS, [], "must be a JSON object. Received: []"),
    "deep": (DIGITS, b'{"inputs":' + b"[" * 5000, "must be JSON. Received: depth limit"),
    "many lists": (DIGITS, b'{"inputs": [' + b"[]," * 500_000 + b"[]]}", "at most 500000 lists and objects: send data flat, or in binary."),
    "no inputs": (DIGITS, {}, "inputs must be a list. Received: none"),
    "empty inputs": (DIGITS, {"inputs": []}, "The inputs must be image. Received: none named image"),
    "inputs of text": (DIGITS, {"inputs": ["image"]}, 'must be an object. Received: "image"'),
    "a wrong name": (DIGITS, request(name="picture"), 'must be named image. Received: "picture"'),
    "a name that is none": (DIGITS, request(name=[1]), "must be named image. Received: [1]"),
    "an input twice": (DIGITS, {"inputs": request()["inputs"] * 2}, "named once. Received: image twice"),
    "one of two": ("pair.encoder", {"inputs": two()["inputs"][:1]}, "none named scale"),
    "a wrong datatype": (DIGITS, request(datatype="FP32"), 'must be UINT8. Received: "FP32"'),
    "no datatype": (DIGITS, {"inputs": [{"name": "image", "shape": [1, 32, 32, 1], "data": []}]}, "must be UINT8. Received: none"),
    "bytes": (DIGITS, request(datatype="BYTES"), 'must be UINT8. Received: "BYTES"'),
    "a wrong shape": (DIGITS, request(shape=[1, 28, 28, 1]), "must be [batch, 32, 32, 1]. Received: [1,28,28,1]"),
    "a side less": (DIGITS, request(shape=[1, 32, 32]), "must be [batch, 32, 32, 1]"),
    "no shape": (DIGITS, request(shape=None), "a list of whole numbers. Received: none"),
    "a shape of truths": (DIGITS, request(shape=[True, 32, 32, 1]), "a list of whole numbers. Received: [true,32,32,1]"),
    "a shape of fractions": (DIGITS, request(shape=[1.0, 32, 32, 1]), "a list of whole numbers. Received: [1.0,32,32,1]"),
    "a shape of text": (DIGITS, request(shape="1,32,32,1"), 'Received: "1,32,32,1"'),
    "a negative side": (DIGITS, request(shape=[-1, 32, 32, 1]), "every side at least 1. Received: [-1,32,32,1]"),
    "an empty batch": (DIGITS, request(shape=[0, 32, 32, 1], data=[]), "every side at least 1"),
    "a huge batch": (DIGITS, request(shape=[10**18, 32, 32, 1]), "must be at most 8. Received: 1000000000000000000"),
    "a long shape": (DIGITS, request(shape=[1] * 5000), "Received: a list of 5000"),
    "huge sides": ("pair.decoder", rows([1], (1, 10**15)), "at most 1000000 elements. Received: rows with 1000000000000000"),
    "sides that differ": ("pair.encoder", two(shape=[3, 2]), "must be [batch, 1], the same word the same number. Received: [2,1]"),
    "no data": (DIGITS, request(data=None), "must be a list. Received: none"),
    "data of text": (DIGITS, request(data="0" * 1024), "must be a list. Received"),
    "too little data": (DIGITS, request(data=[0] * 1023), "1024 entries in a list. Received: 1023"),
    "too much data": (DIGITS, request(data=[0] * 1025), "1024 entries in a list. Received: 1025"),
    "ragged data": ("pair.encoder", two(data=[[1, 2, 3, 4], [5, 6]]), "3 entries in a list. Received: 2, 4"),
    "half nested data": ("pair.encoder", two(data=[[1, 2, 3], 4, 5, 6]), "2 entries in a list. Received: 4"),
    "numbers beside lists": ("pair.encoder", two(data=[[1, 2, 3], 4]), "3 entries in a list. Received: numbers beside lists"),
    "nested too deep": ("pair.encoder", two(data=[[[1], [2], [3]], [[4], [5], [6]]]), "must be whole numbers. Received: [1]"),
    "a list among numbers": ("pair.encoder", two(data=[1, 2, 3, 4, 5, [6]]), "must be whole numbers. Received: [6]"),
    "a fraction": ("pair.encoder", two(data=[1, 2, 3, 4, 5, 6.0]), "ids, INT64, must be whole numbers. Received: 6.0"),
    "a truth": ("pair.encoder", two(data=[1, 2, 3, 4, 5, True]), "must be whole numbers. Received: true"),
    "text among numbers": ("pair.encoder", two(data=[1, 2, 3, 4, 5, "6"]), 'must be whole numbers. Received: "6"'),
    "null among numbers": ("pair.encoder", two(data=[1, 2, 3, 4, 5, None]), "must be whole numbers. Received: none"),
    "a number too large": (DIGITS, request(data=[0] * 1023 + [256]), "must fit UINT8, from 0 to 255. Received: 256"),
    "a number too small": (DIGITS, request(data=[-1] + [0] * 1023), "must fit UINT8, from 0 to 255. Received: -1"),
    "beyond int64": ("pair.encoder", two(data=[1, 2, 3, 4, 5, 2**63]), "must fit INT64"),
    "beyond float32": ("pair.decoder", rows([1, 1e39]), "must be finite. Received: inf"),
    "beyond float64": ("pair.decoder", b'{"inputs": [{"name": "rows", "data": [1, 1e400]}]}', "must be JSON"),
    "NaN": ("pair.decoder", b'{"inputs": [{"name": "rows", "data": [NaN, 1]}]}', "must be JSON"),
    "a truth as a number": ("pair.decoder", rows([1, True]), "must be numbers. Received: true"),
    "an id of numbers": (DIGITS, request() | {"id": 7}, "id must be text. Received: 7"),
    "parameters of text": (DIGITS, request() | {"parameters": "x"}, 'parameters must be an object. Received: "x" in The request'),
    "an unknown output": (DIGITS, request() | {"outputs": [{"name": "logits"}]}, 'must be named probabilities. Received: "logits"'),
    "an output twice": (DIGITS, request() | {"outputs": [{"name": "probabilities"}] * 2}, "named once"),
    "outputs of text": (DIGITS, request() | {"outputs": "all"}, "outputs must be a list"),
    "binary as text": (
        DIGITS,
        request() | {"outputs": [{"name": "probabilities", "parameters": {"binary_data": "yes"}}]},
        'binary_data must be true or false. Received: "yes"',
    ),
    "classification": (
        DIGITS,
        request() | {"outputs": [{"name": "probabilities", "parameters": {"classification": 3}}]},
        "The classification extension is not served",
    ),
    "a timeout of text": (DIGITS, request() | {"parameters": {"timeout": "soon"}}, 'number of microseconds. Received: "soon"'),
    "binary without data": (DIGITS, request(parameters={"binary_data_size": 1024}), "data or binary_data_size. Received: image with both"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_with_the_rule_and_the_value(http, case):
    model, body, sentence = WRONG[case]
    answer = http.post(f"/v2/models/{model}/infer", content=body if isinstance(body, bytes) else orjson.dumps(body))
    assert answer.status_code == 400, answer.text
    assert sentence in answer.json()["error"] and len(answer.text) < 400 and "/" not in answer.json()["error"]


def binary(head: dict, blob: bytes, length: str | None = None) -> dict:
    text = orjson.dumps(head)
    return {"content": text + blob, "headers": {"Inference-Header-Content-Length": length or str(len(text))}}


def blob_of(size, **changes) -> dict:
    entry = {"name": "rows", "datatype": "FP32", "shape": [1, 2], "parameters": {"binary_data_size": size}}
    return {"inputs": [entry | changes]}


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (binary(blob_of(8), bytes(7)), "must have the 8 bytes that the tensors say. Received: 7"),
        (binary(blob_of(8), bytes(9)), "must have the 8 bytes that the tensors say. Received: 9"),
        (binary(blob_of(4), bytes(4)), "must be 8, its elements times their bytes. Received: 4"),
        (binary(blob_of(-8), b""), "must be 8"),
        (binary(blob_of(8.0), bytes(8)), "must be 8, its elements times their bytes. Received: 8.0"),
        (binary(blob_of(8, data=[1, 2]), bytes(8)), "data or binary_data_size. Received: rows with both"),
        (binary(blob_of(8), np.array([1, np.nan], "<f4").tobytes()), "must be finite. Received: nan"),
        (binary(blob_of(8), np.array([-np.inf, 0], "<f4").tobytes()), "must be finite. Received: -inf"),
        (binary(rows([1, 2]), bytes(3)), "must have the 0 bytes that the tensors say. Received: 3"),
        (binary(blob_of(8), bytes(8), "0"), "from 1 to the body's"),
        (binary(blob_of(8), bytes(8), "-5"), 'Received: "-5"'),
        (binary(blob_of(8), bytes(8), "9" * 30), "from 1 to the body's"),
        (binary(blob_of(8), bytes(8), "10"), "must be JSON"),
        (binary(blob_of(8), bytes(8), "ten"), 'Received: "ten"'),
    ],
)
def test_binary_data_must_be_what_the_tensors_say(http, asked, sentence):
    answer = http.post("/v2/models/pair.decoder/infer", **asked)
    assert answer.status_code == 400 and sentence in answer.json()["error"], answer.text


def test_data_may_be_flat_or_nested(http):
    flat = http.post("/v2/models/pair.encoder/infer", json=two()).json()
    nested = http.post("/v2/models/pair.encoder/infer", json=two(data=[[1, 2, 3], [4, 5, 6]])).json()
    assert flat == nested
    assert flat["outputs"][0] == {"name": "rows", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 8, 10, 12]}
    assert "id" not in flat and flat["model_name"] == "pair.encoder"


def test_an_answer_that_json_cannot_carry_is_said_and_binary_carries_it(http):
    body = rows([3e38, 3e38])
    answer = http.post("/v2/models/pair.decoder/infer", json=body)
    assert answer.status_code == 400 and "finite numbers only; ask for binary_data. Received: total" in answer.json()["error"]
    answer = http.post("/v2/models/pair.decoder/infer", json=body | {"parameters": {"binary_data_output": True}})
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert np.frombuffer(answer.content[length : length + 4], "<f4")[0] == np.inf


def test_a_compressed_body_is_refused(client):
    with pytest.raises(InferenceServerException, match="must not be compressed. Received: gzip"):
        client.infer(DIGITS, [tensor("image", np.zeros((1, 32, 32, 1), np.uint8), True)], request_compression_algorithm="gzip")


def test_a_client_that_was_wrong_may_be_right_next(http):
    assert http.post(f"/v2/models/{DIGITS}/infer", content=b"{").status_code == 400
    assert http.post(f"/v2/models/{DIGITS}/infer", json=request(id="x")).status_code == 200


def test_inference_is_counted_by_model(service, http):
    http.post("/v2/models/pair.decoder/infer", json=rows([1, 2]))
    page = service.repository.metrics.page().decode()
    assert 'kerasdl_inference_seconds_count{model="pair.decoder"}' in page
    assert 'kerasdl_model_loaded{model="pair"} 1.0' in page


@pytest.mark.parametrize("name", ["x" * 3000, "%00", "..", "%2e%2e%2fetc", f"{DIGITS}%2f", "%20"])
def test_control_finds_no_bundle_by_a_strange_name(http, name):
    for verb in ("load", "unload"):
        answer = http.post(f"/v2/repository/models/{name}/{verb}")
        assert answer.status_code == 404, answer.text


def test_reload_says_what_became_of_each(http):
    assert http.post("/v2/repository/reload").json() == {DIGITS: "unchanged", "pair": "unchanged"}


@pytest.mark.parametrize("path", [f"models/{DIGITS}/load", f"models/{DIGITS}/unload", "reload"])
def test_control_can_be_off(serve, bundles, path):
    service = serve(bundles, control=False)
    answer = httpx.post(f"http://{service.address}/v2/repository/{path}")
    assert answer.status_code == 403 and "Received" in answer.json()["error"]
    assert httpx.post(f"http://{service.address}/v2/repository/index").status_code == 200


@pytest.fixture
def held():
    """An engine of one worker that is busy until the test ends."""
    engine = Engine(workers=1, queue=1)
    release = threading.Event()
    holder = threading.Thread(target=engine.run_sync, args=(lambda ticket: release.wait(20),))
    holder.start()
    assert eventually(lambda: engine.running == 1)
    yield engine
    release.set()
    holder.join(10)
    assert eventually(engine.idle)


def eventually(claim) -> bool:
    end = time.monotonic() + 10
    while not claim() and time.monotonic() < end:
        time.sleep(0.01)
    return claim()


def test_a_deadline_answers_504_and_a_full_queue_503(serve, bundles, held):
    url = f"http://{serve(bundles, held).address}/v2/models/{DIGITS}/infer"
    held.deadline = 0.2
    answer = httpx.post(url, json=request())
    assert answer.status_code == 504 and "too long" in answer.json()["error"]
    held.queue = 0
    answer = httpx.post(url, json=request())
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1 and "busy" in answer.json()["error"]


def test_the_timeout_of_a_request_lowers_its_deadline(http):
    answer = http.post(f"/v2/models/{DIGITS}/infer", json=request() | {"parameters": {"timeout": 1}})
    assert answer.status_code == 504
    answer = http.post(f"/v2/models/{DIGITS}/infer", json=request() | {"parameters": {"timeout": 60_000_000}})
    assert answer.status_code == 200


def test_work_is_dropped_when_its_client_goes(serve, bundles, held):
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"http://{serve(bundles, held).address}/v2/models/{DIGITS}/infer", json=request(), timeout=0.5)
    assert eventually(lambda: held.waiting == 0)
    assert held.running == 1


def test_the_document_describes_every_route(http):
    paths = http.get("/openapi.json").json()["paths"]
    assert {path for path in paths if path.endswith("/infer")} == {
        "/v2/models/{name}/infer",
        "/v2/models/{name}/versions/{version}/infer",
    }
    body = paths["/v2/models/{name}/infer"]["post"]["requestBody"]["content"]
    assert body["application/json"]["schema"]["required"] == ["inputs"] and "application/octet-stream" in body
    assert "$ref" not in str(body) and "$defs" not in str(body)
