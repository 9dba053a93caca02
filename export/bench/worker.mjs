// A graph called from Python: a frame in, a frame out (frames.py tells what a frame is). For Node.js and for the browser alike.

const KINDS = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array, bool: Uint8Array };

export function unpack(bytes) {
  const start = 4 + new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, start)));
  let place = start;
  const arrays = header.arrays.map(({ name, type, dims }) => {
    const length = dims.reduce((product, size) => product * size, KINDS[type].BYTES_PER_ELEMENT);
    const own = bytes.slice(place, (place += length)); // a copy, which starts where a Float32Array may start
    return { name, type, dims, data: new KINDS[type](own.buffer, own.byteOffset, length / KINDS[type].BYTES_PER_ELEMENT) };
  });
  return { header, arrays };
}

export function pack(header, tensors = {}) {
  const told = Object.entries(tensors).map(([name, { type, dims }]) => ({ name, type, dims: [...dims] }));
  const head = new TextEncoder().encode(JSON.stringify({ ...header, arrays: told }));
  const parts = Object.values(tensors).map(({ data }) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 4 + head.length));
  new DataView(bytes.buffer).setUint32(0, head.length, true);
  let place = 4;
  for (const part of [head, ...parts]) {
    bytes.set(part, place);
    place += part.length;
  }
  return bytes;
}

export const failure = (error) => pack({ error: String(error?.message ?? error) });

// The frame of one call: `graph` and its inputs become its outputs and the milliseconds that `run` took.
export async function answer(ort, sessions, bytes) {
  try {
    const { header, arrays } = unpack(bytes);
    const feeds = Object.fromEntries(arrays.map(({ name, type, dims, data }) => [name, new ort.Tensor(type, data, dims)]));
    const start = performance.now();
    const found = await sessions[header.graph].run(feeds);
    const ms = performance.now() - start;
    return pack({ ms }, found);
  } catch (error) {
    return failure(error);
  }
}
