"""Over two thousand requests that are almost right: no 5xx, every refusal a sentence, and the server is right afterwards.

Valid requests are the seed; what is changed is their structure, types, numbers, names, bytes, headers and addresses.
"""

from __future__ import annotations

import copy
import json
import string
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from apps.runtime import load_bundle
from tests.service.corruptions import places
from tests.service.traffic import (
    HEADER_LENGTH,
    Answer,
    Client,
    Request,
    comparable,
    good_cases,
    load_all,
    parsed,
    v2_binary,
    v2_json,
    v2_outputs,
)

pytestmark = pytest.mark.slow
EXAMPLES = 400  # of each of the seven tests of tensors and control
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
PATH = "/v2/models/numbers/infer"
REID = Path(__file__).resolve().parents[2] / "saved_models" / "pedestrians-reid"
JSON = {"Content-Type": "application/json"}
INPUTS = {"x": np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 6), "shift": np.array([[1], [-2]])}
asked = 0


def ask(client: Client, request: Request) -> Answer:
    """The answer, if it is one that a client may get."""
    global asked
    asked += 1
    return decent(client.ask(request))


def decent(answer: Answer) -> Answer:
    assert answer.status < 500 or answer.status == 504, answer.body  # 504: a timeout of microseconds is one of the changes
    assert answer.headers.get("x-request-id")
    if answer.status >= 400:
        text = answer.body.decode()
        assert json.loads(text)["error"] and "Traceback" not in text and '.py"' not in text
        assert len(text) < 2000, "a refusal repeats no more of the request than it must"
    return answer


# --- strategies ---

numbers = st.one_of(
    st.integers(-3, 70),
    st.sampled_from([2**31 - 1, 2**31, -(2**63), 2**63, 2**64, 2**80, 10**400, -1, 0]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([1e308, -0.0, 5e-324, 3.5e38]),
)
words = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["x", "shift", "scores", "FP32", "INT64", "FP16", "BYTES", "BF16", "fp32", "\x00", "\ud800", "é", "x" * 3000, "../..", "__class__"]
    ),
)
junk = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, words),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=4)),
    max_leaves=12,
)


def valid_document() -> dict[str, Any]:
    document = json.loads(v2_json(INPUTS, id="seed")[0])
    document["outputs"] = [{"name": "scores", "parameters": {"binary_data": False}}]
    document["parameters"] = {"timeout": 5_000_000, "binary_data_output": False}
    return document


@st.composite
def changed_documents(draw: Any) -> Any:
    """A valid request with one to four places changed: replaced, removed, doubled, renamed, wrapped or joined by a stranger."""
    document = copy.deepcopy(valid_document())
    for _ in range(draw(st.integers(1, 4))):
        paths = places(document)
        if not paths:
            break
        *above, key = draw(st.sampled_from(paths))
        holder: Any = document
        for step in above:
            holder = holder[step]
        change(draw, holder, key)
    return document


def change(draw: Any, holder: Any, key: Any) -> None:
    how = draw(st.sampled_from(["replace", "replace", "number", "remove", "double", "rename", "wrap", "add"]))
    if how == "replace":
        holder[key] = draw(junk)
    elif how == "number":
        holder[key] = draw(numbers)
    elif how == "remove":
        del holder[key]
    elif how == "wrap":
        holder[key] = [holder[key]]
    elif how == "double" and isinstance(holder, list):
        holder.append(copy.deepcopy(holder[key]))
    elif how == "rename" and isinstance(holder, dict):
        holder[draw(words)] = holder.pop(key)
    elif isinstance(holder, dict):
        holder[draw(words)] = draw(junk)
    else:
        holder.insert(0, draw(junk))


@st.composite
def changed_bytes(draw: Any, valid: bytes) -> bytes:
    """Some bytes overwritten, removed, inserted, or the end cut off."""
    body = bytearray(valid)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(body)))
        piece = draw(st.binary(max_size=8))
        how = draw(st.sampled_from(["over", "insert", "remove", "cut"]))
        if how == "over":
            body[at : at + len(piece)] = piece
        elif how == "insert":
            body[at:at] = piece
        elif how == "remove":
            del body[at : at + len(piece)]
        else:
            del body[at:]
    return bytes(body)


# --- the tests ---


