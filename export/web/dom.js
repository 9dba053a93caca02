// Elements in one line each; text is always text, never markup.

/** element("button", {class: "go", onclick: act}, "Go"): attributes, listeners and children. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== undefined && child !== null));
  return made;
}

/** A card with a heading. */
export const card = (title, ...children) => element("section", { class: "card" }, element("h2", {}, title), ...children);

/** A bar of a share from 0 to 1. */
export function bar(share) {
  const made = element("i");
  made.style.width = `${(100 * share).toFixed(2)}%`;
  return made;
}

/** Three digits, and none of what is next to nothing. */
export const percent = (share) => (share < 1e-5 ? "< 0.001\u00a0%" : `${Number((100 * share).toPrecision(3))}\u00a0%`);

/** What went wrong, as a sentence where the answer would be. */
export const trouble = (error) => element("p", { class: "warned" }, error instanceof Error ? error.message : String(error));

/** The same function, one call after another in the order they came: an earlier answer never replaces a later one. */
export function inTurn(act) {
  let last = Promise.resolve();
  return (...given) => (last = last.catch(() => {}).then(() => act(...given)));
}
