"""What the page of every task shares: title, choice of network, examples, the card's facts, and the call that repeats what the page did.

A page is a function build(pages, library) that lays these parts out with its own input and answer, then calls `follow`.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import gradio as gr
import numpy as np
from PIL import Image

from apps import examples, facts
from apps.engine import Busy, TooLate
from apps.library import Library, UnknownModel
from apps.runtime import Bundle

QUIET: dict[str, Any] = {"api_visibility": "private", "queue": True, "show_progress": "hidden"}
REFUSED = (UnknownModel, Busy, TooLate)  # their words are for the visitor
FEW = 12  # examples; more of them slide sideways on a phone, so that the answer is not far below
SHOWN = 1024  # pixels: a longer side is shown at this
AT_ONCE = 4  # events of one kind that gradio hands on; the engine's queue bounds what runs
CHOOSE = """element.addEventListener('click', event => {
  const button = event.target.closest('[data-example]');
  if (button) trigger('select', {name: button.dataset.example});
});"""


def title(heading: str, sentence: str) -> None:
    gr.HTML(f'<div class="kd"><h1>{escape(heading)}</h1><p class="soft">{escape(sentence)}</p></div>')


def above(words: str) -> None:
    """A line above a component: gradio's own labels lie on the picture."""
    gr.HTML(f'<div class="kd"><h2 class="above">{escape(words)}</h2></div>')


def note(words: str) -> None:
    gr.HTML(f'<div class="kd"><p class="soft small">{escape(words)}</p></div>')


def network(library: Library, task: str) -> gr.Dropdown:
    """The choice among the bundles for a task. Which there are is read when the page opens; another name is refused by the library."""
    names = library.names(task)
    choice = gr.Dropdown(names, value=names[0] if names else None, label="Network", elem_id="model", filterable=False)
    choice.preprocess = str  # type: ignore[method-assign]  # gradio would check it against the list of the start
    return choice


def example_buttons() -> gr.HTML:
    """A button for each example picture; its `select` carries the file's name as event.name."""
    return gr.HTML(elem_id="examples", js_on_load=CHOOSE)


def answer(waiting: str) -> gr.HTML:
    """Where the answer appears; screen readers say it."""
    return gr.HTML(waiting, elem_id="answer", elem_classes="live")


def trust() -> gr.HTML:
    return gr.HTML(elem_id="trust")


def program() -> gr.HTML:
    return gr.HTML(elem_id="program")


def follow(
    pages: gr.Blocks,
    library: Library,
    task: str,
    model: gr.Dropdown,
    describe: Callable[[str, gr.Request], tuple[Any, ...]],
    parts: list[Any],
    nothing: str = "No network for this is served yet.",
) -> Any:
    """Fill the parts with what `describe` says of the network: when the page opens, as /PAGE?model=NAME asks, and when another is chosen.

    Where there is no network, the first part says `nothing`. Gives the event of the choice, to be followed by an answer of the new network.
    """

    def opened(request: gr.Request) -> tuple[Any, ...]:
        names = library.names(task)
        asked = request.query_params.get("model")
        name = asked if asked in names else names[0] if names else None
        choice = gr.Dropdown(choices=names, value=name, filterable=len(names) > 8)  # type: ignore[arg-type]
        empty = [f'<div class="kd"><p class="soft">{escape(nothing)}</p></div>', *[gr.skip()] * (len(parts) - 1)]
        return (choice, *(describe(name, request) if name else empty))

    def chosen(name: str, request: gr.Request) -> tuple[Any, ...]:
        return describe(name, request)

    pages.load(opened, None, [model, *parts], **QUIET)
    return model.input(chosen, model, parts, **QUIET)


def origin(request: gr.Request) -> str:
    """The address that the visitor's browser has, so that a program on the same machine can use it too."""
    host = request.headers.get("host", "")
    said = request.headers.get("origin", "")
    return said if said and urlsplit(said).netloc == host else f"{request.url.scheme}://{host}"


