"""python -m export bench: bundles in several runtimes, with their answers held against Keras'."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from export.screen import complain, silent, start, suggestion, tell

DESCRIPTION = """\
Run bundles in several runtimes on real examples: status, size, score, decisions and errors against Keras, p50 and p95.

  python -m export bench                                         every bundle, every runtime that is here
  python -m export bench digits-lenet5 --markdown bench.md --chart bench.png
  python -m export bench --runtimes onnxruntime,node,web --samples 1000

A runtime that is not here says so in its row. A row whose answers are not those of Keras is WRONG, and the exit code is 1.
"""
NAMES = ("keras", "saved_model", "onnxruntime", "openvino", "node", "web", "cuda", "tensorrt")  # as bench.runtimes has them


def run(words: list[str]) -> int:
    options = parsed(words)
    names, problem = chosen(options)
    if problem:
        return complain(problem)
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # TensorFloat-32 is 1e-3 away from Keras
    from export.bench.runtimes import limit_tensorflow

    limit_tensorflow(options.threads)
    start()
    from export.bench import chart, report
    from export.bench.measure import Result, bench
    from export.gates import ExportRefused

    say = silent if options.quiet else tell
    results: list[Result] = []
    failed = 0
    for name in names:
        run_folder = options.run_dir / name
        try:
            sizes = (options.batches, options.samples, options.threads)
            results.append(bench(options.out / name, options.runtimes, *sizes, run=run_folder, say=say))
        except (ExportRefused, ValueError, OSError) as error:
            failed += complain(f"{name}: {error}")
            continue
        print(f"\n{report.as_text(results[-1])}\n", flush=True)
        if options.markdown:  # after each bundle: what is measured is kept
            report.write(options.markdown, report.as_markdown(results))
        if options.json:
            report.write(options.json, report.as_json(results))
        if options.chart:
            chart.draw(results, options.chart)
    wrong = [f"{result.name} in {row.runtime} ({row.precision}, {row.status})" for result in results for row in result.wrong()]
    if wrong:
        failed += complain(f"the answers must be those of Keras. Received others from {', '.join(dict.fromkeys(wrong))}")
    return min(failed, 1)


def parsed(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m export bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundles under OUT (default: all of them)")
    parser.add_argument("--out", default="saved_models", type=Path, help="where the bundles are (default: %(default)s)")
    parser.add_argument("--run-dir", default="runs", type=Path, help="where the runs are, for Keras itself (default: %(default)s)")
    parser.add_argument("--runtimes", default=list(NAMES), type=runtimes, metavar="A,B", help=f"some of {','.join(NAMES)} (default: all)")
    parser.add_argument("--samples", default=256, type=positive, help="real examples to answer (default: %(default)s)")
    parser.add_argument("--batches", default=[1, 8], type=batches, metavar="N,M", help="examples given at once (default: 1,8)")
    parser.add_argument("--threads", default=1, type=positive, help="of each runtime, but for WebAssembly with its one (default: 1)")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there")
    parser.add_argument("--chart", type=Path, metavar="FILE.png", help="draw the times there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--quiet", action="store_true", help="no progress lines, only the tables and what is wrong")
    return parser.parse_args(words)


def runtimes(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        raise argparse.ArgumentTypeError(f"runtimes are {', '.join(NAMES)}. Received: {', '.join(unknown)}")
    return names


def batches(text: str) -> list[int]:
    return [positive(word) for word in text.split(",")]


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"it must be a whole number of at least 1. Received: {text!r}")
    return int(text)


def chosen(options: argparse.Namespace) -> tuple[list[str], str]:
    """The names of the bundles, or what to say instead."""
    known = sorted(path.parent.name for path in options.out.glob("[!.]*/card.json"))
    if not known:
        return [], f"there must be a bundle to measure. Received: none in {options.out}"
    for name in options.names:
        if name not in known:
            return [], f"there must be a bundle {options.out / name}. {suggestion(name, known)}"
    return options.names or known, ""
