"""The home page: every bundle of the folder as a card, with its measured accuracy and what it was measured on."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from urllib.parse import quote

import gradio as gr

from apps.facts import accuracy, data, megabytes, parameters, percent, speed
from apps.library import Library
from apps.runtime import Bundle

PAGES = {"classification": "classify"}
TITLE = """
<div class="kd"><h1>Networks to try</h1>
<p class="soft">Each was trained with kerasdl, exported to ONNX and proven equal to its Keras original.
They run on this machine with onnxruntime; pictures do not leave it.</p></div>
"""


def build(library: Library, address: str) -> None:
    """Lay the page out inside the open Blocks."""
    cards = [card(bundle, library) for bundle in library.bundles.values()]
    cards += [broken_card(name, sentence) for name, sentence in library.broken.items()]
    gr.HTML(TITLE)
    gr.HTML(f'<div class="kd"><div class="cards">{"".join(cards)}</div></div>')
    if library.names():
        gr.HTML(program_snippet(library.names()[0], address))


def card(bundle: Bundle, library: Library) -> str:
    return f"""<div class="card"><div><h2>{escape(bundle.name)}</h2>{score(bundle)}</div>
<div class="strip">{"".join(picture_tag(path) for path in library.examples(bundle.name)[:6])}</div>
<dl><dt>Data</dt><dd>{escape(data(bundle.card))}</dd>
<dt>Classes</dt><dd>{escape(some_labels(bundle))}</dd>
<dt>Size</dt><dd>{escape(parameters(bundle.card))}, {escape(megabytes(bundle.card))}</dd>
<dt>Speed</dt><dd>{escape(speed(bundle.card))}</dd></dl>
{link(bundle)}</div>"""


def score(bundle: Bundle) -> str:
    metric = accuracy(bundle.card)
    if metric is None:
        return '<p class="soft small">accuracy not measured</p>'
    low, high = metric["interval"]
    return (
        f'<p class="figure">{percent(metric["value"])}</p>'
        f'<p class="soft small">accuracy, 95 % interval {percent(low)} to {percent(high)}, {metric["n"]:,} test pictures</p>'
    )


def link(bundle: Bundle) -> str:
    page = PAGES.get(bundle.task)
    if page is None:
        return f'<p class="soft small">No page for {escape(bundle.task)} yet.</p>'
    return f'<a class="go" href="{page}?model={quote(bundle.name)}">Try it</a>'


def picture_tag(path: Path) -> str:
    label = path.stem.rsplit("-", 1)[0]
    return f'<img alt="{escape(label)}" title="{escape(label)}" src="data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}">'


def some_labels(bundle: Bundle) -> str:
    shown = ", ".join(bundle.labels[:10])
    return f"{len(bundle.labels)}: {shown}{', ...' if len(bundle.labels) > 10 else ''}"


def broken_card(name: str, sentence: str) -> str:
    return f"""<div class="card broken"><h2>{escape(name)}</h2><p><span class="tag">not served</span></p>
<p class="small">{escape(sentence)}</p></div>"""


def program_snippet(name: str, address: str) -> str:
    return f"""<div class="kd"><h2>From a program</h2>
<p class="soft small">The same answers over HTTP; the picture is the field <code>image</code> of a form, or the raw body.</p>
<pre>curl -F image=@picture.png '{escape(address)}/api/classify?model={escape(quote(name))}'</pre></div>"""
