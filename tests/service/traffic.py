"""What clients send and what is right: requests made beforehand, each with the answer that apps.runtime gives without a server.

The protocol is written out here once more, from its specification, so that the server's reading of it has an independent judge.
"""

from __future__ import annotations

import html
import http.client
import io
import json
import random
import re
import socket
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from apps.runtime import Bundle, Regressor, caption, find_bundles, load_bundle, open_picture

DATATYPES = {"uint8": "UINT8", "int32": "INT32", "int64": "INT64", "float32": "FP32"}
DTYPES = {datatype: np.dtype(name) for name, datatype in DATATYPES.items()}
HEADER_LENGTH = "Inference-Header-Content-Length"
BOUNDARY = "a-line-between-the-parts"
SOME_SECONDS = 60  # after so long without an answer the server counts as dead
IDLE_SECONDS = 1.0  # a connection that rested longer is opened anew: the server closes idle ones after 5 s


# --- one client ---


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Any
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Request:
    path: str
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "POST"


class Client:
    """One keep-alive connection, as a program that asks again and again has."""

    def __init__(self, host: str, port: int, token: str | None = None):
        self.host, self.port = host, port
        self.own = {"Authorization": f"Bearer {token}"} if token else {}
        self.connection = http.client.HTTPConnection(host, port, timeout=SOME_SECONDS)
        self.last = time.monotonic()

    def ask(self, request: Request) -> Answer:
        if time.monotonic() - self.last > IDLE_SECONDS:
            self.connection.close()
        try:
            self.connection.request(request.method, request.path, request.body, {**self.own, **request.headers})
            response = self.connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        finally:
            self.last = time.monotonic()

    def open_socket(self) -> socket.socket:
        return socket.create_connection((self.host, self.port), timeout=SOME_SECONDS)

    def close(self) -> None:
        self.connection.close()


# --- the v2 protocol, from kserve/open-inference-protocol and Triton's binary extension ---


