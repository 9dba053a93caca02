"""python -m export deploy: a bundle for Triton, for a browser, for C++ or for LiteRT."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.screen import complain, silent, start, suggestion, tell

DESCRIPTION = """\
Write a finished bundle in the form that another runtime takes. Each folder appears when it is whole; nothing else is overwritten.

  python -m export deploy digits-lenet5 --web site          then: python -m http.server --directory site
  python -m export deploy digits-lenet5 --triton models     then: tritonserver --model-repository models
"""
HELP = {
    "triton": "a model repository: DIR/NAME with config.pbtxt, labels and the graph",
    "web": "a static page that runs the bundle in the browser by onnxruntime-web",
    "cpp": "a C++ program of one file with its CMakeLists.txt",
    "litert": "the graphs for LiteRT (TensorFlow Lite), proven with its interpreter",
}


def run(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m export deploy", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", metavar="NAME", help="a bundle under OUT")
    for kind, told in HELP.items():
        parser.add_argument(f"--{kind}", type=Path, metavar="DIR", help=told)
    parser.add_argument("--out", default="saved_models", type=Path, help="where the bundles are (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="say only what is wrong")
    options = parser.parse_args(words)
    wanted = {kind: getattr(options, kind) for kind in HELP if getattr(options, kind) is not None}
    if not wanted:
        parser.error(f"give at least one target: {', '.join(f'--{kind} DIR' for kind in HELP)}")
    known = sorted(path.parent.name for path in options.out.glob("[!.]*/card.json"))
    if options.name not in known:
        return complain(f"there must be a bundle {options.out / options.name}. {suggestion(options.name, known)}")
    start()
    from export.deploy import deploy
    from export.gates import ExportRefused
    from export.npm import Unavailable

    say = silent if options.quiet else tell
    try:
        folders = deploy(options.out / options.name, wanted, say)
    except (ExportRefused, Unavailable, OSError) as error:
        return complain(f"{options.name}: {error}")
    say(f"{options.name}: {', '.join(map(str, folders))} {'is' if len(folders) == 1 else 'are'} ready; docs/deploy.md says how to use them")
    return 0