def refusal(reason: Exception | str) -> gr.Error:
    """Stays until it is closed or the next attempt is made: a sentence that vanishes is not read by everyone."""
    return gr.Error(str(reason), duration=None, print_exception=False)


def known(library: Library, name: str) -> Any:
    """The bundle, or a refusal with the reason."""
    try:
        return library.get(name)
    except UnknownModel as error:
        raise refusal(error) from None


def example_list(library: Library, name: str, say: Callable[[Path], str] = examples.caption) -> str:
    """The examples as buttons, for `example_buttons`; `say` gives each its words."""
    files = library.examples(name)
    if not files:
        return ""
    buttons = "".join(
        f'<button type="button" data-example="{escape(file.name)}">'
        f'<img src="{escape(examples.address(library, name, file))}" alt=""><span>{escape(say(file))}</span></button>'
        for file in files
    )
    opening = f'<div class="examples{" many" * (len(files) > FEW)}">'
    return f'<div class="kd"><h2 class="above">Or one of these from its test set</h2>{opening}{buttons}</div></div>'


def picture_address(pixels: np.ndarray) -> str:
    """uint8 [H, W, C] of 1, 3 or 4 channels as an address of its own for an <img>, smaller where a graph of any size was given a photo."""
    stream = io.BytesIO()
    picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if max(picture.size) > SHOWN:
        picture.thumbnail((SHOWN, SHOWN))
    picture.save(stream, "png")
    return data_address(stream.getvalue())


def data_address(data: bytes, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def jpeg_address(data: bytes) -> str:
    return data_address(data, "jpeg")


def bar(label: str, share: float, said: str) -> str:
    return f'<li><span>{escape(label)}</span><span>{said}</span><i style="width:{100 * share:.2f}%"></i></li>'


def trust_panel(bundle: Bundle, measured: str = "", more: Sequence[tuple[str, str]] = ()) -> str:
    """How good it is, by measurement, and what it was made for. `measured` is HTML, for a task whose measure is not the accuracy;
    `more` are facts of the task."""
    card = bundle.card
    rows = [
        ("Trained on", facts.data(card)),
        ("Licence", facts.licence(card)),
        ("Looks at", facts.looked_at(card)),
        *more,
        ("Network", f"{facts.parameters(card)}, {facts.megabytes(card)}"),
        ("Speed", facts.speed(card)),
        ("Answers by", facts.answers_by(card, list(bundle.files.values()), bundle.variant)),
        ("Same as Keras", facts.parity(card)),
        ("Meant for", card.get("intended_use") or "not stated"),
        ("Limits", card.get("limits") or "not stated"),
    ]
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in rows)
    opening = f"<h2>How far to trust {escape(card['name'])}</h2>{measured or accuracy_line(card)}"
    return f'<div class="kd"><section class="card" aria-label="Card">{opening}<dl>{listed}</dl></section></div>'


def accuracy_line(card: dict[str, Any]) -> str:
    metric = facts.accuracy(card)
    if metric is None:
        return '<p class="soft">The accuracy was not measured.</p>'
    return share_line(metric, "right")


def share_line(metric: dict[str, Any], words: str, counted: str = "pictures") -> str:
    """A share of the test pictures on a scale, with its interval where there is one."""
    value, (low, high) = metric["value"], metric["interval"] or (metric["value"],) * 2
    interval = f"; 95 % interval {facts.percent(low)} to {facts.percent(high)}" if metric["interval"] else ""
    return (
        f'<div><p><span class="figure">{facts.percent(value)}</span> <span class="soft">{escape(words)}</span></p>'
        f'<div class="meter"><i style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
        f'<b style="left:{100 * value:.2f}%"></b></div>'
        f'<p class="soft small">measured on {metric["n"]:,} test {counted} it had never seen{interval}</p></div>'
    )
