// node node_worker.mjs PACKAGE THREADS '{"graph": "file.onnx"}': onnxruntime-node on a pipe. Every frame has its length before it (uint32).

import { createRequire } from "node:module";
import { answer, failure, pack } from "./worker.mjs";

const [home, threads, graphs] = process.argv.slice(2);

function send(frame) {
  const length = Buffer.alloc(4);
  length.writeUInt32LE(frame.length);
  process.stdout.write(length);
  process.stdout.write(frame);
}

async function* frames(stream) {
  let parts = [];
  let held = 0;
  for await (const chunk of stream) {
    parts.push(chunk);
    held += chunk.length;
    while (held >= 4) {
      if (parts[0].length < 4) parts = [Buffer.concat(parts)];
      const wanted = 4 + parts[0].readUInt32LE(0);
      if (held < wanted) break;
      const all = Buffer.concat(parts);
      yield new Uint8Array(all.subarray(4, wanted));
      parts = [all.subarray(wanted)];
      held -= wanted;
    }
  }
}

const sessions = {};
let ort;
try {
  ort = createRequire(import.meta.url)(home);
  const options = { intraOpNumThreads: Number(threads), interOpNumThreads: 1, logSeverityLevel: 3, executionProviders: ["cpu"] };
  for (const [name, path] of Object.entries(JSON.parse(graphs))) sessions[name] = await ort.InferenceSession.create(path, options);
  send(pack({ node: process.versions.node }));
} catch (error) {
  send(failure(error));
}
for await (const frame of frames(process.stdin)) send(await answer(ort, sessions, frame));
