// The bundle in this page: card, files and graphs. Nothing is used before its sha256 is the one that was written down.

import { inTurn } from "./dom.js";
import * as ort from "./ort/ort.wasm.bundle.min.mjs";

ort.env.wasm.numThreads = 1; // more would need headers that a plain file server does not send
ort.env.wasm.proxy = false;

const ARRAYS = { float32: Float32Array, int32: Int32Array, uint8: Uint8Array };
export const secure = Boolean(globalThis.crypto?.subtle); // https, or this machine: elsewhere a browser computes no sha256

/** Bytes of a file beside the page. */
async function bytesOf(path) {
  const answer = await fetch(new URL(path, document.baseURI));
  if (!answer.ok) throw new Error(`The page needs ${path}. Received: ${answer.status} from the server`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The bundle beside the page: its card, how it takes pictures, its files by their path, and `run` over its graphs. */
export async function load() {
  const read = (bytes) => JSON.parse(new TextDecoder().decode(bytes));
  const listed = read(await bytesOf("deployed.json")).files;
  const file = (path) => checked(path, listed[path]);
  const card = read(await file("card.json"));
  ort.env.wasm.wasmBinary = (await file("ort/ort-wasm-simd-threaded.wasm")).buffer;
  const sessions = {};
  for (const [path, graph] of Object.entries(card.graphs)) {
    const bytes = await checked(path, graph.sha256);
    sessions[path.replace(/\.onnx$/, "")] = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  }
  return {
    card,
    image: imageInput(card),
    file,
    json: async (path) => read(await file(path)),
    listed: (path) => path in listed,
    run: inTurn((inputs, graph = "model", outputs = undefined) => run(sessions[graph], inputs, outputs)),
  };
}

async function checked(path, wanted) {
  const bytes = await bytesOf(path);
  if (!wanted) throw new Error(`Every file must be listed with its sha256. Received: ${path}, which is not`);
  if (secure && (await sha256(bytes)) !== wanted) {
    throw new Error(`A file has changed: its sha256 is not the one that was written down. Received: ${path}`);
  }
  return bytes;
}

/** Named {type, data, dims} in, named {data, dims} out. */
async function run(session, inputs, outputs) {
  const each = (named, make) => Object.fromEntries(Object.entries(named).map(([name, value]) => [name, make(value)]));
  const feeds = each(inputs, ({ type, data, dims }) => new ort.Tensor(type, data, dims));
  const found = await (outputs ? session.run(feeds, outputs) : session.run(feeds));
  return each(found, ({ type, data, dims }) => ({ type, data, dims }));
}

export const tensor = (type, data, dims) => ({ type, data: data instanceof ARRAYS[type] ? data : ARRAYS[type].from(data), dims });

/** How pictures go into the graph: {shape: [H, W, C], steps, anySize: the graph resizes by itself, channelsFirst}; null of a table's. */
export function imageInput(card) {
  const input = Object.values(card.graphs).flatMap(({ inputs }) => inputs).find(({ name }) => name === "image");
  if (!input) return null;
  const channelsFirst = input.layout === "NCHW";
  const [, ...sides] = input.shape;
  const [height, width, channels] = channelsFirst ? [sides[1], sides[2], sides[0]] : sides;
  const size = input.resize?.size ?? [height, width];
  return { shape: [...size, channels], steps: input.prepare, anySize: "resize" in input, channelsFirst };
}

/** A prepared picture as a batch of one. */
export function batch({ width, height, channels, data }, { channelsFirst }) {
  if (!channelsFirst) return tensor("uint8", data, [1, height, width, channels]);
  const planes = new Uint8Array(data.length);
  const size = width * height;
  for (let place = 0; place < size; place++) for (let c = 0; c < channels; c++) planes[c * size + place] = data[place * channels + c];
  return tensor("uint8", planes, [1, channels, height, width]);
}
