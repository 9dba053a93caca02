// Which class a picture shows: the five likeliest, each with its bar.

import { chooser } from "./chooser.js";
import { bar, card, element, percent, trouble } from "./dom.js";
import { prepare, shown } from "./pictures.js";
import { batch } from "./runtime.js";

const TOP = 5;

/** The labels of a prepared picture, best first: [{label, probability}]. */
export async function classify(bundle, prepared, top = TOP) {
  const { probabilities } = await bundle.run({ image: batch(prepared, bundle.image) });
  const ranked = bundle.card.labels.map((label, place) => ({ label, probability: probabilities.data[place] }));
  return ranked.sort((one, other) => other.probability - one.probability).slice(0, top);
}

export function page(bundle, answer) {
  const act = async (picture) => {
    const prepared = prepare(picture, bundle.image);
    const ranked = await classify(bundle, prepared);
    answer.replaceChildren(card("Answer", said(prepared, ranked[0]), element("ol", { class: "bars" }, ...ranked.map(row))));
  };
  return [chooser("Picture", bundle, act, (error) => answer.replaceChildren(card("No answer", trouble(error))))];
}

function said(prepared, { label, probability }) {
  return element("div", { class: "said" },
    element("figure", {}, shown(prepared), element("figcaption", { class: "soft small" }, "what it sees")),
    element("p", {}, element("span", { class: "label" }, label), element("span", { class: "figure" }, percent(probability))));
}

function row({ label, probability }) {
  return element("li", {}, element("span", {}, label), element("span", {}, percent(probability)), bar(probability));
}
