"""The row of the regression page: a slider and a box for each column of numbers, a list for each of words, and where to start from.

The browser keeps the row; at every change it sends the whole of it, as the event `input` with `row` and `effect`.
"""

from __future__ import annotations

import json
from html import escape

import gradio as gr
import numpy as np

from apps.runtime import Regressor
from apps.runtime.regression import Column, Field

STEPS = 400  # of a slider, about
ACT = """
const fields = () => [...element.querySelectorAll('[data-field]')];
const box = (field) => field.querySelector('input[type=number], select');
const slider = (field) => field.querySelector('input[type=range]');
const fine = (field) => box(field).value !== '' && box(field).checkValidity();
const show = (field) => {
  const {low, high, unit} = field.dataset, value = Number(box(field).value);
  if (slider(field)) {
    if (fine(field)) slider(field).value = value;
    slider(field).setAttribute('aria-valuetext', `${box(field).value} ${unit}`.trim());
    box(field).setAttribute('aria-invalid', String(!fine(field)));
    field.classList.toggle('outside', fine(field) && (value < Number(low) || value > Number(high)));
  }
};
const value = (field) => box(field).type === 'number' ? Number(box(field).value) : box(field).value;
let waiting;
const send = () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    if (!fields().length || !fields().every(fine)) return;
    const effect = document.querySelector('#effect-of select')?.value ?? '';
    trigger('input', {row: Object.fromEntries(fields().map((field) => [field.dataset.field, value(field)])), effect});
  }, 60);
};
const start = (number) => {
  const row = JSON.parse(element.querySelector('[data-rows]').dataset.rows)[number];
  for (const field of fields()) { box(field).value = row[field.dataset.field]; show(field); }
  send();
};
element.addEventListener('input', ({target}) => {
  if (target.matches('.start select')) { if (target.value !== '') start(Number(target.value)); return; }
  const field = target.closest('[data-field]');
  if (!field) return;
  if (target.type === 'range') box(field).value = Number((Math.round(target.value / field.dataset.step) * field.dataset.step).toFixed(8));
  show(field);
  element.querySelector('.start select').value = '';
  send();
});
document.addEventListener('change', ({target}) => { if (target.matches?.('#effect-of select')) send(); });"""


def sliders() -> gr.HTML:
    """Its event `input` carries the row by its columns' names and the name of the column whose effect is wanted."""
    return gr.HTML(elem_id="row", js_on_load=ACT)


def form(regressor: Regressor, rows: np.ndarray, start: np.ndarray) -> str:
    """Set to the first example, else to the means; `rows` float32 [N, D] are the examples."""
    given = [regressor.mapping(row) for row in [*rows, start]]
    whole = wholes(regressor, rows)
    first = given[0]
    names = [f"Test row {number}" for number in range(1, len(rows) + 1)] + ["The middle: means and commonest words"]
    options = "".join(f'<option value="{number}">{name}</option>' for number, name in enumerate(names))
    fields = "".join(
        one_field(regressor, field, first[field.name], field.name in whole, f"field-{n}") for n, field in enumerate(regressor.fields)
    )
    return f"""<div class="kd"><div class="fields" data-rows="{escape(json.dumps(given, ensure_ascii=False))}">
<p class="mini" aria-hidden="true"></p>
<div class="start"><label for="start-from">Start from</label>
<select id="start-from">{options}<option value="">Your own row</option></select></div>
{fields}</div></div>"""


def one_field(regressor: Regressor, field: Field, value: float | str, whole: bool, key: str) -> str:
    name, shown = escape(field.name), escape(field.name).replace("_", "_<wbr>")
    if field.words:
        options = "".join(f"<option{' selected' * (word == value)}>{escape(word)}</option>" for word in field.words)
        return f'<div class="field" data-field="{name}"><label for="{key}">{shown}</label><select id="{key}">{options}</select></div>'
    column = regressor.columns[field.places[0]]
    unit, step = escape(column.unit), step_of(column, whole)
    label = f"{shown}{f' <span class=soft>{unit}</span>' if unit else ''}"
    facts = f'data-field="{name}" data-low="{column.low!r}" data-high="{column.high!r}" data-step="{step:g}" data-unit="{unit}"'
    return f"""<div class="field" {facts}><label for="{key}">{label}</label>
<input type="number" id="{key}" step="any" required value="{value!r}">
{slider_of(column, float(value), name, unit)}</div>"""


def slider_of(column: Column, value: float, name: str, unit: str) -> str:
    """None for a column that never changed; its step is free, for a slider would move a number of the data to its grid."""
    if not column.high > column.low:
        return f'<p class="soft small">always {number(column.low)} in training</p>'
    ends = "".join(f'<span class="soft">{number(end)}</span>' for end in (column.low, column.high))
    facts = f'min="{column.low!r}" max="{column.high!r}" step="any" value="{value!r}"'
    return f'<input type="range" {facts} aria-label="{name}, slider" aria-valuetext="{value:g} {unit}">{ends}'


def step_of(column: Column, whole: bool) -> float:
    """1 of whole numbers; else a round one that has some hundred steps in the range."""
    width = column.high - column.low
    if whole or not width > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(width / STEPS))
    return float(max(step for step in (power, 2 * power, 5 * power) if step <= width / STEPS))


def wholes(regressor: Regressor, rows: np.ndarray) -> set[str]:
    """The columns of numbers that hold whole ones only, as far as the examples and the range tell."""
    found = set()
    for field in regressor.fields:
        column = regressor.columns[field.places[0]]
        seen = [column.low, column.high, *rows[:, field.places[0]].tolist()]
        if not field.words and len(rows) and all(float(number).is_integer() for number in seen):
            found.add(field.name)
    return found


def number(value: float) -> str:
    return f"{value:,.6g}"


__all__ = ["form", "sliders", "step_of", "wholes"]
