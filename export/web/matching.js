// Whether two pictures show one person, and who of the demo gallery looks like the one in a picture.
//
// A card speaks of cosine distances, at most so far apart; people read similarities, at least so alike: similarity = 1 - distance.

import { chooser } from "./chooser.js";
import { card, element, percent, trouble } from "./dom.js";
import { prepare, shown } from "./pictures.js";
import { batch } from "./runtime.js";

const SHOWN = 6;

/** The unit vector of a prepared picture. */
export async function embed(bundle, prepared) {
  const { embedding } = await bundle.run({ image: batch(prepared, bundle.image) }, "model", ["embedding"]);
  return embedding.data;
}

export const similarity = (one, other) => one.reduce((sum, value, place) => sum + value * other[place], 0);

/** The calibrated thresholds as least similarities, the strictest first. */
export function thresholds(facts) {
  const found = (facts.reid?.verification?.thresholds ?? []).filter((point) => "threshold" in point);
  const points = found.map(({ threshold, far, tpr, target_far: aim }) => ({ least: 1 - threshold, far, tpr, aim }));
  return points.sort((one, other) => one.aim - other.aim);
}

/** The gallery that was deployed with the page: entries {file, person, camera} and their vectors; null where there is none. */
export async function loadGallery(bundle) {
  if (!bundle.listed("gallery/index.json")) return null;
  const entries = await bundle.json("gallery/index.json");
  const bytes = await bundle.file("gallery/vectors.f32");
  const values = new Float32Array(bytes.buffer, 0, bytes.length / 4);
  const size = values.length / entries.length;
  return entries.map((entry, place) => ({ ...entry, vector: values.subarray(place * size, (place + 1) * size) }));
}

/** The people whose best picture is most alike, best first: [{file, person, camera, similarity}]. */
export function search(gallery, vector, top = SHOWN) {
  const people = new Map();
  for (const entry of gallery) {
    const found = { ...entry, similarity: similarity(vector, entry.vector) };
    if (!(people.get(entry.person)?.similarity >= found.similarity)) people.set(entry.person, found);
  }
  return [...people.values()].sort((one, other) => other.similarity - one.similarity).slice(0, top);
}

export async function page(bundle, answer) {
  const gallery = await loadGallery(bundle);
  const points = thresholds(bundle.card);
  const state = { points, point: points[0], seen: [null, null], gallery, compare: !gallery };
  const fail = (error) => answer.replaceChildren(card("No answer", trouble(error)));
  const show = () => answer.replaceChildren(state.compare ? pair(state) : ranking(state));
  const act = (place) => async (picture) => {
    const prepared = prepare(picture, bundle.image);
    state.seen[place] = { prepared, vector: await embed(bundle, prepared) };
    show();
  };
  const second = chooser("Second picture", bundle, act(1), fail);
  second.hidden = !state.compare;
  const turn = (compare) => {
    Object.assign(state, { compare });
    second.hidden = !compare;
    show();
  };
  const parts = [chooser("Picture", bundle, act(0), fail), second];
  if (gallery) parts.unshift(modes(turn, gallery));
  return points.length ? [...parts, levels(state, show)] : parts;
}

function modes(turn, gallery) {
  const count = new Set(gallery.map(({ person }) => person)).size;
  const choice = (compare, words) => radio("mode", compare ? "compare" : "search", !compare, words, () => turn(compare));
  return element("fieldset", { class: "card row" }, element("legend", {}, "What to do"),
    choice(false, `search the gallery: ${count} people, ${gallery.length} pictures`), choice(true, "compare two pictures"));
}

/** From which similarity on two pictures count as one person's. */
function levels(state, act) {
  const choose = (point) => {
    state.point = point;
    act();
  };
  const told = ({ least, far, tpr }) => `${least.toFixed(3)}: of pairs of two people ${percent(far)} pass, of one person ${percent(tpr)}`;
  const choices = state.points.map((point, place) => radio("level", place, place === 0, told(point), () => choose(point)));
  return element("fieldset", { class: "card row" }, element("legend", {}, "Same person from this similarity on"), ...choices);
}

const radio = (name, value, checked, words, act) =>
  element("label", {}, element("input", { type: "radio", name, value, checked, onchange: act }), words);
const verdict = (point, value) => (value >= point.least ? "match" : "no match");
const figure = (prepared, words) => element("figure", {}, shown(prepared), element("figcaption", { class: "soft small" }, words));

function pair({ seen: [one, other], point }) {
  if (!one || !other) return card("Answer", element("p", { class: "soft" }, "Choose two pictures."));
  const value = similarity(one.vector, other.vector);
  return card("Answer", element("div", { class: "said" }, figure(one.prepared, "first"), figure(other.prepared, "second"),
    element("p", {}, element("span", { class: "label" }, point ? verdict(point, value) : ""),
      element("span", { class: "figure similarity" }, value.toFixed(3)),
      element("span", { class: "soft small" }, "similarity; 1 is the same vector"))));
}

function ranking({ seen: [one], point, gallery }) {
  if (!one) return card("Answer", element("p", { class: "soft" }, "Choose a picture."));
  const found = search(gallery, one.vector);
  const alike = point ? found.filter((hit) => hit.similarity >= point.least).length : 0;
  const told = point ? `${alike || "No"} match${alike > 1 ? "es" : ""} among the ${found.length} most alike` : "The most alike";
  return card("Answer", element("div", { class: "said" }, figure(one.prepared, "what it sees"),
    element("p", {}, element("span", { class: "label" }, told),
      element("span", { class: "soft small" }, "the best picture of each person"))),
  element("ol", { class: "ranks" }, ...found.map((hit) => rank(hit, point))));
}

function rank({ file, person, camera, similarity: value }, point) {
  return element("li", { class: point && value >= point.least ? "match" : undefined },
    element("img", { src: `gallery/${file}`, alt: `person ${person}, camera ${camera}` }), element("b", {}, person),
    element("data", { value }, value.toFixed(3)), element("span", { class: "small" }, point ? verdict(point, value) : ""));
}
