// From any picture file to the array a network was trained on: apps/runtime/pictures.py for a browser.
// tests/export/test_web_page.py holds the two equal, picture by picture.

import { resize } from "./resample.js";

const MAX_PIXELS = 16_000_000;
const INK_LEVEL = 51; // what is brighter than this is ink
const MAX_INK_PIXELS = 4 * MAX_PIXELS;

/** The upright picture of a file: {width, height, channels: 3, data: Uint8Array}. Transparency becomes white, no profile counts. */
export async function open(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new Error("The file is not a picture that this browser can read: PNG, JPEG, WebP, GIF and BMP are.");
  }
  const { width, height } = bitmap;
  if (width * height > MAX_PIXELS) {
    bitmap.close();
    throw new Error(`The picture is too large: at most ${MAX_PIXELS / 1e6} million pixels are accepted. Received: ${width} x ${height}.`);
  }
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * 3);
  for (let i = 0, j = 0; i < rgba.length; i += 4) {
    data[j++] = rgba[i];
    data[j++] = rgba[i + 1];
    data[j++] = rgba[i + 2];
  }
  return { width, height, channels: 3, data };
}

/**
 * An opened picture becomes uint8 [H, W, C] by the card's steps; one that has the size already is taken as it is.
 * With `anySize` the graph resizes by itself: the picture keeps what size the steps leave it.
 */
export function prepare(picture, { shape: [height, width, channels], steps, anySize = false }) {
  let made = channels === 1 ? grey(picture) : picture;
  if (made.width !== width || made.height !== height) for (const step of steps) made = apply(made, step);
  if (!anySize && (made.width !== width || made.height !== height)) {
    throw new Error(`The steps must end at ${width} x ${height} pixels. Received: ${made.width} x ${made.height}`);
  }
  return made;
}

/** Pillow's weights of red, green and blue, in its fixed point. */
function grey(picture) {
  if (picture.channels === 1) return picture;
  const data = new Uint8Array(picture.width * picture.height);
  for (let i = 0; i < data.length; i++) {
    const [red, green, blue] = [picture.data[3 * i], picture.data[3 * i + 1], picture.data[3 * i + 2]];
    data[i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return { ...picture, channels: 1, data };
}

function apply(picture, step) {
  if (step.op === "ink") return cutInk(picture, step.margin, step.center);
  if (step.op === "center_crop") return cropSquare(picture);
  if (step.op === "resize") return resize(picture, step.size[1], step.size[0], step.method);
  throw new Error(`A step must be ink, center_crop or resize. Received: ${step.op}`);
}

function cropSquare({ width, height, channels, data }) {
  const side = Math.min(width, height);
  const left = Math.floor((width - side) / 2);
  const top = Math.floor((height - side) / 2);
  const found = new Uint8Array(side * side * channels);
  for (let y = 0; y < side; y++) {
    const start = ((top + y) * width + left) * channels;
    found.set(data.subarray(start, start + side * channels), y * side * channels);
  }
  return { width: side, height: side, channels, data: found };
}

/** The ink, bright on black, in the middle of a square: by its box, or by its centre of mass. */
function cutInk(picture, margin, center) {
  const table = stretchTable(picture);
  if (table === null) return picture;
  const box = inked(picture, table);
  const { width, height } = box;
  const side = roundEven(Math.max(width, height) * (1 + 2 * margin));
  if (side * side > MAX_INK_PIXELS) {
    throw new Error(`The drawing is too long and thin for a square picture. Received: ${width} x ${height}.`);
  }
  const levels = new Float32Array(width * height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) levels[y * width + x] = table[picture.data[(box.top + y) * picture.width + box.left + x]];
  }
  const [top, left] = center === "mass" ? massCorner(levels, width, height, side) : [(side - height) >> 1, (side - width) >> 1];
  const data = new Uint8Array(side * side);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data[(top + y) * side + left + x] = roundEven(levels[y * width + x]);
  return { width: side, height: side, channels: 1, data };
}

/** Where the box begins so that its centre of mass is in the middle of the square, as far as there is room. */
function massCorner(levels, width, height, side) {
  let [total, down, across] = [0, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = levels[y * width + x];
      total += value;
      down += value * y;
      across += value * x;
    }
  }
  const corner = (moment, length) => Math.min(Math.max(roundEven((side - 1) / 2 - moment / total), 0), side - length);
  return [corner(down, height), corner(across, width)];
}

/** For each of the 256 levels its new one: paper to 0, the strongest ink to 255; null if the picture is all paper. */
function stretchTable({ width, height, data }) {
  const edge = [];
  for (let x = 0; x < width; x++) edge.push(data[x], data[(height - 1) * width + x]);
  for (let y = 0; y < height; y++) edge.push(data[y * width], data[y * width + width - 1]);
  let border = median(edge);
  const light = border > 127; // light paper, dark ink
  if (light) border = 255 - border;
  const table = Float32Array.from({ length: 256 }, (_, one) => Math.max(0, (light ? 255 - one : one) - border));
  let [least, most] = [255, 0];
  for (const one of data) {
    if (one < least) least = one;
    if (one > most) most = one;
  }
  const strongest = Math.max(table[least], table[most]);
  if (strongest === 0) return null;
  const factor = Math.fround(255 / strongest);
  return table.map((one) => one * factor);
}

function median(values) {
  const sorted = Uint8Array.from(values).sort();
  const middle = sorted.length >> 1; // a border has an even number of pixels
  return (sorted[middle - 1] + sorted[middle]) / 2;
}

function inked({ width, height, data }, table) {
  let [top, bottom, left, right] = [height, 0, width, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (table[data[y * width + x]] <= INK_LEVEL) continue;
      top = Math.min(top, y);
      bottom = Math.max(bottom, y);
      left = Math.min(left, x);
      right = Math.max(right, x);
    }
  }
  return { top, left, height: bottom - top + 1, width: right - left + 1 };
}

/** Halves go to the even neighbour, as in Python. */
function roundEven(value) {
  const below = Math.floor(value);
  const over = value - below;
  return over > 0.5 || (over === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/** A canvas that shows uint8 [H, W, C]. */
export function shown({ width, height, channels, data }) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const image = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = data[i * channels + (channels === 1 ? 0 : c)];
    image.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