@fuzzed
@given(document=changed_documents(), escaped=st.booleans())
def test_changed_structure_types_and_numbers(client, document, escaped):
    body = json.dumps(document, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    answer = ask(client, Request(PATH, body, JSON))
    if answer.status == 200:  # what is accepted is whole
        assert all(np.isfinite(array).all() and array.shape[1:] == (4,) for array in v2_outputs(answer).values())


@fuzzed
@given(
    body=st.one_of(
        changed_bytes(json.dumps(valid_document()).encode()), st.binary(max_size=200), junk.map(lambda value: json.dumps(value).encode())
    )
)
def test_changed_bytes_of_the_json(client, body):
    ask(client, Request(PATH, body, JSON))


@fuzzed
@given(
    data=st.data(),
    length=st.one_of(st.none(), st.integers(-5, 400), st.sampled_from(["", "1e2", "0x10", "+9", "9" * 30, " 5", "1_0", "-0"])),
)
def test_changed_bytes_and_lengths_of_the_binary_form(client, data, length):
    body, headers = v2_binary(INPUTS)
    headers = dict(headers)
    if length is not None:
        headers[HEADER_LENGTH] = str(length)
    ask(client, Request(PATH, data.draw(changed_bytes(body)), headers))


@fuzzed
@given(
    size=st.one_of(numbers, words, st.none()),
    tail=st.binary(max_size=80),
    datatype=st.sampled_from(["FP32", "FP64", "INT64", "UINT8", "BYTES", ""]),
    shape=st.lists(st.one_of(st.integers(-2, 8), numbers), max_size=5),
)
def test_sizes_and_shapes_that_do_not_fit_the_binary_data(client, size, tail, datatype, shape):
    tensor = {"name": "x", "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}
    shift = {"name": "shift", "datatype": "INT64", "shape": [1, 1], "data": [0]}
    head = json.dumps({"inputs": [tensor, shift]}).encode()
    ask(client, Request(PATH, head + tail, {HEADER_LENGTH: str(len(head))}))


@fuzzed
@given(
    x=arrays.arrays(np.float32, st.tuples(st.integers(1, 9), st.just(6)), elements=st.floats(-1e6, 1e6, width=32)),
    shift=st.integers(-(2**40), 2**40),
    binary=st.booleans(),
    nested=st.booleans(),
)
def test_valid_numbers_are_answered_right_to_the_last_bit(client, truth, x, shift, binary, nested):
    inputs = {"x": x, "shift": np.full((len(x), 1), shift)}
    answer = ask(client, Request(PATH, *(v2_binary(inputs) if binary else v2_json(inputs, nested))))
    assert answer.status == 200, answer.body
    assert comparable(v2_outputs(answer)) == comparable(truth.run(inputs))


@fuzzed
@given(
    name=st.one_of(words, st.sampled_from(["numbers", "numbers.model", "digits-lenet5", ".", "..", "numbers.", "%2e%2e"])),
    rest=st.sampled_from(
        ["", "/infer", "/ready", "/versions/1", "/versions/1/infer", "/versions/x/ready", "/versions//infer", "/", "/infer/"]
    ),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "PROPFIND"]),
    headers=st.dictionaries(
        st.sampled_from(
            ["Content-Type", "Content-Encoding", "Accept", "Expect", HEADER_LENGTH, "X-Request-Id", "Origin", "Range", "Authorization"]
        ),
        st.text(string.printable.strip(), max_size=20),
        max_size=3,
    ),
)
def test_names_versions_methods_and_headers(client, name, rest, method, headers):
    if "Expect" in headers:  # the client of the standard library would wait for an answer that need not come
        del headers["Expect"]
    path = f"/v2/models/{quote(name.encode('utf-8', 'surrogatepass'), safe='')}{rest}"
    body = v2_json(INPUTS)[0] if method in ("POST", "PUT", "PATCH") else None
    if method == "HEAD":
        assert client.ask(Request(path, body, headers, method)).status < 500
    else:
        ask(client, Request(path, body, headers, method))


@fuzzed
@given(
    route=st.sampled_from(["index", "models/{}/load", "models/{}/unload", "models/{}", "reload/{}"]),
    name=words.filter(lambda name: name not in ("numbers", "digits-lenet5", "pedestrians-reid")),
    body=st.one_of(junk.map(lambda value: json.dumps(value).encode()), st.binary(max_size=40), st.just(b"")),
)
def test_control_of_the_repository(client, route, name, body):
    ask(client, Request(f"/v2/repository/{route.format(quote(name.encode('utf-8', 'surrogatepass'), safe=''))}", body, JSON))


PEOPLE = "/api/gallery"
names = st.one_of(words, st.sampled_from(["true", "Ada", "1", "2026-01-31T08:00:00Z", "0" * 32, ""]))
pictures = st.sampled_from(["examples/id701-cam4-0.png", "README.md"]).map(lambda name: (REID / name).read_bytes())


def form(fields: list[tuple[str, str | bytes]]) -> tuple[bytes, dict[str, str]]:
    """Body and headers of multipart/form-data; bytes are a file."""
    parts = []
    for name, value in fields:
        file = '; filename="a.png"\r\nContent-Type: image/png' if isinstance(value, bytes) else ""
        data = value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
        head = f'--a-line\r\nContent-Disposition: form-data; name="{quote(name)}"{file}\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join([*parts, b"--a-line--\r\n"]), {"Content-Type": "multipart/form-data; boundary=a-line"}