def v2_json(inputs: dict[str, np.ndarray], nested: bool = False, **more: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of an infer request in JSON."""
    tensors = [{**describe(name, array), "data": (array if nested else array.reshape(-1)).tolist()} for name, array in inputs.items()]
    return json.dumps({**more, "inputs": tensors}).encode(), {"Content-Type": "application/json"}


def v2_binary(inputs: dict[str, np.ndarray], binary_output: bool = True, **more: Any) -> tuple[bytes, dict[str, str]]:
    """The same with the tensors as raw bytes behind the JSON."""
    raw = [array.tobytes() for array in inputs.values()]
    tensors = [
        {**describe(name, array), "parameters": {"binary_data_size": len(data)}}
        for (name, array), data in zip(inputs.items(), raw, strict=True)
    ]
    head = json.dumps({**more, "inputs": tensors, "parameters": {"binary_data_output": binary_output}}).encode()
    return head + b"".join(raw), {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}


def describe(name: str, array: np.ndarray) -> dict[str, Any]:
    return {"name": name, "shape": list(array.shape), "datatype": DATATYPES[str(array.dtype)]}


def v2_outputs(answer: Answer) -> dict[str, np.ndarray]:
    """The tensors of an infer answer, JSON or binary."""
    length = answer.headers.get(HEADER_LENGTH)
    head = json.loads(answer.body[: int(length)] if length else answer.body)
    rest, outputs = answer.body[int(length) :] if length else b"", {}
    for tensor in head["outputs"]:
        dtype = DTYPES[tensor["datatype"]]
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        if size is None:
            values = np.asarray(tensor["data"], dtype)
        else:
            values, rest = np.frombuffer(rest[:size], dtype), rest[size:]
        outputs[tensor["name"]] = values.reshape(tensor["shape"])
    if rest:
        raise ValueError(f"{len(rest)} bytes follow the last tensor")
    return outputs


# --- good requests ---


@dataclass(frozen=True)
class Case:
    """A request, and for each version of its bundle the right answer; `read` makes an answer comparable."""

    kind: str
    model: str
    send: Callable[[Client], Answer]
    read: Callable[[Answer], Any]
    right: dict[str, Any]

    def versions(self, answer: Answer) -> set[str]:
        """The versions that would have given this answer."""
        value = self.read(answer)
        return {version for version, right in self.right.items() if value == right}


def plain(request: Request) -> Callable[[Client], Answer]:
    return lambda client: client.ask(request)


def good_cases(versions: dict[str, Bundle], seed: int = 0) -> list[Case]:
    """Every way of asking one bundle; its versions take the same requests."""
    first = next(iter(versions.values()))
    cases = [case for graph in first.graphs for batch in (1, 2, 7) for case in v2_cases(versions, graph, batch, seed + batch)]
    if first.task == "classification":
        cases += [case for picture in pictures_for(first) for case in picture_cases(versions, picture)]
    if first.task == "captioning":
        cases += [case for picture in pictures_for(first) for case in caption_cases(versions, picture)]
    if first.task == "regression":
        cases += row_cases(versions, seed)
    return cases


def wrong_answers(port: int, cases: Sequence[Case], clients: int = 4) -> list[str]:
    """The kinds of those that were answered wrong, when so many clients ask at once."""

    def ask(number: int) -> list[str]:
        client = Client("127.0.0.1", port)
        try:
            return [case.kind for case in cases[number::clients] if case.versions(case.send(client)) != {""}]
        finally:
            client.close()

    with ThreadPoolExecutor(clients) as pool:
        return [kind for kinds in pool.map(ask, range(clients)) for kind in kinds]


def v2_cases(versions: dict[str, Bundle], graph: str, batch: int, seed: int) -> list[Case]:
    first = next(iter(versions.values()))
    inputs = some_inputs(first, graph, batch, seed)
    right = {version: comparable(bundle.run(inputs, graph)) for version, bundle in versions.items()}
    name = first.name if graph == "model" else f"{first.name}.{graph}"
    path = f"/v2/models/{name}{'/versions/1' if batch == 2 else ''}/infer"
    bodies = {
        "v2 JSON": v2_json(inputs, nested=batch == 2, id=f"{seed}"),
        "v2 binary": v2_binary(inputs),
        "v2 binary in, JSON out": v2_binary(inputs, binary_output=False),
    }
    return [
        Case(kind, first.name, plain(Request(path, body, headers)), lambda answer: comparable(v2_outputs(answer)), right)
        for kind, (body, headers) in bodies.items()
    ]


def some_inputs(bundle: Bundle, graph: str, batch: int, seed: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    inputs = {}
    for entry in bundle.card["graphs"][f"{graph}.onnx"]["inputs"]:
        shape = [side if isinstance(side, int) else batch if side == "batch" else words_before(bundle, batch) for side in entry["shape"]]
        if entry["dtype"] == "uint8":
            inputs[entry["name"]] = generator.integers(0, 256, shape, dtype=np.uint8)
        elif entry["name"] == "token":  # a place in the table of words: any other number is refused
            inputs["token"] = generator.integers(0, len(bundle.labels), shape).astype(entry["dtype"])
        else:
            inputs[entry["name"]] = (9 * generator.normal(size=shape)).astype(entry["dtype"])
    return inputs


def words_before(bundle: Bundle, batch: int) -> int:
    """How long a captioner's past is: none for one picture, the longest there may be for many."""
    return min(batch - 1, bundle.card["caption"]["length"] - 2)


def comparable(outputs: dict[str, np.ndarray]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Equal only if every bit is."""
    return {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in outputs.items()}


def pictures_for(bundle: Bundle) -> list[bytes]:
    """The bundle's examples, and one photograph that has to be decoded and shrunk."""
    examples = [file.read_bytes() for file in sorted((bundle.path / "examples").glob("*.png"))[:3]]
    with Image.open(io.BytesIO(examples[0])) as example:
        large = example.convert("RGB").resize((900, 700), Image.Resampling.BICUBIC)
    return [*examples, encoded(large, "JPEG")]


def encoded(picture: Image.Image, form: str) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, quality=90)
    return stream.getvalue()


def picture_cases(versions: dict[str, Bundle], picture: bytes) -> list[Case]:
    first = next(iter(versions.values()))
    best = {version: bundle.classify([open_picture(picture, bundle.color)])[0] for version, bundle in versions.items()}
    right = {version: [(entry["label"], entry["probability"]) for entry in entries] for version, entries in best.items()}
    shown = {version: (*entries[0], [label for label, _ in entries]) for version, entries in right.items()}
    path = f"/api/classify?model={first.name}"
    body, headers = form("image", picture)
    return [
        Case("picture, raw", first.name, plain(Request(path, picture, {"Content-Type": "image/png"})), read_predictions, right),
        Case("picture, form", first.name, plain(Request(path, body, headers)), read_predictions, right),
        Case("page's call", first.name, lambda client: call_the_page(client, first.name, picture), read_page, shown),
    ]


def caption_cases(versions: dict[str, Bundle], picture: bytes) -> list[Case]:
    """A sentence by the card's beam, in both forms of an upload."""
    first = next(iter(versions.values()))
    said = {version: caption(bundle, [open_picture(picture, bundle.color)])[0] for version, bundle in versions.items()}
    right = {version: (one.text, one.score, one.alternatives) for version, one in said.items()}
    path = f"/api/caption?model={first.name}"
    return [
        Case("caption, raw", first.name, plain(Request(path, picture, {"Content-Type": "image/png"})), read_caption, right),
        Case("caption, form", first.name, plain(Request(path, *form("image", picture))), read_caption, right),
    ]


def read_caption(answer: Answer) -> tuple[str, float, list[tuple[str, float]]]:
    found = answer.json()
    return found["caption"], found["score"], [(entry["caption"], entry["score"]) for entry in found["alternatives"]]


def row_cases(versions: dict[str, Bundle], seed: int) -> list[Case]:
    """One row, and many as JSON and as a file; all within the ranges of the card."""
    regressor = Regressor(next(iter(versions.values())))
    features = np.tile(regressor.means, (20, 1))
    for place, column in enumerate(regressor.columns):
        if not column.choice:
            features[:, place] = np.random.default_rng(seed + place).uniform(column.low, column.high, len(features))
    rows = [regressor.mapping(row) for row in features]
    found = {version: Regressor(bundle).predict(features) for version, bundle in versions.items()}
    right = {version: (one.values.tolist(), one.intervals.tolist()) for version, one in found.items()}
    first = {version: (values[:1], intervals[:1]) for version, (values, intervals) in right.items()}
    name, lines = regressor.bundle.name, [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    path, as_json = f"/api/regress?model={name}", {"Content-Type": "application/json"}
    file = form("table", "\n".join(lines).encode())
    return [
        Case("row", name, plain(Request(path, json.dumps(rows[0]).encode(), as_json)), read_rows, first),
        Case("rows, JSON", name, plain(Request(path, json.dumps(rows).encode(), as_json)), read_rows, right),
        Case("rows, file", name, plain(Request(path, *file)), read_rows, right),
    ]


def read_rows(answer: Answer) -> tuple[list, list]:
    rows = answer.json()["rows"]
    return [list(row["values"].values()) for row in rows], [list(row["intervals"].values()) for row in rows]


def form(name: str, file: bytes) -> tuple[bytes, dict[str, str]]:
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="picture"\r\n\r\n'
    return head.encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def read_predictions(answer: Answer) -> list[tuple[str, float]]:
    return [(entry["label"], entry["probability"]) for entry in answer.json()["predictions"]]


def call_the_page(client: Client, model: str, picture: bytes) -> Answer:
    """What gradio's own clients do: upload, call, wait for the event."""
    uploaded = client.ask(Request("/gradio_api/upload", *form("files", picture)))
    if uploaded.status != 200:
        return uploaded
    file = {"path": uploaded.json()[0], "meta": {"_type": "gradio.FileData"}}
    call = json.dumps({"data": [model, file]}).encode()
    joined = client.ask(Request("/gradio_api/call/classify", call, {"Content-Type": "application/json"}))
    if joined.status != 200:
        return joined
    return client.ask(Request(f"/gradio_api/call/classify/{joined.json()['event_id']}", method="GET"))


def read_page(answer: Answer) -> tuple[str, float, list[str]]:
    """The last event's first component, a card in HTML: the best label, its probability, and the labels below it."""
    event, data = [line.partition(": ")[2] for line in answer.body.decode().strip().splitlines()[-2:]]
    if event != "complete":
        raise ValueError(f"the page answered {event}: {data[:200]}")
    card = json.loads(data)[0]
    best = re.search(r'<strong class="label">(.*?)</strong>\s*<data class="figure" value="(.*?)">', card)
    if best is None:
        raise ValueError(f"the page's card has no answer: {card[:200]}")
    return html.unescape(best[1]), float(best[2]), [html.unescape(label) for label in re.findall(r"<li><span>(.*?)</span>", card)]


# --- bad requests ---


@dataclass(frozen=True)
class Bad:
    """A request that must be refused with one of these statuses; none of them: the client does not wait for an answer."""

    kind: str
    send: Callable[[Client], Answer | None]
    statuses: tuple[int, ...]
    weight: float = 1.0

    def problem(self, answer: Answer | None) -> str | None:
        if answer is None:
            return None if not self.statuses else "no answer"
        if answer.status not in self.statuses:
            return f"status {answer.status} instead of {self.statuses}: {answer.body[:200]!r}"
        sentence = answer.body.decode(errors="replace")
        if answer.status >= 400 and (not answer.json().get("error") or "Traceback" in sentence or '.py"' in sentence):
            return f"no plain sentence: {sentence[:200]}"
        return None


def bad_requests(bundles: Sequence[Bundle], body_seconds: float, max_body: int = 8_000_000) -> list[Bad]:
    looking = next(bundle for bundle in bundles if bundle.task == "classification")
    path, picture = f"/api/classify?model={looking.name}", pictures_for(looking)[0]
    photo = pictures_for(looking)[-1]
    text = b"This is no picture. " * 50
    sent = [
        Bad("renamed text", plain(Request(path, *form("image", text))), (415,)),
        Bad("bomb of 13,000 x 13,000", plain(Request(path, bomb(13_000), {"Content-Type": "image/png"})), (413,)),
        Bad("truncated PNG", plain(Request(path, picture[: len(picture) * 6 // 10])), (422,)),
        Bad("truncated JPEG", plain(Request(path, photo[: len(photo) * 6 // 10])), (422,)),
        Bad("empty file", plain(Request(path, *form("image", b""))), (400,)),
        Bad("unknown bundle", plain(Request("/api/classify?model=nobody", picture)), (404,)),
        Bad("page: renamed text", lambda client: page_refusal(client, looking.name, text), (422,)),
        Bad("dropped while sending", lambda client: drop(client, path, photo, len(photo) // 2), (), 2),
        Bad("dropped before the answer", lambda client: drop(client, path, photo, len(photo)), (), 2),
        Bad("body too slow", lambda client: dribble(client, path, picture, body_seconds), (408,), 0.5),
        Bad("body too large", plain(Request(path, bytes(max_body + 1_000_000))), (413,), 0.5),
        Bad("body too large, chunked", lambda client: too_much(client, path, max_body), (413,), 0.5),
    ]
    numbers = [bundle for bundle in bundles if bundle.task != "classification"]
    return sent + [bad for bundle in [looking, *numbers] for bad in bad_inference(bundle)]


def bad_inference(bundle: Bundle) -> list[Bad]:
    graph = bundle.graphs[0]
    name = bundle.name if graph == "model" else f"{bundle.name}.{graph}"
    path = f"/v2/models/{name}/infer"
    inputs = some_inputs(bundle, graph, 2, 0)
    (key, array), *_ = inputs.items()
    body, headers = v2_binary(inputs)
    as_json = {"Content-Type": "application/json"}
    whole, _ = v2_json(inputs)

    def changed(**changes: Any) -> bytes:
        request = json.loads(whole)
        request["inputs"][0].update(changes)
        return json.dumps(request).encode()

    def refused(kind: str, data: bytes, more: dict[str, str] | None = None, where: str = path, status: int = 400) -> Bad:
        return Bad(kind, plain(Request(where, data, more or as_json)), (status,), 0.5)

    nan = v2_binary({**inputs, key: np.full(array.shape, np.nan, np.float32)})
    return [
        refused("wrong shape", changed(shape=[2, *array.shape[1:-1], array.shape[-1] + 1])),
        refused("shape beyond the data", changed(shape=[3, *array.shape[1:]])),
        refused("shape of 2^80 numbers", changed(shape=[2**40, 2**40])),
        refused("wrong name", changed(name="nobody")),
        refused("wrong datatype", changed(datatype="FP64")),
        refused("NaN tensor", *nan),
        refused("NaN in JSON", whole.replace(b'"data": [', b'"data": [NaN, ', 1)),
        refused("deep JSON", b'{"inputs": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        refused("cut JSON", whole[: len(whole) // 2]),
        refused("wrong header length", body, {**headers, HEADER_LENGTH: str(len(body) + 10)}),
        refused("bytes missing", body[:-1], headers),
        refused("unknown model", whole, where="/v2/models/nobody/infer", status=404),
        refused("unknown version", whole, where=f"/v2/models/{name}/versions/9/infer", status=404),
    ]


def bomb(side: int) -> bytes:
    """A small PNG that unfolds to side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(((side + 7) // 8 + 1) * side), 9)
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def page_refusal(client: Client, model: str, text: bytes) -> Answer:
    """Gradio answers 200 with an error event; it counts as the 422 that it stands for."""
    answer = call_the_page(client, model, text)
    event = answer.body.decode().strip().splitlines()[-2:]
    if answer.status == 200 and event[0] == "event: error":
        return Answer(422, answer.headers, json.dumps({"error": event[1]}).encode())
    return answer


def drop(client: Client, path: str, body: bytes, sent: int) -> None:
    """Send so much of the body and go, half of the times without a farewell."""
    with client.open_socket() as connection:
        connection.sendall(head_of(client, path, f"Content-Length: {len(body)}") + body[:sent])
        if random.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing sends a reset


def dribble(client: Client, path: str, body: bytes, seconds: float) -> Answer | None:
    """A byte now and then, until the server has had enough; None if it has not after more than twice its time."""
    with client.open_socket() as connection:
        connection.sendall(head_of(client, path, f"Content-Length: {len(body)}"))
        connection.settimeout(min(0.2, seconds / 10))
        end = time.monotonic() + 2 * seconds + 5
        received = b""
        for number in range(len(body) - 1):
            if time.monotonic() > end:
                return None
            try:
                connection.sendall(body[number : number + 1])
                received = connection.recv(65536)
                break
            except TimeoutError:
                continue
        connection.settimeout(SOME_SECONDS)
        return parsed(connection, received)


def too_much(client: Client, path: str, limit: int) -> Answer | None:
    """More than the limit in chunks, without saying how much it will be."""
    piece = bytes(500_000)
    with client.open_socket() as connection:
        connection.sendall(head_of(client, path, "Transfer-Encoding: chunked"))
        for _ in range(limit // len(piece) + 2):
            connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\n\r\n")
        return parsed(connection, b"")


def head_of(client: Client, path: str, line: str) -> bytes:
    own = "".join(f"{name}: {value}\r\n" for name, value in client.own.items())
    return f"POST {path} HTTP/1.1\r\nHost: {client.host}:{client.port}\r\nContent-Type: image/png\r\n{own}{line}\r\n\r\n".encode()


def parsed(connection: socket.socket, begun: bytes) -> Answer:
    """The answer on a socket of which some bytes have been read."""
    while b"\r\n\r\n" not in begun:
        more = connection.recv(65536)
        if not more:
            raise ConnectionError(f"closed without an answer after {begun[:100]!r}")
        begun += more
    head, _, body = begun.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)) and (more := connection.recv(65536)):
        body += more
    return Answer(int(first.split()[1]), headers, body)


def load_all(folder: Path) -> list[Bundle]:
    return [load_bundle(path) for path in find_bundles(folder)]
