"""The same architecture exported by us and by torch.onnx, side by side under onnxruntime: milliseconds of one picture, and their ratio.

    python tests/bench/torch_export.py --peer .venv-peer/bin/python            resnet50 and vit_s16, one thread
    python tests/bench/torch_export.py --peer ... --rounds 100 --keep models   longer, and the files stay

Torch is not needed here: its files are written by another Python (`make peer` makes one; torch's default exporter wants onnxscript
besides, without which only the older one is measured). Like is compared with like: ours take uint8 pictures (H,W,C) and scale them
inside, torch's take scaled float32 (C,H,W), so that ours are cut behind that; ours take any number of pictures, torch's by default one,
so that torch writes files for any number too, and onnxruntime is told that ours get one. Random weights in both. The files take turns
of a few calls, so that a busy machine slows all alike; beside the clock stands the processor's time, which on a busy machine says more.
"""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

PEERS = {"resnet50": "torchvision/resnet50", "vit_s16": "timm/vit_small_patch16_224"}
OPSETS = (17, 20)  # our default, and that of torch's files, where GELU is one operator
EXPORTERS = {"torch.onnx": True, "torch.onnx, dynamo=False": False}  # torch's own default is the first
BATCHES = {"one picture": False, "any number": True}  # what a file takes
GOAL = 1.00
TURN = 5
SIDE = 224


def write_peers(folder: Path, names: list[str]) -> None:
    """In the peer's Python: the files of `peer_path`, by the exporters that work there."""
    sys.path.insert(0, str(ROOT / "tests"))
    importlib.import_module("peer.conftest").declare_operators()
    torch = importlib.import_module("torch")
    for name in names:
        library, peer = PEERS[name].split("/")
        if library == "timm":
            net = importlib.import_module("timm").create_model(peer).eval()
        else:
            net = importlib.import_module("torchvision").models.get_model(peer, weights=None).eval()
        torch.manual_seed(0)
        with torch.no_grad():
            for tensor in [*net.parameters(), *(b for b in net.buffers() if b.is_floating_point())]:
                tensor.uniform_(0.01, 0.02)  # zeros and ones would fold away
        for exporter, dynamo in EXPORTERS.items():
            for batch, is_dynamic in BATCHES.items():
                path = peer_path(folder, name, exporter, batch)
                options: dict[str, Any] = {"input_names": ["image"], "output_names": ["logits"], "dynamo": dynamo}
                if is_dynamic and dynamo:
                    options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
                elif is_dynamic:
                    options["dynamic_axes"] = {"image": {0: "batch"}, "logits": {0: "batch"}}
                try:
                    torch.onnx.export(net, (torch.zeros(2 if is_dynamic else 1, 3, SIDE, SIDE),), str(path), **options)
                except ImportError as error:
                    print(f"{exporter} of {name} is left out: {error}", file=sys.stderr)
                    path.unlink(missing_ok=True)


def peer_path(folder: Path, name: str, exporter: str, batch: str) -> Path:
    return folder / f"{name}.torch.{list(EXPORTERS).index(exporter)}.{'dynamic' if BATCHES[batch] else 'fixed'}.onnx"


def write_all(folder: Path, names: list[str], peer: str) -> None:
    """Ours in a process of this Python, torch's in one of the other."""
    for opset in OPSETS:
        words = ["--opset", str(opset), "--out", str(folder / str(opset))]
        subprocess.run([sys.executable, "-m", "export", "model", *names, *words], cwd=ROOT, check=True)
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONWARNINGS": "ignore"}
    subprocess.run([peer, str(Path(__file__).resolve()), "--write-peers", str(folder), *names], check=True, env=environment)


def network_alone(path: Path, to: Path) -> Path:
    """Our file from its first convolution on: it takes what torch's takes."""
    import onnx

    proto = onnx.load(path)
    first = next(node for node in proto.graph.node if node.op_type == "Conv")
    before, wanted = [], {first.input[0]}
    for node in reversed(proto.graph.node):
        if wanted & set(node.output):
            before.append(node)
            wanted |= set(node.input)
    for node in before:
        proto.graph.node.remove(node)
    del proto.graph.input[:]
    proto.graph.input.append(onnx.helper.make_tensor_value_info(first.input[0], onnx.TensorProto.FLOAT, ["batch", 3, SIDE, SIDE]))
    onnx.checker.check_model(proto, full_check=True)
    onnx.save(proto, to)
    return to


