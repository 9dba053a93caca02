// A sentence about a picture, and where the decoder looked for each of its words.

import { chooser } from "./chooser.js";
import { beam, greedy, UNK } from "./decoding.js";
import { card, element, inTurn, trouble } from "./dom.js";
import { prepare, shown } from "./pictures.js";
import { batch } from "./runtime.js";

const CLITIC = /(?<=[\p{L}\p{N}_]) (?=(?:n't|'(?:s|m|d|re|ve|ll))(?!\S))/gu; // is n't, dog 's: one word in a sentence

/** {text, words, score, looks: one Float32Array [h x w] a word, the mean over heads} of a prepared picture; width 1 is greedy. */
export async function caption(bundle, prepared, width) {
  const { length, grid } = bundle.card.caption;
  const encoded = await bundle.run({ image: batch(prepared, bundle.image) }, "encoder");
  const step = (inputs) => bundle.run(inputs, "decoder");
  const found = width === 1 ? await greedy(step, encoded, length) : await beam(step, encoded, length, width);
  const said = found.tokens.map((token, place) => ({ token, look: found.looks[place] })).filter(({ token }) => token > UNK);
  const words = said.map(({ token }) => bundle.card.labels[token]);
  const looks = said.map(({ look }) => mean(look, grid[0] * grid[1]));
  return { text: words.join(" ").replace(CLITIC, ""), words, score: found.score, looks };
}

/** [heads x N] to [N]. */
function mean(look, places) {
  const heads = look.length / places;
  return Float32Array.from({ length: places }, (_, place) => {
    let sum = 0;
    for (let head = 0; head < heads; head++) sum += look[head * places + place];
    return sum / heads;
  });
}

export function page(bundle, answer) {
  const fail = (error) => answer.replaceChildren(card("No answer", trouble(error)));
  let seen = null;
  const act = inTurn(async (picture) => {
    seen = picture;
    const prepared = prepare(picture, bundle.image);
    const width = Number(document.querySelector("input[name=search]:checked").value);
    answer.replaceChildren(spoken(prepared, await caption(bundle, prepared, width), bundle.card.caption.grid));
  });
  const again = () => seen && act(seen).catch(fail);
  return [chooser("Picture", bundle, act, fail), searches(bundle.card.caption.beam, again)];
}

/** Greedy, and a beam: chosen is what the card's figures were found with. */
function searches(width, act) {
  const wide = Math.max(width, 3);
  const choice = (value, words) => element("label", {},
    element("input", { type: "radio", name: "search", value, checked: (value === 1) === (width === 1), onchange: act }), words);
  return element("fieldset", { class: "card row" }, element("legend", {}, "Search"),
    choice(1, "greedy: the likeliest word at every step"), choice(wide, `beam ${wide}: the best of ${wide} sentences`));
}

/** The sentence; a word that is chosen shows where the decoder looked. */
function spoken(prepared, found, [height, width]) {
  const canvas = shown(prepared);
  const cloth = element("canvas", { class: "cloth", width, height });
  const slider = element("input", { type: "range", min: 0, max: found.words.length, value: 0, id: "word" });
  const spans = found.words.map((word, place) => element("button", { type: "button", onclick: () => look(place + 1) }, word));
  const look = (number) => {
    slider.value = number;
    slider.setAttribute("aria-valuetext", number ? found.words[number - 1] : "the whole picture");
    spans.forEach((span, place) => span.classList.toggle("now", place === number - 1));
    cover(cloth, number ? found.looks[number - 1] : null);
  };
  slider.addEventListener("input", () => look(Number(slider.value)));
  look(0);
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", "What the network sees");
  return card("Answer", element("p", { class: "sentence", "aria-label": found.text }, ...spaced(spans)),
    element("div", { class: "looks" }, canvas, cloth), slider,
    element("label", { for: "word", class: "soft small" }, "Move along the sentence: where the decoder looked as it said each word"),
    element("p", { class: "soft small" }, `mean log-probability of a word ${found.score.toFixed(3)}; 0 would be certain`));
}

const spaced = (spans) => spans.flatMap((span, place) => (place ? [" ", span] : [span]));

/** Dark where nothing was looked at. */
function cover(cloth, look) {
  const context = cloth.getContext("2d");
  context.clearRect(0, 0, cloth.width, cloth.height);
  if (!look) return;
  const most = Math.max(...look);
  const image = context.createImageData(cloth.width, cloth.height);
  look.forEach((share, place) => image.data.set([15, 23, 42, 215 * (1 - share / most)], 4 * place));
  context.putImageData(image, 0, 0);
}
