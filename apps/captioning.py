"""The captioning page: choose a network, give it a picture, read what it says, and see where it looked for every word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from apps import calls, examples, facts, page
from apps.library import Library, PictureError, Said
from apps.page import AT_ONCE, QUIET, REFUSED, refusal
from apps.runtime import Bundle, Caption, Choice
from apps.uploads import Upload, copied_example, example_of, picture_input

BEAMS = (1, 3, 5, 10)
SHADE = (15, 23, 42)  # what it did not look at is put under a cloth of this colour ...
DARKEST = 0.8  # ... of this thickness
SMOOTH = 4  # times the grid, before the browser does the rest
FEW_WORDS = 12
WAITING = """<div class="kd"><section class="card" aria-label="Answer"><h2>Answer</h2>
<p class="soft">Show it a picture: what it says of it appears here, and where it looked for every word.</p></section></div>"""
HOW_TO_READ = "Point at a word, or move the slider: what it looked at for that word stays bright."
FIGURES = {"BLEU-4": "BLEU-4", "ROUGE-L": "ROUGE-L", "CIDEr-D": "CIDEr-D", "exact": "word for word as one that came with it"}


def build(pages: gr.Blocks, library: Library, secured: bool = False) -> None:
    """Lay the page out inside the open route and wire it."""
    act = Page(library, secured)
    page.title("What does the picture show?", "Choose a network and show it something; it answers with a sentence, on this machine.")
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            model = page.network(library, "captioning")
            scope = gr.HTML(elem_id="scope")
            picture = picture_input()
            beam = gr.Radio(list(BEAMS), value=3, label="Beam: sentences it holds open while it looks for the best", elem_id="beam")
            shown = page.example_buttons()
        with gr.Column(scale=1, min_width=320):
            answer = page.answer(WAITING)
            trust = page.trust()
    program = page.program()
    beam.preprocess = read_beam  # type: ignore[method-assign]  # gradio would answer a wrong one without a sentence

    asked: dict[str, Any] = {"api_visibility": "undocumented", "concurrency_limit": AT_ONCE}  # /api and /v2 are what programs should use
    given, said = [model, picture, beam], [answer, program]
    picture.change(act.caption, given, said, api_name="caption", show_progress="minimal", **asked).failure(no_answer, None, answer, **QUIET)
    beam.input(act.caption, given, said, trigger_mode="always_last", **QUIET).failure(no_answer, None, answer, **QUIET)
    shown.select(act.example, model, picture, **QUIET)
    changed = page.follow(pages, library, "captioning", model, act.describe, [scope, beam, trust, shown, program])
    changed.then(act.caption, given, said, **QUIET).failure(no_answer, None, answer, **QUIET)


class Page:
    """What the page does, over one library; every refusal is a sentence in a gr.Error."""

    def __init__(self, library: Library, secured: bool):
        self.library = library
        self.secured = secured

    def caption(self, model: str, picture: Upload | None, beam: int, request: gr.Request) -> tuple[str, str]:
        """The answer to one picture, and the call that gives it to a program."""
        call = replace(self.call(model, request), options={"beam": beam})
        if picture is None:
            return WAITING, self.repeat(call)
        try:
            said = self.library.caption(model, picture.source, Choice(beam))
        except (PictureError, *REFUSED) as error:
            raise refusal(error) from None
        example = example_of(self.library, model, picture)
        told = self.library.references(model, example.name) if example else []
        address = examples.public_address(call.origin, model, example) if example else None
        return answer_card(said, told), self.repeat(replace(call, picture=picture.name, address=address), said.caption)

    def call(self, model: str, request: gr.Request) -> calls.Call:
        return calls.Call(page.origin(request), page.known(self.library, model), secured=self.secured)

    def repeat(self, call: calls.Call, caption: Caption | None = None) -> str:
        """The panel with the programs."""
        if caption is None:
            return calls.panel(calls.one_picture(call), "The call that does what the page does, for the chosen network.")
        return calls.panel(calls.one_picture(call), f"Each gives the answer above: {escape(caption.text)}, {caption.score:.6f}.")

    def example(self, model: str, event: gr.EventData) -> str:
        return copied_example(self.library, model, str(event.name))

    def describe(self, model: str, request: gr.Request) -> tuple[Any, ...]:
        """What it can speak of, its own beam, the card's facts, the examples and the call."""
        call = self.call(model, request)
        card, beam = call.bundle.card, call.bundle.card["caption"]["beam"]
        trust = page.trust_panel(call.bundle, measured(card), spoken_facts(call.bundle))
        listed = page.example_list(self.library, model, say=lambda file: file.stem.rpartition("-")[2])  # more has no room below 24
        return scope_of(call.bundle), gr.Radio(choices=sorted({*BEAMS, beam}), value=beam), trust, listed, self.repeat(call)


def read_beam(payload: Any) -> int:
    try:
        return Choice(int(payload)).beam
    except (TypeError, ValueError, OverflowError):
        raise refusal(f"The beam must be one of {', '.join(map(str, BEAMS))}. Received: {str(payload)[:40]}.") from None


def no_answer() -> str:
    return WAITING


