"""python -m export variants: int8 and float16 of finished bundles."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from export.screen import complain, silent, start, suggestion, tell

DESCRIPTION = """\
Make int8 (for CPUs) and float16 (for GPUs) of bundles, from the bundle and the data of its recipe. Each is kept only when the task's own
scores lose at most --max-drop points (hundredths: of accuracy, rank-1 and mAP, facts right and BLEU-4, R2) on the validation and the
test split; else a sentence says so and float32 stays. The bundle is rewritten whole or not at all.
"""


def run(words: list[str]) -> int:
    parser = argparse.ArgumentParser(
        "python -m export variants", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="+", metavar="NAME", help="bundles under OUT")
    parser.add_argument("--int8", action="store_true", help="only int8, unless --fp16 is given too")
    parser.add_argument("--fp16", action="store_true", help="only float16, unless --int8 is given too")
    parser.add_argument("--out", default="saved_models", type=Path, help="where the bundles are (default: %(default)s)")
    parser.add_argument("--max-drop", default=0.5, type=limit, metavar="POINTS", help="points that may be lost (default: %(default)s)")
    parser.add_argument("--quiet", action="store_true", help="no progress lines and no sentences")
    options = parser.parse_args(words)
    start()
    from export.gates import ExportRefused
    from export.variants.make import KINDS, make_variants

    kinds = [kind for kind in KINDS if getattr(options, kind)] or KINDS
    known = sorted(path.parent.name for path in options.out.glob("[!.]*/card.json"))
    wrong = 0
    for name in options.names:
        if name not in known:
            wrong += complain(f"there must be a bundle {options.out / name}. {suggestion(name, known)}")
            continue
        try:
            card = make_variants(name, options.out, kinds, options.max_drop, say=silent if options.quiet else tell)
        except (ExportRefused, ValueError, OSError) as error:
            wrong += complain(f"{name}: {error}")
            continue
        if not options.quiet and any(card["variants"][kind]["accepted"] for kind in kinds):
            kept = [kind for kind in kinds if card["variants"][kind]["accepted"]]
            tell(f"{options.out / name} is ready; serve it with: python -m apps --bundles {options.out} --variant {kept[0]}")
    return min(wrong, 1)


def limit(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"must be points from 0 to 100. Received: {text}")
    return number
