"""What the page of every task shares: title, choice of network, examples, the card's facts, and the call that repeats what the page did.

A page is a function build(pages, library) that lays these parts out with its own input and answer, then calls `follow`.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any
from urllib.parse import urlsplit

import gradio as gr

from apps import examples, facts
from apps.library import Library, UnknownModel

QUIET: dict[str, Any] = {"api_visibility": "private", "queue": True, "show_progress": "hidden"}
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
) -> Any:
    """Fill the parts with what `describe` says of the network: when the page opens, as /PAGE?model=NAME asks, and when another is chosen.

    Gives the event of the choice, to be followed by an answer of the new network.
    """

    def opened(request: gr.Request) -> tuple[Any, ...]:
        names = library.names(task)
        asked = request.query_params.get("model")
        name = asked if asked in names else names[0] if names else None
        choice = gr.Dropdown(choices=names, value=name, filterable=len(names) > 8)  # type: ignore[arg-type]
        return (choice, *(describe(name, request) if name else [""] * len(parts)))

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


def example_list(library: Library, name: str) -> str:
    """The examples as buttons, for `example_buttons`."""
    files = library.examples(name)
    if not files:
        return ""
    buttons = "".join(
        f'<button type="button" data-example="{escape(file.name)}">'
        f'<img src="{escape(examples.address(library, name, file))}" alt=""><span>{escape(examples.caption(file))}</span></button>'
        for file in files
    )
    return f'<div class="kd"><h2 class="above">Or one of these from its test set</h2><div class="examples">{buttons}</div></div>'


def trust_panel(card: dict[str, Any]) -> str:
    """How good it is, by measurement, and what it was made for."""
    rows = [
        ("Trained on", facts.data(card)),
        ("Licence", facts.licence(card)),
        ("Looks at", facts.looked_at(card)),
        ("Network", f"{facts.parameters(card)}, {facts.megabytes(card)}"),
        ("Speed", facts.speed(card)),
        ("Same as Keras", facts.parity(card)),
        ("Meant for", card.get("intended_use") or "not stated"),
        ("Limits", card.get("limits") or "not stated"),
    ]
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in rows)
    opening = f"<h2>How far to trust {escape(card['name'])}</h2>{accuracy_line(card)}"
    return f'<div class="kd"><section class="card" aria-label="Card">{opening}<dl>{listed}</dl></section></div>'


def accuracy_line(card: dict[str, Any]) -> str:
    metric = facts.accuracy(card)
    if metric is None:
        return '<p class="soft">The accuracy was not measured.</p>'
    value, (low, high) = metric["value"], metric["interval"]
    return (
        f'<div><p><span class="figure">{facts.percent(value)}</span> <span class="soft">right</span></p>'
        f'<div class="meter"><i style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
        f'<b style="left:{100 * value:.2f}%"></b></div>'
        f'<p class="soft small">measured on {metric["n"]:,} test pictures it had never seen; '
        f"95 % interval {facts.percent(low)} to {facts.percent(high)}</p></div>"
    )
