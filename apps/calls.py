"""The call that repeats what a page did, as text to copy: curl, Python with httpx, and tritonclient over the Open Inference Protocol.

The texts are whole programs: a test takes them from the page, runs them and compares what they print with the page's answer.
"""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from apps.runtime import Bundle, Regressor

FEW_LABELS = 20  # more are not written out in a program
FEW_WORDS = 300
WIDTH = 100  # of a line of words
ROUTES = {"classification": "classify", "captioning": "caption", "embedding": "match", "regression": "regress"}
PLAIN_NAME = re.compile(r"[\w.-]+")


@dataclass(frozen=True)
class Call:
    """One answer of a page, for a program to ask for again."""

    origin: str  # http://127.0.0.1:7860
    bundle: Bundle
    picture: str = "picture.png"  # the name of the file
    address: str | None = None  # where anyone can fetch the picture: examples have one
    secured: bool = False  # the server asks for a token, which the caller keeps in $TOKEN
    options: Mapping[str, Any] = field(default_factory=dict)  # more of the query, as the beam of a caption
    row: Mapping[str, float | str] = field(default_factory=dict)  # of a table, in place of a picture

    @property
    def route(self) -> str:
        return f"{self.origin}/api/{ROUTES[self.bundle.task]}"

    @property
    def query(self) -> dict[str, Any]:
        return {"model": self.bundle.name, **self.options}


def programs(call: Call) -> dict[str, str]:
    """The programs for one picture or row, by what runs them."""
    return one_row(call) if call.bundle.task == "regression" else one_picture(call)


def one_picture(call: Call) -> dict[str, str]:
    if call.bundle.task == "embedding":  # the protocol has no gallery to search
        return {"curl": curl(call), "Python, httpx": python(call), "curl, to enrol somebody": curl_enrolment(call)}
    return {"curl": curl(call), "Python, httpx": python(call), "Python, tritonclient": triton(call)}


def many_pictures(call: Call) -> dict[str, str]:
    """The programs for a folder: a line for each file."""
    return {"curl": curl_loop(call), "Python, httpx": python_loop(call)}


def one_row(call: Call) -> dict[str, str]:
    return {"curl": curl_row(call), "Python, httpx": python_row(call), "Python, tritonclient": triton_row(call)}


def whole_table(call: Call) -> dict[str, str]:
    """The programs for a CSV file: the same file with the predictions behind its rows."""
    return {"curl": curl_table(call), "Python, httpx": python_table(call)}


def curl(call: Call) -> str:
    fetch = f"curl -O {shlex.quote(call.address)}\n" if call.address else ""
    return f"{fetch}curl{token_option(call)} -F {shlex.quote(f'image=@{form_name(call.picture)}')} {shlex.quote(with_model(call))}"


def curl_enrolment(call: Call) -> str:
    address = f"{call.origin}/api/gallery?{urlencode({'model': call.bundle.name}, quote_via=quote, safe='')}"
    return f"""curl{token_option(call)} -F name=Ada -F camera=1 -F consent=true \\
  -F image=@front.jpg -F image=@back.jpg {shlex.quote(address)}"""


def curl_loop(call: Call) -> str:
    return f"""for picture in folder/*; do
  curl{token_option(call)} -F image=@"$picture" {shlex.quote(with_model(call))}; echo
done"""


def curl_row(call: Call) -> str:
    return f"""curl{token_option(call)} -H "Content-Type: application/json" \\
  -d {shlex.quote(json.dumps(call.row, ensure_ascii=False))} \\
  {shlex.quote(with_model(call))}"""


def curl_table(call: Call) -> str:
    return f"""curl{token_option(call)} -H "Accept: text/csv" -F table=@rows.csv -o predictions.csv \\
  {shlex.quote(with_model(call))}"""


def with_model(call: Call) -> str:
    return f"{call.route}?{urlencode(call.query, doseq=True, quote_via=quote, safe='')}"


def token_option(call: Call) -> str:
    return ' -H "Authorization: Bearer $TOKEN"' if call.secured else ""


