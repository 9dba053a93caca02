// From a row of numbers and words to numbers with their intervals.

import { card, element, inTurn, trouble } from "./dom.js";
import { tensor } from "./runtime.js";

/** The columns as a person fills them in: {name, unit, places, words, low, high}; columns of one choice are one field. */
export function fieldsOf(table) {
  const fields = [];
  table.columns.forEach((column, place) => {
    const word = column.choice ? column.name.slice(column.choice.length + 1) : null;
    const last = fields.at(-1);
    if (word !== null && last?.words && last.name === column.choice) {
      last.places.push(place);
      last.words.push(word);
    } else {
      fields.push({ ...column, name: column.choice || column.name, places: [place], words: word === null ? null : [word] });
    }
  });
  return fields;
}

/** {value, interval: [low, high]} of each target for float32 features of one row. */
export async function predict(bundle, features) {
  const { value, interval } = await bundle.run({ features: tensor("float32", features, [1, features.length]) });
  const bounds = (place) => [interval.data[2 * place], interval.data[2 * place + 1]];
  return bundle.card.table.targets.map((target, place) => ({ target, value: value.data[place], interval: bounds(place) }));
}

export function page(bundle, answer) {
  const { table } = bundle.card;
  const fields = fieldsOf(table);
  const means = table.columns.map(({ mean }) => mean);
  const inputs = fields.map((field, place) => input(field, place, means));
  const act = inTurn(async () => {
    try {
      const row = features(fields, inputs, table.columns.length);
      answer.replaceChildren(predicted(await predict(bundle, row), warnings(fields, row), table.interval.level));
    } catch (error) {
      answer.replaceChildren(card("No answer", trouble(error)));
    }
  });
  inputs.forEach((one) => one.addEventListener("input", act));
  act();
  return [card("Row", element("p", { class: "soft small" }, "The training rows' means to begin with, and the range that each column had."),
    element("div", { class: "fields" }, ...fields.map((field, place) => asked(field, inputs[place]))))];
}

function asked(field, made) {
  const unit = field.unit ? element("span", { class: "soft" }, ` ${field.unit}`) : null;
  const range = field.words ? null : element("span", { class: "soft small" }, `${short(field.low)} to ${short(field.high)}`);
  return element("div", { class: "field" }, element("label", { for: made.id }, field.name, unit), made, range);
}

function input(field, place, means) {
  const id = `field-${place}`;
  if (!field.words) return element("input", { type: "number", step: "any", id, value: Number(means[field.places[0]].toPrecision(6)) });
  const common = field.places.reduce((first, other) => (means[other] > means[first] ? other : first));
  const option = (word, at) => element("option", { value: word, selected: field.places[at] === common }, word);
  return element("select", { id }, ...field.words.map(option));
}

function features(fields, inputs, count) {
  const row = new Float32Array(count);
  fields.forEach((field, place) => {
    if (field.words) row[field.places[field.words.indexOf(inputs[place].value)]] = 1;
    else row[field.places[0]] = inputs[place].value.trim() === "" ? NaN : Number(inputs[place].value);
    if (!field.places.every((at) => Number.isFinite(row[at]))) throw new Error(`${field.name} must be a number.`);
  });
  return row;
}

/** A sentence for every number outside its training rows, compared as float32 like the numbers themselves. */
function warnings(fields, row) {
  const outside = ({ words, places: [at], low, high }) => !words && (row[at] < Math.fround(low) || row[at] > Math.fround(high));
  return fields.filter(outside).map(({ name, low, high }) =>
    `${name} lies outside its training rows, ${short(low)} to ${short(high)}: there the network only continues what it learnt inside.`);
}

const short = (number) => Number(number.toPrecision(6)).toLocaleString("en");

function predicted(found, warned, level) {
  return card("Answer", ...found.map(({ target, value, interval }) => element("p", {},
    element("span", { class: "soft" }, target.name), element("br"),
    element("span", { class: "figure", "data-value": value }, `${short(value)} ${target.unit}`), element("br"),
    element("span", { class: "soft small" }, `${100 * level} % interval ${interval.map(short).join(" to ")} ${target.unit}`))),
  ...warned.map((words) => element("p", { class: "warned" }, words)));
}
