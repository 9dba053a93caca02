"""The home page: every bundle of the folder as a card, with its measured accuracy and what it was measured on."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

import gradio as gr

from apps import calls, examples, page, prediction
from apps.facts import data, headline, looked_at, megabytes, parameters, percent, speed
from apps.library import Library
from apps.runtime import Bundle

PAGES = {"classification": "classify", "captioning": "caption", "embedding": "match", "regression": "regression"}
READING = '<div class="kd"><p class="soft" role="status">Reading the bundles ...</p></div>'
EMPTY = '<p class="soft">No bundle is served yet. Make one with <code>python -m export NAME</code>; it appears here.</p>'


def build(pages: gr.Blocks, library: Library, secured: bool = False) -> None:
    """Lay the page out inside the open Blocks. What is served is read when the page opens: bundles come and go."""
    page.title(
        "Networks to try",
        "Each was trained with kerasdl, exported to ONNX and proven equal to its Keras original. "
        "They run on this machine with onnxruntime; what you show them does not leave it.",
    )
    cards = gr.HTML(READING, elem_id="cards")
    program = page.program()

    def opened(request: gr.Request) -> tuple[str, str]:
        return all_cards(library), snippet(library, page.origin(request), secured)

    pages.load(opened, None, [cards, program], **page.QUIET)


def all_cards(library: Library) -> str:
    cards = [card(bundle, library) for bundle in list(library.bundles.values())]
    cards += [broken_card(name, sentence) for name, sentence in list(library.broken.items())]
    return f'<div class="kd"><div class="cards">{"".join(cards) or EMPTY}</div></div>'


def card(bundle: Bundle, library: Library) -> str:
    return f"""<section class="card" aria-label="{escape(bundle.name)}"><div><h2>{escape(bundle.name)}</h2>{score(bundle)}</div>
{strip(bundle, library)}
<dl><dt>Data</dt><dd>{escape(data(bundle.card))}</dd>
{classes(bundle)}<dt>Size</dt><dd>{escape(parameters(bundle.card))}, {escape(megabytes(bundle.card))}</dd>
<dt>Speed</dt><dd>{escape(speed(bundle.card))}</dd></dl>
{link(bundle)}</section>"""


def score(bundle: Bundle) -> str:
    if bundle.task == "regression":
        return prediction.measured(bundle.card, few=True)
    found = headline(bundle.card)
    if found is None:
        return '<p class="soft small">accuracy not measured</p>'
    value, words, metric = found
    interval = ", 95 % interval {} to {}".format(*map(percent, metric["interval"])) if metric["interval"] else ""
    counted = "queries" if bundle.task == "embedding" else "test pictures"
    return f'<p class="figure">{value}</p><p class="soft small">{words}{interval}, {metric["n"]:,} {counted}</p>'


def strip(bundle: Bundle, library: Library) -> str:
    """The first examples; a bundle that went while the page was made shows none."""
    if library.bundles.get(bundle.name) is not bundle:
        return ""
    pictures = [
        f'<img src="{escape(examples.address(library, bundle.name, file))}" alt="{escape(examples.caption(file))}">'
        for file in library.examples(bundle.name)[:6]
    ]
    return f'<div class="strip">{"".join(pictures)}</div>'


def link(bundle: Bundle) -> str:
    route = PAGES.get(bundle.task)
    if route is None:
        return f'<p class="soft small">No page for {escape(bundle.task)} yet.</p>'
    return f'<a class="go" href="{route}?model={quote(bundle.name)}" aria-label="Try {escape(bundle.name)}">Try it</a>'


def classes(bundle: Bundle) -> str:
    labels = bundle.words.spoken if bundle.words else bundle.labels
    if not labels:
        return ""
    if bundle.task == "regression":
        return f"<dt>Predicts</dt><dd>{escape(', '.join(labels))}</dd>\n<dt>From</dt><dd>{escape(looked_at(bundle.card))}</dd>\n"
    told = f"{len(labels)}: {', '.join(labels[:10])}{', ...' if len(labels) > 10 else ''}"
    return f"<dt>{'Words' if bundle.words else 'Classes'}</dt><dd>{escape(told)}</dd>\n"


def broken_card(name: str, sentence: str) -> str:
    return f"""<section class="card broken" aria-label="{escape(name)}"><h2>{escape(name)}</h2><p><span class="tag">not served</span></p>
<p class="small">{escape(sentence)}</p></section>"""


def snippet(library: Library, origin: str, secured: bool) -> str:
    """How a program asks, with an example of the first network."""
    call = first_call(library, origin, secured)
    if call is None:
        return ""
    sentence = (
        "The same answers over HTTP, as JSON or in the Open Inference Protocol. "
        '<a href="docs">All routes and their fields</a>; on each page stands the call for what it did.'
    )
    return calls.panel(calls.programs(call), sentence)


def first_call(library: Library, origin: str, secured: bool) -> calls.Call | None:
    for name in [name for task in PAGES for name in library.names(task)]:
        files = library.examples(name)
        if library.get(name).task == "regression":
            return prediction.example_call(library, calls.Call(origin, library.get(name), secured=secured))
        if files:
            address = examples.public_address(origin, name, files[0])
            return calls.Call(origin, library.get(name), files[0].name, address, secured)
        return calls.Call(origin, library.get(name), secured=secured)
    return None