def form_name(name: str) -> str:
    """curl takes a comma, a semicolon or a quote in a file's name for its own signs, unless the name is quoted."""
    if PLAIN_NAME.fullmatch(name):
        return name
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def python(call: Call) -> str:
    source = f"httpx.get({text(call.address)}).content" if call.address else f'open({text(call.picture)}, "rb")'
    return f"""{imports(call, "httpx")}

picture = {source}
{post(call)}
answer.raise_for_status()
{PRINTED[call.bundle.task]}"""


PRINTED = {
    "classification": 'best = answer.json()["predictions"][0]\nprint(best["label"], best["probability"])',
    "captioning": 'print(answer.json()["score"], answer.json()["caption"])',
    "embedding": 'for person in answer.json()["people"]:\n    print(person["similarity"], person["match"], person["name"])',
}


def python_loop(call: Call) -> str:
    return f"""{imports(call, "httpx")}
from pathlib import Path

for file in sorted(Path("folder").iterdir()):
    picture = file.read_bytes()
    {post(call, indent=4)}
    best = answer.json().get("predictions", [{{}}])[0]
    print(file.name, best.get("label"), best.get("probability"), answer.json().get("error", ""), sep=",")"""


def python_row(call: Call) -> str:
    return f"""{imports(call, "httpx")}

row = {written_row(call.row)}
{post(call, "json=row")}
answer.raise_for_status()
[found] = answer.json()["rows"]
for name, value in found["values"].items():
    print(name, value, found["intervals"][name], *found["warnings"])"""


def python_table(call: Call) -> str:
    return f"""{imports(call, "httpx")}
from pathlib import Path

{post(call, 'files={"table": open("rows.csv", "rb")}', more='"Accept": "text/csv"')}
answer.raise_for_status()
Path("predictions.csv").write_bytes(answer.content)"""


def triton_row(call: Call) -> str:
    """The protocol takes the network's own columns: of a word those of its choice, 1 where it is the word."""
    regressor = Regressor(call.bundle)
    numbers = dict(zip((column.name for column in regressor.columns), map(str, regressor.row(call.row)), strict=True))
    named = "".join(f"    {text(name)}: {number},\n" for name, number in numbers.items())
    return f"""{imports(call, "numpy as np")}
import tritonclient.http as triton

row = {{
{named}}}
features = triton.InferInput("features", [1, len(row)], "FP32")
features.set_data_from_numpy(np.array([list(row.values())], np.float32))
{connected(call)}
answer = client.infer({text(call.bundle.name)}, [features]{f", headers={BEARER}" if call.secured else ""})
values, intervals = (answer.as_numpy(name)[0] for name in ("value", "interval"))
for name, value, interval in zip({json.dumps(call.bundle.labels, ensure_ascii=False)}, values, intervals):
    print(name, value, interval)"""


def written_row(row: Mapping[str, float | str]) -> str:
    return "{\n" + "".join(f"    {text(name)}: {json.dumps(value, ensure_ascii=False)},\n" for name, value in row.items()) + "}"


def post(call: Call, body: str = 'files={"image": picture}', indent: int = 0, more: str = "") -> str:
    """`more`: headers of its own."""
    given = [f"    {text(call.route)},", f"    params={json.dumps(call.query, ensure_ascii=False)},", f"    {body},"]
    headers = ", ".join(filter(None, [more, BEARER[1:-1] * call.secured]))
    given += [f"    headers={{{headers}}},"] * bool(headers)
    return f"\n{' ' * indent}".join(["answer = httpx.post(", *given, ")"])


BEARER = """{"Authorization": f"Bearer {os.environ['TOKEN']}"}"""


def imports(call: Call, name: str) -> str:
    return f"import os\n\nimport {name}" if call.secured else f"import {name}"


def triton(call: Call) -> str:
    return triton_captions(call) if call.bundle.task == "captioning" else triton_labels(call)


def triton_labels(call: Call) -> str:
    """The picture is prepared by the card's steps here, as the page's server does it: the protocol takes the network's own array."""
    shape = "[1, *picture.shape]" if call.bundle.any_size or call.bundle.channels_first else [1, *call.bundle.shape]
    return f"""{imports(call, "numpy as np")}
import tritonclient.http as triton
{fetching(call)}from apps.runtime import open_picture, prepare  # in a checkout of kerasdl

{prepared(call)}

image = triton.InferInput("image", {shape}, "UINT8")
image.set_data_from_numpy(picture[np.newaxis])
{connected(call)}
answer = client.infer({text(call.bundle.name)}, [image]{f", headers={BEARER}" if call.secured else ""})
probabilities = answer.as_numpy("probabilities")[0]
best = probabilities.argmax()
{printed(call.bundle.labels)}"""


