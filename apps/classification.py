"""The classification page: choose a bundle, give it a picture, a drawing or a folder, see what it says and how far to trust it."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from apps import calls, examples, page
from apps.facts import percent
from apps.library import Answer, Library, PictureError
from apps.page import AT_ONCE, QUIET, REFUSED, refusal
from apps.uploads import Upload, copied_example, example_of, own_file, picture_input, uploaded_files, uploaded_picture

CANVAS = (280, 280)
MAX_FILES = 500
FORMULA = ("=", "+", "-", "@")  # a spreadsheet would run a cell that begins with one of these
TAKE_BRUSH = """() => { const take = (tries) => {
  const brush = document.querySelector('#sketch button[aria-label="Brush"]');
  if (brush) brush.click(); else if (tries) setTimeout(take, 100, tries - 1);
}; setTimeout(take, 100, 50); }"""  # the sheet opens with no tool in hand
NO_DRAWING = "<style>#draw-button { display: none; }</style>"  # for colour networks; gradio 6.31 shows a tab whatever its visible says
COLUMNS = ["file", "label", "probability", "problem"]
WAITING = """<div class="kd"><section class="card" aria-label="Answer"><h2>Answer</h2>
<p class="soft">Show it a picture: what it says appears here.</p></section></div>"""


def build(pages: gr.Blocks, library: Library, secured: bool = False) -> None:
    """Lay the page out inside the open route and wire it."""
    act = Page(library, secured)
    page.title("What is in the picture?", "Choose a network and show it something; it answers on this machine.")
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            model = page.network(library, "classification")
            with gr.Tabs():
                with gr.Tab("Picture"):
                    picture = picture_input()
                    shown = page.example_buttons()
                with gr.Tab("Draw", elem_id="draw") as draw:
                    page.above("Draw with the mouse or a finger")
                    sketch = sheet()
                with gr.Tab("Folder to CSV"):
                    page.note(
                        f"Up to {MAX_FILES} pictures, 8 MB each and 64 MB together. Every file gets a line; an unreadable one its reason."
                    )
                    files = gr.File(file_count="multiple", label="Pictures", elem_id="files", height=180)
                    with gr.Row():
                        folder = gr.UploadButton("Choose a whole folder", file_count="directory", size="md")
                        start = gr.Button("Classify them", variant="primary", size="md", elem_id="start")
                    table = gr.HTML(elem_id="table")
                    saved = gr.DownloadButton("Download the CSV", visible=False, elem_id="csv")
        with gr.Column(scale=1, min_width=320):
            answer = page.answer(WAITING)
            trust = page.trust()
    program = page.program()

    files.preprocess = folder.preprocess = uploaded_files  # type: ignore[method-assign]
    sketch.preprocess = Sketches(sketch)  # type: ignore[method-assign]

    said = [answer, program]
    asked: dict[str, Any] = {"api_visibility": "undocumented", "concurrency_limit": AT_ONCE}  # /api and /v2 are what programs should use
    given = picture.change(act.classify, [model, picture], said, api_name="classify", show_progress="minimal", **asked)
    drawn = sketch.change(
        act.classify_drawing,
        [model, sketch],
        said,
        api_name="classify_drawing",
        trigger_mode="always_last",
        show_progress="hidden",
        **asked,
    )
    listed = start.click(act.classify_files, [model, files], [table, saved, *said], api_name="classify_files", **asked)
    for event in (given, drawn, listed):
        event.failure(no_answer, None, answer, **QUIET)
    draw.select(None, js=TAKE_BRUSH)
    shown.select(act.example, model, picture, **QUIET)
    folder.upload(lambda chosen_files: chosen_files, folder, files, **QUIET)
    changed = page.follow(pages, library, "classification", model, act.describe, [trust, shown, program])
    changed.then(act.classify, [model, picture], said, **QUIET).failure(no_answer, None, answer, **QUIET)


def sheet() -> gr.Sketchpad:
    return gr.Sketchpad(
        show_label=False,
        height=420,
        canvas_size=CANVAS,
        fixed_canvas=True,
        brush=gr.Brush(default_size=18, colors=["#111111"], color_mode="fixed"),
        layers=False,
        transforms=(),
        format="png",
        buttons=[],
        elem_id="sketch",
    )


class Page:
    """What the page does, over one library; every refusal is a sentence in a gr.Error."""

    def __init__(self, library: Library, secured: bool):
        self.library = library
        self.secured = secured

    def classify(self, model: str, picture: Upload | None, request: gr.Request) -> tuple[str, str]:
        """The answer to one picture, and the call that gives it to a program."""
        call = self.call(model, request)
        if picture is None:
            return WAITING, self.repeat(call)
        answer = self.ask(model, picture)
        call = replace(call, picture=picture.name, address=self.public_address(call, picture))
        return answer_card(answer), self.repeat(call, answer)

    def classify_drawing(self, model: str, sketch: Upload | None, request: gr.Request) -> tuple[str, str]:
        """The same for a drawing; an empty sheet has no answer. The visitor can save it, to send it again."""
        call = replace(self.call(model, request), picture="drawing.png")
        if sketch is None:
            return WAITING, self.repeat(call)
        answer = self.ask(model, sketch)
        link = f'<a href="{page.data_address(sketch.read())}" download="drawing.png">Save the drawing</a> first. '
        return answer_card(answer), self.repeat(call, answer, link)

    def classify_files(self, model: str, files: list[str] | None, request: gr.Request, progress: Any = gr.Progress()) -> tuple[Any, ...]:  # noqa: B008
        """A line for every file: its best label and probability, or what is wrong with it; this as CSV; the labels counted; the call."""
        if not files:
            raise refusal("Choose some pictures first.")
        if len(files) > MAX_FILES:
            raise refusal(f"At most {MAX_FILES} pictures at once are accepted. Received: {len(files)}.")
        call = self.call(model, request)
        rows = [self.line(model, file) for file in progress.tqdm(sorted(files, key=lambda file: Path(file).name), desc="Classifying")]
        programs = calls.panel(calls.many_pictures(call), "The same for the files of a folder.")
        return (
            table_of(rows),
            gr.DownloadButton(value=write_csv(rows, model), visible=True),
            summary(rows),
            programs,
        )

    def line(self, model: str, file: str) -> list[str]:
        try:
            best = self.library.classify(model, file, top=1).predictions[0]
            return [Path(file).name, best["label"], f"{best['probability']:.4f}", ""]
        except PictureError as error:
            return [Path(file).name, "", "", str(error)]
        except REFUSED as error:
            raise refusal(error) from None

    def ask(self, model: str, picture: Upload) -> Answer:
        try:
            return self.library.classify(model, picture.source)
        except (PictureError, *REFUSED) as error:
            raise refusal(error) from None

    def call(self, model: str, request: gr.Request) -> calls.Call:
        return calls.Call(page.origin(request), page.known(self.library, model), secured=self.secured)

    def public_address(self, call: calls.Call, picture: Upload) -> str | None:
        """Where a program finds the picture, if it is one of the network's examples."""
        example = example_of(self.library, call.bundle.name, picture)
        return example and examples.public_address(call.origin, call.bundle.name, example)

    def repeat(self, call: calls.Call, answer: Answer | None = None, first: str = "") -> str:
        """The panel with the programs; `first` is HTML."""
        if answer is None:
            return calls.panel(calls.one_picture(call), "The call that does what the page does, for the chosen network.")
        best = answer.predictions[0]
        sentence = f"{first}Each gives the answer above: {escape(best['label'])}, {best['probability']:.6f}."
        return calls.panel(calls.one_picture(call), sentence)

    def example(self, model: str, event: gr.EventData) -> str:
        return copied_example(self.library, model, str(event.name))

    def describe(self, model: str, request: gr.Request) -> tuple[str, str, str]:
        """The card's facts, the examples and the call."""
        call = self.call(model, request)
        facts = NO_DRAWING * (call.bundle.color != "grey") + page.trust_panel(call.bundle)
        return facts, page.example_list(self.library, model), self.repeat(call)


