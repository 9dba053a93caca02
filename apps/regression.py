"""The regression page: set a row by sliders, see the number it predicts in its interval and what one column does; or give it a CSV file."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr
import numpy as np

from apps import calls, curves, page, prediction, sliders
from apps.engine import Ticket
from apps.library import Library
from apps.page import AT_ONCE, QUIET, REFUSED, refusal
from apps.runtime import Predicted, Regressor, RowError
from apps.tables import MAX_ROWS, predict_table, write_table
from apps.uploads import own_file

T = TypeVar("T")
EMPTY = ""
SPLITS = {"valid": "validation", "train": "training"}


def build(pages: gr.Blocks, library: Library, secured: bool = False) -> None:
    """Lay the page out inside the open route and wire it."""
    act = Page(library, secured)
    page.title("What number is to be expected?", "Choose a network and set a row: it predicts a number with its interval, on this machine.")
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            model = page.network(library, "regression")
            scope = gr.HTML(elem_id="scope")
            with gr.Tabs():
                with gr.Tab("One row"):
                    row = sliders.sliders()
                with gr.Tab("Table from CSV", elem_id="csv-tab"):
                    page.note(
                        f"A header with the names of the columns, then up to {MAX_ROWS:,} rows; separated by commas, semicolons or tabs. "
                        "Every row gets its numbers, or its reason."
                    )
                    template = gr.HTML(elem_id="template")
                    file = gr.File(file_count="single", label="CSV file", elem_id="file", height=140)
                    table = gr.HTML(elem_id="table")
                    saved = gr.DownloadButton("Download the CSV", visible=False, elem_id="csv")
        with gr.Column(scale=1, min_width=320):
            answer = page.answer(prediction.WAITING)
            effect_of = gr.HTML(elem_id="effect-of")
            curve = gr.HTML(elem_id="curve")
    with gr.Row():
        with gr.Column(scale=1, min_width=320):
            trust = page.trust()
        with gr.Column(scale=1, min_width=320):
            program = page.program()
    file.preprocess = uploaded_path  # type: ignore[method-assign]

    asked: dict[str, Any] = {"api_visibility": "undocumented", "concurrency_limit": AT_ONCE}  # /api and /v2 are what programs should use
    set_row = row.input(act.predict, model, [answer, curve, program], trigger_mode="always_last", **QUIET)
    given = file.change(
        act.predict_file, [model, file], [table, saved, answer, program], api_name="regress", show_progress="minimal", **asked
    )
    set_row.failure(no_answer, None, [answer, curve], **QUIET)
    given.failure(no_table, None, [table, saved, answer], **QUIET)
    parts = [scope, row, answer, effect_of, curve, template, trust, program]
    changed = page.follow(pages, library, "regression", model, act.describe, parts)
    changed.then(lambda: no_table()[:2], None, [table, saved], **QUIET)


class Page:
    """What the page does, over one library; every refusal is a sentence in a gr.Error."""

    def __init__(self, library: Library, secured: bool):
        self.library, self.secured = library, secured

    def predict(self, model: str, request: gr.Request, event: gr.EventData) -> tuple[str, str, str]:
        """The answer to the row of the event, the effect of the column it names, and the call that gives the numbers to a program."""
        regressor = self.regressor(model)
        with_sentence = read_event(regressor, event)
        rows, truths = prediction.example_rows(self.library, regressor)
        return self.shown(regressor, *with_sentence, rows, truths, request)

    def predict_file(self, model: str, file: str | None, request: gr.Request) -> tuple[Any, ...]:
        """The rows of a CSV file with their numbers as a table and as CSV, how many there are, and the call."""
        regressor = self.regressor(model)
        call = self.call(model, request)
        if file is None:
            return *no_table(), self.repeat(call)
        data = Path(file).read_bytes()

        def work(ticket: Ticket) -> Any:
            return predict_table(regressor, data, lambda features: self.library.predict(regressor, features, ticket), ticket.check)

        outcome = self.run(work)
        written = own_file(f"{model}-predictions.csv")
        written.write_text(write_table(regressor, outcome), encoding="utf-8")
        return (
            prediction.table_of(regressor, outcome),
            gr.DownloadButton(value=str(written), visible=True),
            prediction.table_card(regressor, outcome),
            calls.panel(calls.whole_table(call), "The same for a file of rows."),
        )

    def describe(self, model: str, request: gr.Request) -> tuple[Any, ...]:
        """What it knows, the row it starts from with its answer and the column that matters most there, the card's facts and the call."""
        regressor = self.regressor(model)
        rows, truths = prediction.example_rows(self.library, regressor)
        start = rows[0] if len(rows) else regressor.means
        field = self.widest(regressor, start)
        answer, curve, program = self.shown(regressor, start, field, rows, truths, request)
        card = regressor.bundle.card
        trust = page.trust_panel(regressor.bundle, prediction.measured(card), facts_of(regressor))
        form = sliders.form(regressor, rows, regressor.means)
        return (
            scope_of(regressor),
            form,
            answer,
            curves.choice_of(regressor, field),
            curve,
            template_of(self.library, regressor),
            trust,
            program,
        )

    def shown(
        self, regressor: Regressor, row: np.ndarray, name: str, rows: np.ndarray, truths: np.ndarray, request: gr.Request
    ) -> tuple[str, str, str]:
        """The row and the column's way through its range go through the network as one batch."""
        field = regressor.field(name)
        swept = curves.sweep(regressor, row, field, name in sliders.wholes(regressor, rows))
        predicted = self.run(lambda ticket: self.library.predict(regressor, swept.features, ticket))
        if not predicted.finite.all():
            raise refusal("The numbers lie so far outside the training rows that no prediction is finite.")
        own = predicted.some(np.array([swept.now]))
        known = np.flatnonzero((rows == row).all(1))
        truth = truths[known[0]].tolist() if len(known) else None
        answer = prediction.answer_card(regressor, own, regressor.warnings(row[np.newaxis])[0], truth)
        call = replace(self.call(regressor.bundle.name, request), row=regressor.mapping(row))
        return answer, curves.effect_card(regressor, swept, predicted), self.repeat(call, regressor, own)

    def widest(self, regressor: Regressor, row: np.ndarray) -> str:
        """The column whose range moves the first target furthest."""
        ends = [curves.sweep(regressor, row, field) for field in regressor.fields]
        features = np.concatenate([one.features[[0, -1]] if not one.field.words else one.features for one in ends])
        values = self.run(lambda ticket: self.library.predict(regressor, features, ticket)).values[:, 0]
        counts = [len(one.features) if one.field.words else 2 for one in ends]
        swings = [float(np.ptp(part)) for part in np.split(values, np.cumsum(counts)[:-1])]
        return regressor.fields[int(np.argmax(swings))].name

    def run(self, work: Callable[[Ticket], T]) -> T:
        try:
            return self.library.engine.run_sync(work)
        except (RowError, *REFUSED) as error:
            raise refusal(error) from None

    def regressor(self, model: str) -> Regressor:
        try:
            return self.library.regressor(model)
        except REFUSED as error:
            raise refusal(error) from None

    def call(self, model: str, request: gr.Request) -> calls.Call:
        return calls.Call(page.origin(request), page.known(self.library, model), secured=self.secured)

    def repeat(self, call: calls.Call, regressor: Regressor | None = None, predicted: Predicted | None = None) -> str:
        """The panel with the programs."""
        if regressor is None or predicted is None:
            return calls.panel(calls.whole_table(call), "The call that does what the page does, for the chosen network.")
        told = ", ".join(f"{escape(target.name)} {value:.6g}" for target, value in zip(regressor.targets, predicted.values[0], strict=True))
        return calls.panel(calls.programs(call), f"Each gives the answer above: {told}.")


