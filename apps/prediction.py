"""Predicted numbers as HTML: the value with its interval drawn on the range of the training rows, what lies outside them, the errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

import numpy as np

from apps import calls, facts, page
from apps.library import Library
from apps.runtime import Predicted, Regressor, RowError
from apps.runtime.regression import Column
from apps.tables import Outcome, read_rows, read_table

WAITING = """<div class="kd"><section class="card" aria-label="Answer"><h2>Answer</h2>
<p class="soft">Set a row: what it predicts appears here.</p></section></div>"""
SHOWN_ROWS = 200  # of a file on the page; its CSV has them all
HUGE = 1e9  # from here on digits are counted, not decimals
COLUMNS = {"MAE": "mean absolute error", "RMSE": "RMSE", "R2": "R\u00b2"}


def rounded(number: float, std: float) -> str:
    """To three digits of the standard deviation: what lies behind them is below any error."""
    if not math.isfinite(number) or abs(number) >= HUGE:
        return f"{number:.4g}"
    text = f"{number:,.{decimals(std)}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text


def decimals(std: float) -> int:
    return min(max(2 - math.floor(math.log10(std)), 0), 8) if std > 0 else 2


def with_unit(number: float, column: Column) -> str:
    return f"{rounded(number, column.std)}{f' {column.unit}' if column.unit else ''}"


def answer_card(regressor: Regressor, predicted: Predicted, warnings: Sequence[str], truth: Sequence[float] | None = None) -> str:
    """The first row of `predicted`; `truth` holds the targets' true values where they are known."""
    truths = [None if truth is None or not math.isfinite(one) else one for one in (truth or [math.nan] * len(regressor.targets))]
    answers = [
        Answer(target, regressor.level, float(value), float(low), float(high), known)
        for target, value, (low, high), known in zip(regressor.targets, predicted.values[0], predicted.intervals[0], truths, strict=True)
    ]
    short = "; ".join(answer.short for answer in answers)
    return f"""<div class="kd"><section class="card predicted" aria-label="Answer" data-short="{escape(short)}"><h2>Answer</h2>
{"".join(answer.html() for answer in answers)}{warned(warnings)}
<p class="soft small">{promise(regressor)}</p></section></div>"""


@dataclass(frozen=True)
class Answer:
    """One target's value and interval, and its true value where it is known."""

    target: Column
    level: float
    value: float
    low: float
    high: float
    truth: float | None

    @property
    def short(self) -> str:
        return f"{self.target.name} {self.said(self.value)}, {self.interval}"

    @property
    def interval(self) -> str:
        return f"{self.said(self.low)} to {self.said(self.high)}"

    def said(self, number: float) -> str:
        return rounded(number, self.target.std)

    def html(self) -> str:
        unit = f' <span class="unit">{escape(self.target.unit)}</span>' if self.target.unit else ""
        return f"""<div class="target"><h3>{escape(self.target.name)}</h3>
<p><data class="figure" value="{self.value!r}">{self.said(self.value)}</data>{unit}
<span class="soft">{share(self.level)} interval <b>{self.interval}</b></span></p>
{self.bar()}{self.compared()}</div>"""

    def bar(self) -> str:
        """The training rows' range as a track, the interval as a band on it, the value as a line and the true one as a diamond."""
        target = self.target
        numbers = [target.low, target.high, self.low, self.high, *([] if self.truth is None else [self.truth])]
        place = scale(min(numbers), max(numbers))
        truth = "" if self.truth is None else f'<em style="left:{place(self.truth):.2f}%"></em>'
        known = "" if self.truth is None else f", the true value {self.said(self.truth)}"
        told = (
            f"{target.name} {with_unit(self.value, target)}, interval {self.interval}{known}; "
            f"the training rows had {self.said(target.low)} to {self.said(target.high)}"
        )
        ends = (
            f'<span style="left:{place(target.low):.2f}%">{self.said(target.low)}</span>'
            f'<span style="right:{100 - place(target.high):.2f}%">{self.said(target.high)}</span>'
        )
        return (
            f'<div class="span" role="img" aria-label="{escape(told)}">{stretch("u", place, target.low, target.high)}'
            f'{stretch("i", place, self.low, self.high)}<b style="left:{place(self.value):.2f}%"></b>{truth}</div>'
            f'<div class="ends soft small" aria-hidden="true">{ends}<span class="middle">the training rows</span></div>'
        )

    def compared(self) -> str:
        if self.truth is None:
            return ""
        inside = "inside" if self.low <= self.truth <= self.high else "outside"
        off = rounded(abs(self.value - self.truth), self.target.std)
        return (
            '<p class="small truth"><em aria-hidden="true"></em><span>true value '
            f"<b>{escape(with_unit(self.truth, self.target))}</b>: off by {off}, {inside} the interval</span></p>"
        )


