// Pillow's Image.resize in plain JavaScript: the same filters, coefficients in the same fixed point, so the same bytes come out.
// Pillow's src/libImaging/Resample.c; nearest neighbours are those of Geometry.c (ImagingScaleAffine).

const BITS = 22; // of a coefficient's fraction: 32 less 8 of a pixel and 2 of sums above 1

const FILTERS = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { support: 2, weight: (x) => cubic(Math.abs(x)) },
};

function cubic(x) {
  const a = -0.5;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

/** {width, height, channels, data: Uint8Array [H, W, C]} to another width and height. */
export function resize(picture, width, height, method) {
  if (picture.width === width && picture.height === height) return picture;
  if (method === "nearest") return nearest(picture, width, height);
  if (!(method in FILTERS)) throw new Error(`A picture is resized by nearest, ${Object.keys(FILTERS).join(", ")}. Received: ${method}`);
  const wide = picture.width === width ? picture : across(picture, width, FILTERS[method]);
  return wide.height === height ? wide : down(wide, height, FILTERS[method]);
}

/** For each new pixel the first old one it is made of, and their weights, whole numbers that sum to 2 ** BITS. */
function coefficients(from, to, filter) {
  const scale = from / to;
  const stretch = Math.max(scale, 1); // a smaller picture is averaged over what falls together
  const support = filter.support * stretch;
  const rows = [];
  for (let place = 0; place < to; place++) {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const last = Math.min(from, Math.trunc(center + support + 0.5));
    const weights = [];
    let total = 0;
    for (let x = first; x < last; x++) {
      weights.push(filter.weight((x - center + 0.5) * (1 / stretch)));
      total += weights[weights.length - 1];
    }
    rows.push({ first, weights: Int32Array.from(weights, (weight) => fixed(total === 0 ? weight : weight / total)) });
  }
  return rows;
}

const fixed = (weight) => Math.trunc(weight * 2 ** BITS + (weight < 0 ? -0.5 : 0.5));
const level = (sum) => Math.min(255, Math.max(0, sum >> BITS));

function across({ width, height, channels, data }, to, filter) {
  const rows = coefficients(width, to, filter);
  const found = new Uint8Array(height * to * channels);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < to; x++) {
      const { first, weights } = rows[x];
      for (let c = 0; c < channels; c++) {
        let sum = 1 << (BITS - 1);
        for (let k = 0; k < weights.length; k++) sum += data[(y * width + first + k) * channels + c] * weights[k];
        found[(y * to + x) * channels + c] = level(sum);
      }
    }
  }
  return { width: to, height, channels, data: found };
}

function down({ width, height, channels, data }, to, filter) {
  const line = width * channels;
  const found = new Uint8Array(to * line);
  coefficients(height, to, filter).forEach(({ first, weights }, y) => {
    for (let x = 0; x < line; x++) {
      let sum = 1 << (BITS - 1);
      for (let k = 0; k < weights.length; k++) sum += data[(first + k) * line + x] * weights[k];
      found[y * line + x] = level(sum);
    }
  });
  return { width, height: to, channels, data: found };
}

function nearest({ width, height, channels, data }, wide, high) {
  const columns = places(width, wide);
  const rows = places(height, high);
  const found = new Uint8Array(wide * high * channels);
  let next = 0;
  for (const y of rows) for (const x of columns) for (let c = 0; c < channels; c++) found[next++] = data[(y * width + x) * channels + c];
  return { width: wide, height: high, channels, data: found };
}

/** Pillow adds the step up, so the sums round as its own do. */
function places(from, to) {
  const step = from / to;
  const found = [];
  for (let at = step * 0.5; found.length < to; at += step) found.push(Math.min(from - 1, Math.trunc(at)));
  return found;
}