def read_event(regressor: Regressor, event: gr.EventData) -> tuple[np.ndarray, str]:
    """The row float32 [D] and the column whose effect is wanted."""
    given = getattr(event, "row", None)
    if not isinstance(given, dict):
        raise refusal("The row must be an object of column names and values.")
    try:
        return regressor.row(given), regressor.field(str(getattr(event, "effect", "") or regressor.fields[0].name)).name
    except RowError as error:
        raise refusal(error) from None


def uploaded_path(payload: Any) -> str | None:
    """Where gradio put the upload; it has checked that the path is its own."""
    return None if payload is None else payload.path


def no_answer() -> tuple[str, str]:
    return prediction.WAITING, EMPTY


def no_table() -> tuple[str, Any, str]:
    return EMPTY, gr.DownloadButton(visible=False), prediction.WAITING


def scope_of(regressor: Regressor) -> str:
    """What it knows at all, before anybody believes it."""
    data = regressor.bundle.card.get("data", {})
    made = ", all drawn by a program" if data.get("synthetic") else ""
    count = data.get("counts", {}).get("train")
    rows = f"{count:,} rows of " if count else ""
    return (
        f'<div class="kd"><p class="soft small" id="honest">It was trained on {rows}{escape(str(data.get("name", "a table")))}{made}, and '
        "knows the columns below and nothing else. A slider ends where the training rows did; a box takes any number, and the answer says "
        "when it is outside.</p></div>"
    )


def template_of(library: Library, regressor: Regressor) -> str:
    """A file to begin with: the example rows, where the bundle brought some."""
    data = library.example_rows(regressor.bundle.name)
    names = ", ".join(field.name for field in regressor.fields)
    link = (
        f' <a href="data:text/csv;base64,{base64.b64encode(data).decode()}" download="{escape(regressor.bundle.name)}-rows.csv">'
        "An example: rows of its test split</a>."
        if data
        else ""
    )
    return f'<div class="kd"><p class="soft small">Its columns: {escape(names)}.{link}</p></div>'


def facts_of(regressor: Regressor) -> list[tuple[str, str]]:
    targets = [
        f"{target.name}, {target.measured(target.low)} to {target.measured(target.high)} in training" for target in regressor.targets
    ]
    interval = (
        f"{prediction.share(regressor.level)}, its width measured on the {SPLITS.get(regressor.measured_on, regressor.measured_on)} rows"
    )
    return [("Predicts", "; ".join(targets)), ("Interval", interval)]
