"""python -m export: from runs/NAME to saved_models/NAME, or a sentence that says why not."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import subprocess
import sys
from pathlib import Path

from export.screen import complain, silent, start, suggestion, tell

DESCRIPTION = """\
Export a trained run to a bundle: model.onnx (or one file a graph), saved_model/, card.json, README.md, sample.npz and examples/.
Nothing appears under OUT before every gate has passed; a good old bundle stays until then.

  python -m export digits-lenet5          the run runs/digits-lenet5 becomes saved_models/digits-lenet5
  python -m export --all                  every run under runs/, one process each
  python -m export variants digits-lenet5 int8 and float16, kept where the task's score stays
  python -m export verify digits-lenet5   check a bundle again: files, card, sample.npz by onnxruntime and TensorFlow
  python -m export bench digits-lenet5    the bundle in several runtimes: answers against Keras, score, size, time
  python -m export sign digits-lenet5     sign it with a private key, or make a pair of keys
  python -m export deploy digits-lenet5   write a bundle for Triton, a browser, C++ or LiteRT
  python -m export model resnet50 --out X a registered model with random weights, for its size and time only
"""
VERBS = ("variants", "verify", "bench", "sign", "deploy", "model")  # a module of export.verbs each, imported when it is called
FLAGS = ("quiet", "whole-loop", "dynamic-size", "letterbox", "nchw", "external-data")
EPILOG = "A recurrent net must be exported with the GPU hidden: CUDA_VISIBLE_DEVICES=-1 python -m export NAME"


def main(argv: list[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a half-written folder is removed
    try:
        if words[:1] and words[0] in VERBS:
            return importlib.import_module(f"export.verbs.{words[0]}").run(words[1:])
        return run_export(words)
    except KeyboardInterrupt:
        print("export: stopped, nothing was written", file=sys.stderr)
        return 130


def run_export(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m export", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="the run, as `kerasdl train NAME` wrote it (or: verify NAME)")
    parser.add_argument("--all", action="store_true", help="every run found in RUN_DIR")
    parser.add_argument("--run-dir", default="runs", type=Path, help="where the runs are (default: %(default)s)")
    parser.add_argument("--out", default="saved_models", type=Path, help="where the bundles go (default: %(default)s)")
    parser.add_argument("--split", default="test", choices=("test", "valid"), help="the split that is scored (default: %(default)s)")
    parser.add_argument(
        "--opset",
        type=int,
        default=17,
        help="ONNX operator set, 17 to 26: onnxruntime 1.31 reads all of them, others perhaps not; from 20 on GELU is one operator "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--dynamic-size",
        action="store_true",
        help="the graph takes pictures of any height and width and resizes them itself, bilinear and without antialiasing; where the "
        "data's rule cuts out the square in the middle, so does the graph",
    )
    parser.add_argument(
        "--letterbox",
        action="store_true",
        help="the same, but the picture's proportions are kept: in the graph it is set between bars of the training pictures' mean colour",
    )
    parser.add_argument("--nchw", action="store_true", help="the graph takes pictures channels first, uint8 [batch, C, H, W]")
    parser.add_argument(
        "--external-data", action="store_true", help="weights in GRAPH.onnx.data beside GRAPH.onnx, as always beyond 2 GB of them"
    )
    parser.add_argument(
        "--whole-loop", action="store_true", help="of a captioner also variants/captioner-loop.onnx, its greedy search in one graph"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress lines and no table")
    options = parser.parse_args(words)
    if bool(options.names) == options.all:
        parser.error("give the name of a run, or --all")
    names = find_runs(options.run_dir) if options.all else options.names
    if not names:
        return complain(f"there must be a run to export. Received: none in {options.run_dir}; train one with: kerasdl train NAME")
    if options.all or len(names) > 1:
        return export_each(names, options)
    return export_one(names[0], options)


def export_each(names: list[str], options: argparse.Namespace) -> int:
    """One process per export: TensorFlow gives no memory back, and one failure must not stop the others."""
    failed = []
    given = ["--run-dir", str(options.run_dir), "--out", str(options.out), "--split", options.split, "--opset", str(options.opset)]
    given += [f"--{flag}" for flag in FLAGS if getattr(options, flag.replace("-", "_"))]
    for name in names:
        if subprocess.run([sys.executable, "-m", "export", name, *given]).returncode:
            failed.append(name)
    if failed:
        return complain(f"{len(failed)} of {len(names)} exports failed: {', '.join(failed)}")
    return 0


def export_one(name: str, options: argparse.Namespace) -> int:
    problem = missing_run(name, options.run_dir)
    if problem:
        return complain(problem)
    start()
    from export.bundle import export_recipe_run
    from export.contracts import Form
    from export.gates import ExportRefused

    try:
        folder = export_recipe_run(
            name,
            options.run_dir,
            options.out,
            options.split,
            say=silent if options.quiet else tell,
            opset=options.opset,
            whole_loop=options.whole_loop,
            form=Form(options.dynamic_size, options.letterbox, options.nchw, options.external_data),
        )
    except (ExportRefused, ValueError, OSError) as error:
        return complain(f"{name}: {error}")
    if not options.quiet:
        print(
            f"\n{summary(json.loads((folder / 'card.json').read_text(encoding='utf-8')))}\n\n{folder} is ready; try it with: python -m apps"
        )
    return 0


def find_runs(run_dir: Path) -> list[str]:
    """The runs that were trained to their end."""
    return sorted(path.parent.name for path in run_dir.glob("[!.]*/model.keras") if (path.parent / "recipe.json").is_file())


def missing_run(name: str, run_dir: Path) -> str | None:
    """What to say when `RUN_DIR/NAME` cannot be exported."""
    run = run_dir / name
    absent = [file for file in ("recipe.json", "spec.json", "metrics.json", "model.keras") if not (run / file).is_file()]
    if not absent:
        return None
    if run.is_dir():
        return f"a run must have been trained to its end. Received: {run} without {', '.join(absent)}"
    return f"there must be a run {run}. {suggestion(name, find_runs(run_dir))} Train it with: kerasdl train {name}"


def summary(card: dict) -> str:
    """The small table after an export."""
    from export.readme import figure, interval

    lines = []
    for name, metric in card["metrics"].items():
        bounds = "" if metric["interval"] is None else f", 95 % interval {interval(metric)}"
        lines.append(
            ("test " + name if metric["protocol"].startswith("test") else name, f"{figure(metric['value'])}  (n = {metric['n']:,}{bounds})")
        )
    for row in card["parity"]:
        decided = "decisions equal" if row["decisions_equal"] else "decisions differ"
        ties = f"{row['near_ties']} near tie{'' if row['near_ties'] == 1 else 's'}"
        told = f" {row['unit']}" if "unit" in row else f", {decided}, {ties}"
        lines.append(
            (
                f"{row['runtime']}{', ' + row['graph'] if 'graph' in row else ''} = Keras",
                f"max error {row['max_error']:.1e}{told}, {row['samples']} samples at batch {row['batch']}{of_size(row)}",
            )
        )
    for runtime, entry in card["latency"].items():
        if isinstance(entry, dict):
            threads = f"{entry['threads']} thread{'' if entry['threads'] == 1 else 's'}"
            lines.append((f"latency {runtime}", f"{entry['p50_ms']:.2f} ms p50, {entry['p95_ms']:.2f} ms p95, batch 1, {threads}"))
    lines.append(("size", ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in card["sizes"].items())))
    width = max(len(left) for left, _ in lines)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in lines)


def of_size(row: dict) -> str:
    return f", pictures of {row['size'][0]} x {row['size'][1]}" if "size" in row else ""


if __name__ == "__main__":
    raise SystemExit(main())
