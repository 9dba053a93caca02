"""The effect of one column as HTML: what the network says of one row as this column goes through its range and the others stay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape

import numpy as np

from apps.prediction import rounded, scale, share, stretch
from apps.runtime import Predicted, Regressor
from apps.runtime.regression import Column, Field

POINTS = 61  # of a curve; with the row itself they are one batch
FEW_WHOLE = 40  # a column of whole numbers with no more of them is drawn by its numbers
TICKS = 4
ROOM = 0.06  # of the height, above and below the band


@dataclass(frozen=True)
class Sweep:
    """A column's way through its range: `features` float32 [N, D], of which row `now` is the one it started from."""

    field: Field
    features: np.ndarray
    now: int


def sweep(regressor: Regressor, row: np.ndarray, field: Field, whole: bool = False) -> Sweep:
    """From float32 [D]: a row for each word, or for numbers from low to high and on to the row's own; N is at most POINTS + 1."""
    if field.words:
        features = np.tile(row, (len(field.words), 1))
        features[:, list(field.places)] = np.eye(len(field.words), dtype=np.float32)
        return Sweep(field, features, int(np.argmax(row[list(field.places)])))
    place = field.places[0]
    column, own = regressor.columns[place], row[place]
    low, high = min(column.low, float(own)), max(column.high, float(own))
    steps = round(high - low) + 1 if whole and high - low < FEW_WHOLE else POINTS
    points = np.union1d(np.linspace(low, high, steps).astype(np.float32), own)
    features = np.tile(row, (len(points), 1))
    features[:, place] = points
    return Sweep(field, features, int(np.searchsorted(points, own)))


def effect_card(regressor: Regressor, swept: Sweep, predicted: Predicted) -> str:
    """A curve for each target; of a column of words a bar for each of its words."""
    draw = bars if swept.field.words else curve
    drawn = "".join(draw(regressor, swept, predicted, number) for number in range(len(regressor.targets)))
    return f"""<div class="kd"><div class="card effect">{drawn}
<p class="soft small">The other columns stay as they are set; the band is the {share(regressor.level)} interval. This is what the
network says, not what would happen: in the data columns move together, here one moves alone.</p></div></div>"""


def curve(regressor: Regressor, swept: Sweep, predicted: Predicted, number: int) -> str:
    column, target = regressor.columns[swept.field.places[0]], regressor.targets[number]
    at = swept.features[:, swept.field.places[0]].astype(float)
    values, (low, high) = predicted.values[:, number].astype(float), predicted.intervals[:, number].astype(float).T
    x, y = scale(at[0], at[-1]), upwards(float(low.min()), float(high.max()))
    now = swept.now
    own, value = f"left:{x(at[now]):.2f}%", f"top:{y(values[now]):.2f}%"
    told = (
        f"{target.name} over {column.name}: from {rounded(values[0], target.std)} at {rounded(at[0], column.std)} to "
        f"{rounded(values[-1], target.std)} at {rounded(at[-1], column.std)}; now {rounded(values[now], target.std)} at "
        f"{rounded(at[now], column.std)}"
    )
    line = points(x, y, at, values)
    band = f"{points(x, y, at, high)} {points(x, y, at[::-1], low[::-1])}"
    return f"""<figure class="plot"><figcaption class="small">{escape(target.title)}</figcaption>
<div class="area" role="img" aria-label="{escape(told)}"><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">
{beyond(column, at, x)}{grid(low.min(), high.max(), y)}<polygon points="{band}"/><polyline points="{line}"/></svg>
<i class="own" style="{own}"></i><b style="{own};{value}"></b>{y_ticks(low.min(), high.max(), y, target)}{x_ticks(column, at, x)}</div>
<p class="soft small middle">{escape(column.title)}</p></figure>"""


def bars(regressor: Regressor, swept: Sweep, predicted: Predicted, number: int) -> str:
    target, field = regressor.targets[number], swept.field
    values, intervals = predicted.values[:, number].astype(float), predicted.intervals[:, number].astype(float)
    place = scale(float(intervals.min()), float(intervals.max()))
    rows = "".join(
        f"<li{' class=now' * (index == swept.now)}><span>{escape(word)}{' (set)' * (index == swept.now)}</span>"
        f'<span>{rounded(values[index], target.std)} <span class="soft small">{interval(intervals[index], target)}</span></span>'
        f'<div class="span" aria-hidden="true">{stretch("i", place, *intervals[index])}'
        f'<b style="left:{place(values[index]):.2f}%"></b></div></li>'
        for index, word in enumerate(field.words)
    )
    caption = f"{escape(target.title)} by {escape(field.name)}"
    return f'<figure class="words"><figcaption class="small">{caption}</figcaption><ul>{rows}</ul></figure>'


def interval(ends: np.ndarray, target: Column) -> str:
    return " to ".join(rounded(end, target.std) for end in ends)


def upwards(low: float, high: float):
    """Like `scale`, from the top of a plot, with some room at both ends."""
    room = ROOM * (high - low)
    place = scale(low - room, high + room)
    return lambda number: 100 - place(number)


def points(x, y, at: np.ndarray, values: np.ndarray) -> str:
    return " ".join(f"{x(one):.2f},{y(value):.2f}" for one, value in zip(at, values, strict=True))


def beyond(column: Column, at: np.ndarray, x) -> str:
    """Where no training row was."""
    left, right = x(max(column.low, at[0])), x(min(column.high, at[-1]))
    sides = [(0.0, left), (right, 100.0)]
    return "".join(f'<rect x="{start:.2f}" y="0" width="{end - start:.2f}" height="100"/>' for start, end in sides if end - start > 0.01)


def grid(low: float, high: float, y) -> str:
    return "".join(f'<line x1="0" x2="100" y1="{y(tick):.2f}" y2="{y(tick):.2f}"/>' for tick in ticks(low, high))


def y_ticks(low: float, high: float, y, target: Column) -> str:
    return "".join(f'<span class="y" style="top:{y(tick):.2f}%">{tick_text(tick)}</span>' for tick in ticks(low, high))


def x_ticks(column: Column, at: np.ndarray, x) -> str:
    """Round numbers, or the one number there is."""
    found = ticks(at[0], at[-1]) if at[-1] > at[0] else [at[0]]
    return "".join(f'<span class="x" style="left:{x(tick):.2f}%">{tick_text(tick)}</span>' for tick in found)


def ticks(low: float, high: float, wanted: int = TICKS) -> list[float]:
    """Round numbers within the two, about as many as wanted."""
    width = high - low
    if not width > 0 or not math.isfinite(width):
        return [low]
    raw = width / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((factor * power for factor in (1, 2, 5, 10)), key=lambda one: abs(math.log(one / raw)))
    return [number * step for number in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def tick_text(number: float) -> str:
    if abs(number) >= 1e6:
        return f"{number:.2e}".replace("e+0", "e").replace("e+", "e")
    return f"{number:,.10g}"


def choice_of(regressor: Regressor, chosen: str) -> str:
    """The select of the column whose effect is drawn."""
    options = "".join(
        f'<option value="{escape(field.name)}"{" selected" * (field.name == chosen)}>{escape(field.name)}</option>'
        for field in regressor.fields
    )
    return (
        '<div class="kd"><section class="card effect-of" aria-label="Effect"><h2 id="effect-title">The effect of</h2>'
        f'<select aria-labelledby="effect-title">{options}</select></section></div>'
    )