def answer_card(said: Said, references: Sequence[str] = ()) -> str:
    """The sentence, the picture under the cloth of each word, the other sentences, and what others say of an example."""
    caption = said.caption
    return f"""<div class="kd"><section class="card spoken" aria-label="Answer"><h2>Answer</h2>
<p class="sentence" lang="en">{sentence(caption)}</p>
{looks(said)}
<p class="soft small">{escape(doubts(caption))}</p>
{alternatives(caption)}{told(references)}</section></div>"""


def sentence(caption: Caption) -> str:
    """The words as they stand in the text, each with its number."""
    parts, place = [], 0
    for number, word in enumerate(caption.words, 1):
        start = caption.text.index(word, place)
        parts.append(escape(caption.text[place:start]) + f'<span data-word="{number}">{escape(word)}</span>')
        place = start + len(word)
    return "".join(parts) or "<em>It says nothing.</em>"


def looks(said: Said) -> str:
    """The picture as the network saw it, a cloth for every word, and the slider that chooses among them; 0 is the bare picture."""
    height, width = said.seen.shape[:2]
    words = said.caption.words
    cloths = "".join(
        f'<img class="cloth" data-word="{number}" src="{page.picture_address(cloth(look))}" alt="">'
        for number, look in enumerate(said.caption.attention.mean(1), 1)
    )
    described = f"The picture as the network saw it, {width} x {height} pixels"
    slider = (
        f'<label class="soft small" for="word">{HOW_TO_READ}</label>'
        f'<input type="range" id="word" min="0" max="{len(words)}" value="0" step="1" aria-valuetext="the whole picture">'
    )
    shape = f"aspect-ratio: {width} / {height}"
    bare = f'<img src="{page.picture_address(said.seen)}" alt="{described}">'
    return f'<div class="looks" style="{shape}">{bare}{cloths}</div>{slider if words else ""}'


def cloth(look: np.ndarray) -> np.ndarray:
    """An attention float32 [h, w] as uint8 [4h, 4w, 4]: transparent where it looked most."""
    height, width = look.shape
    light = Image.fromarray((look / max(float(look.max()), 1e-9)).astype(np.float32))
    light = np.asarray(light.resize((SMOOTH * width, SMOOTH * height), Image.Resampling.BICUBIC)).clip(0, 1)
    alpha = (255 * DARKEST * (1 - light)).round()
    return np.dstack([*(np.full_like(alpha, level) for level in SHADE), alpha]).astype(np.uint8)


def doubts(caption: Caption) -> str:
    """How close another choice came, in words."""
    if not caption.ended:
        return "It ran out of room before it came to an end: do not rely on this sentence."
    if len(caption.alternatives) > 1 or not math.isfinite(caption.margin):  # a beam's margin is of its places; its sentences are listed
        return ""
    times = math.exp(min(caption.margin, 20))
    return f"At its narrowest choice the next best was {times:,.1f} times less likely: near 1 it might as well have said something else."


def alternatives(caption: Caption) -> str:
    bars = "".join(page.bar(text or "nothing", surety(score), facts.percent(surety(score))) for text, score in caption.alternatives)
    return (
        f'<h3>{"Sentences it finished" if len(caption.alternatives) > 1 else "How sure it was"}</h3><ol class="bars">{bars}</ol>'
        '<p class="soft small">The figure is the probability it gave a word, on the geometric average over the sentence.</p>'
    )


def surety(score: float) -> float:
    return math.exp(min(score, 0.0))


def told(references: Sequence[str]) -> str:
    """The captions that came with an example."""
    if not references:
        return ""
    listed = "".join(f"<li>{escape(reference)}</li>" for reference in references)
    return f'<h3>Captions that came with this test picture</h3><ul class="told">{listed}</ul>'


def scope_of(bundle: Bundle) -> str:
    """What it can speak of at all, before anybody shows it something else."""
    words = bundle.words.spoken if bundle.words else []
    made = ", all drawn by a program" if bundle.card.get("data", {}).get("synthetic") else ""
    name = bundle.card.get("data", {}).get("name", "pictures that its card does not name")
    return (
        f'<div class="kd"><p class="soft small" id="honest">It was trained on {escape(str(name))}{made}, and knows {len(words):,} words. '
        "Of any other picture it makes a sentence too, in the same words and just as fluently: do not believe it.</p></div>"
    )


def measured(card: dict[str, Any]) -> str:
    """The card's figures of generated captions as HTML."""
    metrics = card.get("metrics", {})
    rest = [f"{words} {metrics[name]['value']:.3f}" for name, words in FIGURES.items() if name in metrics]
    listed = f'<p class="soft small">{escape(", ".join(rest))}; of captions it wrote itself, word by word</p>' if rest else ""
    if "all_slots" in metrics:
        return page.share_line(metrics["all_slots"], "of captions have every fact right") + listed
    found = facts.headline(card)
    if found is None:
        return '<p class="soft">Its captions were not measured.</p>'
    value, words, metric = found
    return f'<p><span class="figure">{value}</span> <span class="soft">{words}, {metric["n"]:,} test pictures</span></p>{listed}'


def spoken_facts(bundle: Bundle) -> list[tuple[str, str]]:
    words = bundle.words.spoken if bundle.words else []
    caption = bundle.card["caption"]
    height, width = caption["grid"]
    return [
        ("Words", f"{len(words):,}: {', '.join(words[:FEW_WORDS])}{', ...' * (len(words) > FEW_WORDS)}"),
        ("Sentences", f"up to {caption['length'] - 2} words"),
        ("Attention", f"over {height} x {width} places of the picture"),
    ]