class Sketches:
    """The composite of a drawing as a file or its bytes, unopened. The browser sends it ahead under a number; few are kept."""

    KEPT = 16

    def __init__(self, sketch: gr.ImageEditor):
        self.sketch = sketch

    def __call__(self, payload: Any) -> Upload | None:
        if payload is None:
            return None
        stored = self.sketch.blob_storage
        source = stored.pop(payload.id, None) if payload.id is not None else payload
        for forgotten in list(stored)[: -self.KEPT]:
            stored.pop(forgotten, None)
        composite = source.composite if source else None
        return Upload(composite) if isinstance(composite, bytes) else uploaded_picture(composite)


def write_csv(rows: list[list[str]], model: str) -> str:
    file = own_file(f"{model}.csv")
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows([f"'{name}" if name.startswith(FORMULA) else name, *rest] for name, *rest in rows)
    return str(file)


def no_answer() -> str:
    return WAITING


def answer_card(answer: Answer) -> str:
    """The best label, the others as bars, and the picture as the network saw it."""
    best = answer.predictions[0]
    height, width = answer.seen.shape[:2]
    bars = "".join(page.bar(entry["label"], entry["probability"], percent(entry["probability"])) for entry in answer.predictions)
    return f"""<div class="kd"><section class="card" aria-label="Answer"><h2>Answer</h2>
<div class="said"><figure><img src="{page.picture_address(answer.seen)}" alt="The picture as the network saw it, {width} x {height} pixels">
<figcaption class="soft small">what it saw</figcaption></figure>
<p><strong class="label">{escape(best["label"])}</strong>
<data class="figure" value="{best["probability"]!r}">{percent(best["probability"])}</data></p></div>
<ol class="bars">{bars}</ol></section></div>"""


def table_of(rows: list[list[str]]) -> str:
    heads = "".join(f'<th scope="col">{name}</th>' for name in COLUMNS)
    lines = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"""<div class="kd"><div class="scroll" role="region" aria-label="Answers" tabindex="0">
<table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div></div>"""


def summary(rows: list[list[str]]) -> str:
    """How many of the pictures got each label, most first."""
    counts = Counter(label for _, label, _, problem in rows if not problem)
    bars = "".join(page.bar(label, count / len(rows), f"{count:,}") for label, count in counts.most_common())
    unread = sum(1 for row in rows if row[3])
    failed = f" {unread:,} could not be read; the table says why." if unread else ""
    return f"""<div class="kd"><section class="card" aria-label="Answer"><h2>Answer</h2>
<p>{counts.total():,} of {len(rows):,} pictures classified.{failed}</p><ol class="bars">{bars}</ol></section></div>"""
