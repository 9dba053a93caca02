// From a decoder's one-step graph to a caption of one picture: greedy and beam search, as apps/runtime/decoding.py does them.
//
// A step takes {token, state, ...what the encoder gave} and gives {logits, next_state, attention}. <pad>, <start> and <unk> are never
// chosen, and on the last place only <end> may stand. Scores are mean log-probabilities, <end> counted.

import { tensor } from "./runtime.js";

export const [PAD, START, END, UNK] = [0, 1, 2, 3];

/** The most probable word at every step: {tokens, looks, score}; looks are Float32Array [heads x N], one a token. */
export async function greedy(step, encoded, length) {
  let { memory, state } = begin(encoded);
  const [tokens, looks] = [[], []];
  let [score, last] = [0, START];
  while (last !== END) {
    const out = await step({ token: tensor("int32", [last], [1]), state, ...memory });
    const scores = logSoftmax(out.logits.data);
    last = tokens.length === length - 2 ? END : best(scores.map(spoken));
    score += scores[last];
    tokens.push(last);
    looks.push(out.attention.data);
    state = named(out.next_state);
  }
  return { tokens, looks, score: score / tokens.length };
}

/** The best caption that a search with `width` open ones finishes; one that ends leaves with its place. */
export async function beam(step, encoded, length, width) {
  const repeated = Object.fromEntries(Object.entries(encoded).map(([name, value]) => [name, rows(value, Array(width).fill(0))]));
  let { memory, state } = begin(repeated);
  let open = Array.from({ length: width }, (_, place) => ({ total: place ? -Infinity : 0, tokens: [], looks: [] }));
  const finished = [];
  for (let place = 1; place < length && finished.length < width; place++) {
    const words = open.map(({ tokens }) => tokens.at(-1) ?? START);
    const out = await step({ token: tensor("int32", words, [width]), state, ...memory });
    const chosen = choose(open, out, place === length - 1);
    state = rows(named(out.next_state), chosen.map(({ parent }) => parent));
    const left = width - finished.length; // captions still to be finished: places behind them are closed
    open = chosen.map((one, rank) => {
      if (rank >= left || one.total === -Infinity) return { ...one, total: -Infinity };
      if (one.tokens.at(-1) !== END) return one;
      finished.push({ ...one, score: one.total / one.tokens.length });
      return { ...one, total: -Infinity };
    });
  }
  return finished.reduce((first, other) => (other.score > first.score ? other : first));
}

/** The likeliest next tokens of all open captions together, as many as there are places. */
function choose(open, { logits, attention }, last) {
  const words = logits.dims[1];
  const heads = attention.data.length / open.length;
  const candidates = [];
  open.forEach(({ total }, parent) => {
    const scores = logSoftmax(logits.data.subarray(parent * words, (parent + 1) * words)).map(spoken);
    scores.forEach((score, word) => candidates.push({ parent, word, total: last && word !== END ? -Infinity : total + score }));
  });
  candidates.sort((one, other) => (other.total === one.total ? 0 : other.total - one.total)); // stable: of equals the first
  return candidates.slice(0, open.length).map(({ parent, word, total }) => ({
    parent,
    total,
    tokens: [...open[parent].tokens, word],
    looks: [...open[parent].looks, attention.data.slice(parent * heads, (parent + 1) * heads)],
  }));
}

/** What every step is given, and the state of the first: the encoder's, or keys and values of no token yet. */
function begin(encoded) {
  const { state, ...memory } = Object.fromEntries(Object.entries(encoded).map(([name, value]) => [name, named(value)]));
  if (state) return { memory, state };
  const [count, blocks, pair, heads, , size] = memory.cross.dims;
  return { memory, state: tensor("float32", [], [count, blocks, pair, heads, 0, size]) };
}

const named = ({ type, data, dims }) => ({ type, data, dims });
const spoken = (score, word) => (word === PAD || word === START || word === UNK ? -Infinity : score);
const best = (scores) => scores.reduce((first, score, place) => (score > scores[first] ? place : first), 0);

/** The rows of a tensor's first side that `places` name, in that order. */
function rows({ type, data, dims }, places) {
  const size = data.length / dims[0];
  const found = new data.constructor(places.length * size);
  places.forEach((from, to) => found.set(data.subarray(from * size, (from + 1) * size), to * size));
  return { type, data: found, dims: [places.length, ...dims.slice(1)] };
}

/** Log-probabilities in float64. */
function logSoftmax(logits) {
  const values = Array.from(logits);
  if (!values.every(Number.isFinite)) throw new Error("The decoder's logits must be finite.");
  const most = Math.max(...values);
  const total = Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return values.map((value) => value - most - total);
}