def scale(low: float, high: float) -> Any:
    """A function that gives the place of a number between the two, in percent."""
    width = high - low
    return lambda number: 100 * (number - low) / width if width > 0 else 50.0


def stretch(tag: str, place: Any, low: float, high: float) -> str:
    return f'<{tag} style="left:{place(low):.2f}%;width:{place(high) - place(low):.2f}%"></{tag}>'


def share(level: float) -> str:
    return f"{100 * level:g}\u00a0%"


def warned(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    listed = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f"""<div class="warned"><p><b>Outside what it was trained on</b></p><ul>{listed}</ul>
<p class="small">There it continues what it learnt inside. Nobody measured how well, and the interval does not know of it.</p></div>"""


def promise(regressor: Regressor) -> str:
    """What the interval is, and how often it kept its word."""
    held = [
        f"{facts.percent(found['coverage']['value'])}{f' of {escape(name)}' if len(regressor.targets) > 1 else ''}"
        for name, found in facts.errors(regressor.bundle.card).items()
        if "coverage" in found
    ]
    kept = f" On the test rows it held {', '.join(held)}." if held else ""
    return f"The interval should hold {share(regressor.level)} of new values, of rows like those it was trained on.{kept}"


def measured(card: dict[str, Any], few: bool = False) -> str:
    """The errors on the test rows, for each target; with `few` the first lines of it, for a place that has little room."""
    targets = {target["name"]: target for target in card["table"]["targets"]}
    found = [
        one_error(Column(**targets[name]), scores, len(targets) > 1, few) for name, scores in facts.errors(card).items() if "MAE" in scores
    ]
    return "".join(found) or '<p class="soft small">Its errors were not measured.</p>'


def one_error(target: Column, scores: dict[str, dict[str, Any]], several: bool, few: bool) -> str:
    mean = scores["MAE"]
    rest = [
        f"{COLUMNS[name]} {said_score(name, scores[name], scores[name]['value'])}{'' if few else between(name, scores[name])}"
        for name in ("RMSE", "R2")
        if name in scores
    ]
    own = f"95 % interval {found.strip(' ()')}; " if (found := between("MAE", mean)) else ""
    of = f" of {escape(target.name)}" if several or few else ""
    coverage = "" if few or "coverage" not in scores else page.share_line(scores["coverage"], "of true values in the interval", "rows")
    unit = f' <span class="unit">{escape(target.unit)}</span>' if target.unit else ""
    return (
        f'<p><span class="figure">{said_score("MAE", mean, mean["value"])}</span>{unit} <span class="soft">{COLUMNS["MAE"]}{of}</span></p>'
        f'<p class="soft small">{"" if few else own}{", ".join(rest)}; {mean["n"]:,} test rows</p>{coverage}'
    )


def said_score(name: str, score: dict[str, Any], number: float) -> str:
    """R2 to two decimals, an error to three digits of itself."""
    return f"{number:.2f}" if name == "R2" else rounded(number, abs(score["value"]))


def between(name: str, score: dict[str, Any]) -> str:
    """` (38.3 to 50.7)`, the interval of a score where it has one"""
    if not score.get("interval"):
        return ""
    low, high = (said_score(name, score, end) for end in score["interval"])
    return f" ({low} to {high})"


def table_card(regressor: Regressor, outcome: Outcome) -> str:
    """How many rows of a file could be predicted, and how far off where the file has true values."""
    count, total = len(outcome.places), len(outcome.table.rows)
    failed = f" {total - count:,} could not be: the table says why." if count < total else ""
    warned_rows = sum(map(bool, outcome.warnings))
    outside = f" Outside the training rows in places: {warned_rows:,}." if warned_rows else ""
    unread = f"<p>Not read, but kept in the CSV: {escape(', '.join(outcome.unread[:12]))}.</p>" if outcome.unread else ""
    return f"""<div class="kd"><section class="card" aria-label="Answer"><h2>Answer</h2>
<p>{count:,} of {total:,} rows predicted.{failed}{outside}</p>{unread}{"".join(file_errors(regressor, outcome))}
<p class="soft small">{promise(regressor)}</p></section></div>"""


def file_errors(regressor: Regressor, outcome: Outcome) -> list[str]:
    """For each target with true values in the file: the mean absolute error, and how many lie in their intervals."""
    told = []
    truths = outcome.truths[outcome.places]
    for place, target in enumerate(regressor.targets):
        known = np.isfinite(truths[:, place])
        if not known.any():
            continue
        truth, intervals = truths[known, place], outcome.predicted.intervals[known, place]
        error = float(np.abs(outcome.predicted.values[known, place] - truth).mean())
        inside = int(((intervals[:, 0] <= truth) & (truth <= intervals[:, 1])).sum())
        told.append(
            f"<p>Beside the true values of {escape(target.name)} in the file: off by <b>{escape(with_unit(error, target))}</b> "
            f"on average, {inside:,} of {int(known.sum()):,} inside their intervals.</p>"
        )
    return told


def table_of(regressor: Regressor, outcome: Outcome) -> str:
    """The first rows as a table: line, prediction and interval, the true value where the file has it, and what is wrong or outside."""
    with_truth = [place for place in range(len(regressor.targets)) if np.isfinite(outcome.truths[:, place]).any()]
    heads = ["line"]
    for place, target in enumerate(regressor.targets):
        heads += [target.title, "interval", *["true"] * (place in with_truth)]
    heads.append("note")
    numbers = dict(zip(outcome.places, range(len(outcome.places)), strict=True))
    lines = "".join(
        table_line(regressor, outcome, place, numbers.get(place), with_truth) for place in range(min(len(outcome.table.rows), SHOWN_ROWS))
    )
    more = len(outcome.table.rows) - SHOWN_ROWS
    rest = f'<p class="soft small">{more:,} more rows are in the CSV.</p>' if more > 0 else ""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return f"""<div class="kd"><div class="scroll rows" role="region" aria-label="Predictions" tabindex="0">
<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>{rest}</div>"""


def table_line(regressor: Regressor, outcome: Outcome, place: int, number: int | None, with_truth: Sequence[int]) -> str:
    cells = [f"{outcome.table.lines[place]:,}"]
    for index, target in enumerate(regressor.targets):
        if number is None:
            cells += ["", ""]
        else:
            low, high = outcome.predicted.intervals[number, index]
            cells += [rounded(float(outcome.predicted.values[number, index]), target.std)]
            cells += [f"{rounded(float(low), target.std)} to {rounded(float(high), target.std)}"]
        if index in with_truth:
            truth = outcome.truths[place, index]
            cells.append(rounded(float(truth), target.std) if math.isfinite(truth) else "")
    note = outcome.problems.get(place) or " ".join(outcome.warnings[number] if number is not None else [])
    kind = ' class="problem"' if place in outcome.problems else ""
    return f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in [*cells, note])}</tr>"


def example_rows(library: Library, regressor: Regressor) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the test split that came with the bundle, float32 [N, D], and their true values [N, T]; none where it brought none."""
    data = library.example_rows(regressor.bundle.name)
    none = np.empty((0, len(regressor.columns)), np.float32), np.empty((0, len(regressor.targets)))
    if data is None:
        return none
    try:
        found = read_rows(regressor, read_table(data))
    except RowError:
        return none
    return found.features, found.truths[found.places]


def example_call(library: Library, call: calls.Call) -> calls.Call:
    """The call with the first example row, or the means."""
    regressor = Regressor(call.bundle)
    rows, _ = example_rows(library, regressor)
    return replace(call, row=regressor.mapping(rows[0] if len(rows) else regressor.means))