def opened(path: Path, threads: int, batch: int | None = None) -> tuple[Callable[[], Any], int, int]:
    """(one picture through the file, weights in it, its nodes); with `batch` onnxruntime is told how many pictures it will get."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    if batch:
        options.add_free_dimension_override_by_name("batch", batch)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    rng = np.random.default_rng(0)
    shape = [1 if not isinstance(size, int) else size for size in entry.shape]
    image = rng.integers(0, 256, shape, "uint8") if entry.type == "tensor(uint8)" else rng.standard_normal(shape, "float32")
    graph = onnx.load(path).graph
    weights = sum(int(np.prod(held.dims)) for held in graph.initializer if held.data_type == held.FLOAT)
    return lambda: session.run(None, {entry.name: image}), weights, len(graph.node)


def measure(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, np.ndarray]:
    """Milliseconds of each call by the clock and of the processor (rounds, 2).

    A turn is a few calls of one file, of which the first is not timed: it brings the weights back into the cache.
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(-(-rounds // TURN)):
        for name, call in list(calls.items())[:: -1 if turn % 2 else 1]:
            call()
            for _ in range(TURN):
                clock, processor = time.perf_counter(), time.process_time()
                call()
                times[name].append((1000 * (time.perf_counter() - clock), 1000 * (time.process_time() - processor)))
    return {name: np.array(values) for name, values in times.items()}


def compare(folder: Path, name: str, threads: int, rounds: int) -> bool:
    """Prints the lines of one model; whether the faster of our networks is no slower than the faster of torch's, for either batch."""
    files = {f"ours whole, opset {opset}, any number": opened(folder / str(opset) / f"{name}.onnx", threads) for opset in OPSETS}
    sides: dict[str, tuple[list[str], list[str]]] = {batch: ([], []) for batch in BATCHES}
    for batch, is_dynamic in BATCHES.items():
        for opset in OPSETS:
            path = folder / str(opset) / f"{name}.onnx"
            who = f"our network, opset {opset}, {batch}"
            files[who] = opened(network_alone(path, path.with_suffix(".alone.onnx")), threads, None if is_dynamic else 1)
            sides[batch][0].append(who)
        for exporter in EXPORTERS:
            if (path := peer_path(folder, name, exporter, batch)).is_file():
                files[f"{exporter}, {batch}"] = opened(path, threads)
                sides[batch][1].append(f"{exporter}, {batch}")
    times = measure({who: call for who, (call, _, _) in files.items()}, rounds)
    medians = {who: np.median(values, axis=0) for who, values in times.items()}
    for who, (_, weights, nodes) in files.items():
        (clock, processor), p95 = medians[who], np.percentile(times[who][:, 0], 95)
        print(f"{name:10}{who:40}{clock:9.2f}{p95:9.2f}{processor:9.2f}{nodes:7}{weights:13,}")
    met = []
    for batch, (ours, theirs) in sides.items():
        fastest, peer = (np.min([medians[who] for who in side], axis=0) for side in (ours, theirs))
        ratio, of_processor = fastest / peer
        met.append(ratio <= GOAL)
        said = f"{ratio:.3f} (processor {of_processor:.3f}), goal {GOAL:.2f}: {'met' if met[-1] else 'missed'}"
        print(f"{name:10}{batch}: our network / torch's, the faster of each: {said}")
    print()
    return all(met)


def is_complete(folder: Path, name: str) -> bool:
    """The files of an earlier run are there, those of torch's older exporter at least."""
    ours = [folder / str(opset) / f"{name}.onnx" for opset in OPSETS]
    theirs = [peer_path(folder, name, list(EXPORTERS)[-1], batch) for batch in BATCHES]
    return all(path.is_file() for path in (*ours, *theirs))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)} (default: all)")
    parser.add_argument("--peer", default=str(ROOT / ".venv-peer" / "bin" / "python"), help="a Python with torch (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=50, help="timed calls of each file (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write the files there; those of an earlier run are used again")
    parser.add_argument("--write-peers", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.names or list(PEERS)
    if unknown := [name for name in names if name not in PEERS]:
        parser.error(f"the models are {', '.join(PEERS)}. Received: {', '.join(unknown)}")
    if options.write_peers:
        write_peers(options.write_peers, names)
        return 0
    with nullcontext(options.keep) if options.keep else tempfile.TemporaryDirectory() as folder:
        missing = [name for name in names if not is_complete(Path(folder), name)]
        if missing:
            Path(folder).mkdir(parents=True, exist_ok=True)
            write_all(Path(folder), missing, options.peer)
        print(f"{options.rounds} pictures, one at a time, {options.threads} thread(s); load {os.getloadavg()[0]:.1f}")
        print(f"{'':50}{'p50 ms':>9}{'p95 ms':>9}{'cpu ms':>9}{'nodes':>7}{'weights':>13}")
        met = [compare(Path(folder), name, options.threads, options.rounds) for name in names]
    return 0 if all(met) else 1


if __name__ == "__main__":
    raise SystemExit(main())
