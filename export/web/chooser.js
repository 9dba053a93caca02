// Where a picture comes from: a file that is chosen or dropped, or one of the bundle's examples.

import { element, inTurn } from "./dom.js";
import { open } from "./pictures.js";

const EXAMPLES = /^examples\/.*\.(png|jpe?g|webp)$/;
let made = 0;

/** A panel that calls `act(picture)` for every picture chosen, and `fail(error)` where that cannot be. */
export function chooser(title, bundle, act, fail) {
  const id = `file-${made++}`;
  const frame = element("div", { class: "frame" });
  const name = element("p", { class: "soft small" });
  const show = inTurn(async (read, told) => {
    try {
      const blob = await read();
      const picture = await open(blob);
      const preview = element("img", { alt: "The chosen picture", src: URL.createObjectURL(blob) });
      preview.addEventListener("load", () => URL.revokeObjectURL(preview.src), { once: true });
      preview.classList.toggle("small-picture", picture.width <= 128);
      frame.replaceChildren(preview);
      name.textContent = `${told}, ${picture.width} x ${picture.height} pixels`;
      await act(picture);
    } catch (error) {
      fail(error);
    }
  });
  const input = element("input", { type: "file", id, accept: "image/png,image/jpeg,image/webp,image/gif,image/bmp" });
  input.addEventListener("change", () => {
    const [file] = input.files;
    if (file) show(() => file, file.name);
    input.value = ""; // the same file may be chosen again
  });
  const panel = element("section", { class: "card chooser" }, element("h2", {}, title),
    element("div", { class: "drop" }, frame, element("label", { for: id, class: "choose" }, "Choose a picture"), input,
      element("p", { class: "soft small" }, "or drop one here; it stays on this machine")), name,
    strip(bundle.card, (path, told) => show(async () => new Blob([await bundle.file(path)]), told)));
  catchDrops(panel, (file) => show(() => file, file.name));
  return panel;
}

function strip({ files }, act) {
  const paths = Object.keys(files).filter((path) => EXAMPLES.test(path));
  if (!paths.length) return null;
  const buttons = paths.map((path) => {
    const told = path.split("/").pop().replace(/\.\w+$/, "");
    return element("button", { type: "button", "data-example": path, onclick: () => act(path, told) },
      element("img", { src: path, alt: "", loading: "lazy" }), element("span", {}, told));
  });
  return element("div", {}, element("h3", {}, "Examples"), element("div", { class: "examples" }, ...buttons));
}

function catchDrops(panel, act) {
  panel.addEventListener("dragover", (event) => {
    event.preventDefault();
    panel.classList.add("over");
  });
  panel.addEventListener("dragleave", () => panel.classList.remove("over"));
  panel.addEventListener("drop", (event) => {
    event.preventDefault();
    panel.classList.remove("over");
    if (event.dataTransfer.files.length) act(event.dataTransfer.files[0]);
  });
}