def triton_captions(call: Call) -> str:
    """The encoder is asked once, the decoder once a word: the words are chosen here, as the page's server chooses them."""
    facts = call.bundle.card["caption"]
    secret = f", headers={BEARER}" if call.secured else ""
    return f"""{imports(call, "numpy as np")}
import tritonclient.http as triton
from tritonclient.utils import np_to_triton_dtype
{fetching(call)}from apps.runtime import open_picture, prepare  # in a checkout of kerasdl
from apps.runtime.decoding import beam

{connected(call)}

def run(graph, arrays):
    inputs = []
    for name, array in arrays.items():
        inputs.append(triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)))
        inputs[-1].set_data_from_numpy(np.ascontiguousarray(array))
    answer = client.infer(f"{call.bundle.name}.{{graph}}", inputs{secret})
    return {{output["name"]: answer.as_numpy(output["name"]) for output in answer.get_response()["outputs"]}}

{prepared(call)}

memory = run("encoder", {{"image": picture[np.newaxis]}})
found = beam(lambda inputs: run("decoder", inputs), memory, length={facts["length"]}, width={call.options.get("beam", facts["beam"])})
{spoken(call.bundle)}"""


def fetching(call: Call) -> str:
    return "from urllib.request import urlopen\n" if call.address else ""


def connected(call: Call) -> str:
    secure = ", ssl=True" if urlsplit(call.origin).scheme == "https" else ""
    return f"client = triton.InferenceServerClient({text(urlsplit(call.origin).netloc)}{secure})"


def prepared(call: Call) -> str:
    picture = f"urlopen({text(call.address)}).read()" if call.address else text(call.picture)
    free = ", any_size=True" * call.bundle.any_size
    turned = "\npicture = np.ascontiguousarray(picture.transpose(2, 0, 1))  # channels first" * call.bundle.channels_first
    return f"""steps = {steps(call.bundle.picture_input()["prepare"])}
picture = prepare(open_picture({picture}, {text(call.bundle.color)}), {call.bundle.shape}, steps{free}){turned}"""


def spoken(bundle: Bundle) -> str:
    """<pad>, <start>, <end> and <unk> are the ids below 4."""
    if bundle.words is None or len(bundle.words) > FEW_WORDS:
        return "print(found.scores[0], *found.tokens[0])  # the numbers of the words"
    lines = textwrap.wrap(" ".join(bundle.words.words), WIDTH, break_long_words=False, break_on_hyphens=False)
    listed = "".join(f"\n    {text(line + ' ')}" for line in lines)
    return f"""words = ({listed}
).split()
print(found.scores[0], *(words[token] for token in found.tokens[0] if token > 3))"""


def steps(listed: list[dict]) -> str:
    return "[\n" + "".join(f"    {json.dumps(step)},\n" for step in listed) + "]" if listed else "[]"


def printed(labels: list[str]) -> str:
    if len(labels) > FEW_LABELS:
        return "print(best, probabilities[best])  # the class's number"
    return f"labels = {json.dumps(labels, ensure_ascii=False)}\nprint(labels[best], probabilities[best])"


def text(value: str | None) -> str:
    """A Python literal in double quotes."""
    return json.dumps(value, ensure_ascii=False)


def panel(programs: dict[str, str], sentence: str) -> str:
    """The programs folded together, one open, each with a button that copies it; `sentence` is HTML."""
    folds = "".join(fold(name, program, opened=number == 0) for number, (name, program) in enumerate(programs.items()))
    opening = f'<h2>From a program</h2><p class="soft">{sentence}</p>'
    return f'<div class="kd"><section class="card" aria-label="API call">{opening}{folds}</section></div>'


def fold(name: str, program: str, opened: bool) -> str:
    return f"""<details name="calls"{" open" * opened}><summary>{escape(name)}</summary>
<div class="program"><button type="button" class="copy" aria-live="polite">Copy</button>
<pre tabindex="0" role="region" aria-label="{escape(name)}"><code>{escape(program)}</code></pre></div></details>"""
