// The page: the card's words, a way to ask, and the answer.

import { card, element, trouble } from "./dom.js";

const PAGES = {
  classification: "./classification.js",
  captioning: "./captioning.js",
  embedding: "./matching.js",
  regression: "./regression.js",
};

async function start() {
  const [ask, answer, trust] = ["ask", "answer", "trust"].map((id) => document.getElementById(id));
  try {
    const { load, secure } = await import("./runtime.js"); // here, so that a missing file is told
    const bundle = await load();
    const { page } = await import(PAGES[bundle.card.task]);
    ask.replaceChildren(...(await page(bundle, answer)));
    trust.replaceChildren(facts(bundle.card, secure));
    document.body.dataset.ready = "yes";
  } catch (error) {
    ask.replaceChildren(card("This page cannot run", trouble(error)));
    document.body.dataset.ready = "no";
  }
}

/** What it was trained on, how good it is, and where it ends. */
function facts({ name, data, metrics, limits, source, graphs }, secure) {
  const checked = secure ? "sha256 checked in this page" : "not checked: browsers compute sha256 for https and for their own machine only";
  const rows = [
    ["Trained on", `${data.name} (${data.source}), ${data.synthetic ? "synthetic" : "real"}; licence: ${data.licence}`],
    ...Object.entries(metrics).map(([metric, measured]) => [metric, figure(measured)]),
    ["Code", `commit ${source.commit ?? "unknown"}${source.dirty ? " with local changes" : ""}`],
    ["Files", `${Object.keys(graphs).join(", ")}: ${checked}`],
  ];
  return card(`What ${name} is`, element("h3", {}, "Limits"), element("p", {}, limits),
    element("dl", {}, ...rows.flatMap(([term, words]) => [element("dt", {}, term), element("dd", {}, words)])));
}

function figure({ value, n, interval }) {
  const bounds = interval ? ` (95\u00a0% interval ${interval.map(shown).join(" to ")})` : "";
  return `${shown(value)}${bounds}, n = ${n.toLocaleString("en")}`;
}

const shown = (value) => (Math.abs(value) < 1000 ? value.toFixed(4) : value.toLocaleString("en", { maximumFractionDigits: 1 }));

// a picture that is dropped beside a panel must not become the page
for (const name of ["dragover", "drop"]) document.addEventListener(name, (event) => event.preventDefault());

start();