@settings(fuzzed, max_examples=150)
@given(
    fields=st.lists(
        st.tuples(st.sampled_from(["name", "person", "camera", "time", "consent", "image", "x"]), st.one_of(names, pictures)), max_size=9
    ),
    data=st.data(),
    harmed=st.booleans(),
)
def test_forms_of_enrolment(client, fields, data, harmed):
    body, headers = form(fields)
    ask(client, Request(PEOPLE, data.draw(changed_bytes(body)) if harmed else body, headers))


@settings(fuzzed, max_examples=150)
@given(
    person=names,
    rest=st.sampled_from(["", "/", "/pictures/x", "/pictures/", "/pictures"]),
    method=st.sampled_from(["GET", "PATCH", "DELETE", "POST", "PUT"]),
    body=st.one_of(junk.map(lambda value: json.dumps({"name": value}).encode()), st.binary(max_size=40)),
)
def test_people_who_are_not_there(client, person, rest, method, body):
    path = f"{PEOPLE}/{quote(person.encode('utf-8', 'surrogatepass'), safe='')}{rest}"
    ask(client, Request(path, body if method in ("PATCH", "POST", "PUT") else None, JSON, method))


@settings(fuzzed, max_examples=150)
@given(
    query=st.dictionaries(
        st.sampled_from(["model", "top", "by", "camera", "without_camera", "since", "until", "threshold", "offset", "limit", "like"]),
        st.one_of(names, numbers.map(str)),
        max_size=4,
    ),
    picture=pictures,
)
def test_searches(client, query, picture):
    asked = "&".join(f"{name}={quote(value.encode('utf-8', 'surrogatepass'), safe='')}" for name, value in query.items())
    ask(client, Request(f"/api/match?{asked}", picture))
    ask(client, Request(f"{PEOPLE}?{asked}", method="GET"))


ROWS = "/api/regress?model=houses"
ROW = {"area": 100, "age": 10, "rooms": 4, "town": "Modena"}
cells = st.one_of(numbers.map(str), words, st.sampled_from(["100", "Modena", "1e9", "", '"', "[m²]", "area", "town=Parma"]))


@settings(fuzzed, max_examples=150)
@given(
    rows=st.one_of(
        st.dictionaries(st.one_of(st.sampled_from([*ROW, "town=Modena"]), words), junk, max_size=6),
        st.lists(st.dictionaries(st.sampled_from(list(ROW)), numbers, max_size=4).map(lambda changes: ROW | changes), max_size=5),
        junk,
    ),
    escaped=st.booleans(),
)
def test_rows_of_json(client, rows, escaped):
    answer = ask(client, Request(ROWS, json.dumps(rows, ensure_ascii=escaped).encode("utf-8", "surrogatepass"), JSON))
    if answer.status == 200:  # what is accepted is whole
        assert all(np.isfinite([*row["values"].values(), *row["intervals"]["price"]]).all() for row in answer.json()["rows"])


@settings(fuzzed, max_examples=150)
@given(
    header=st.lists(st.one_of(st.sampled_from([*ROW, "price", "town=Modena"]), cells), max_size=7),
    lines=st.lists(st.lists(cells, max_size=6), max_size=5),
    separator=st.sampled_from([",", ";", "\t"]),
    whole=st.booleans(),
    data=st.data(),
    accept=st.sampled_from(["text/csv", "application/json", "*/*"]),
)
def test_tables(client, header, lines, separator, whole, data, accept):
    header = list(ROW) if whole else header
    text = "\n".join(separator.join(line) for line in [header, list(map(str, ROW.values())), *lines])
    body = text.encode("utf-8", "surrogatepass")
    answer = ask(client, Request(ROWS, body if whole else data.draw(changed_bytes(body)), {"Content-Type": "text/csv", "Accept": accept}))
    if answer.status == 200 and accept != "text/csv":
        assert all((row["values"] is None) == bool(row["problem"]) for row in answer.json()["rows"])


@settings(fuzzed, max_examples=150)
@given(
    head=changed_bytes(
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{{}}".encode()
    )
)
def test_changed_bytes_of_http_itself(client, head):
    """An answer that is decent, or a closed connection."""
    with client.open_socket() as connection:
        connection.sendall(head)
        connection.shutdown(1)  # no more is coming
        try:
            decent(parsed(connection, b""))
        except ConnectionError:
            pass


@pytest.fixture(scope="module")
def truth(bundles):
    return load_bundle(bundles / "numbers")


def test_after_all_that_the_server_is_alive_and_right(client, bundles, request):
    assert client.ask(Request("/healthz/ready", method="GET")).status == 200
    for bundle in load_all(bundles):
        for case in good_cases({"": bundle}):
            assert case.versions(case.send(client)) == {""}, case.kind
    print(f"{asked} fuzzed requests")
    fuzzing = {name for name, value in globals().items() if hasattr(value, "hypothesis")}
    if fuzzing <= {item.originalname for item in request.session.items}:  # not where somebody chose a few of these tests
        assert asked >= 2000
