"""python -m export verify: check bundles again."""

from __future__ import annotations

import argparse
from pathlib import Path

from apps.runtime.signature import KeyProblem, read_public_key
from export.screen import complain, silent, start, suggestion, tell


def run(words: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m export verify", description="Check bundles again in this fresh process.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundles under OUT (default: all of them)")
    parser.add_argument("--out", default="saved_models", type=Path, help="where the bundles are (default: %(default)s)")
    parser.add_argument("--public-key", type=Path, metavar="FILE", help="each must have a signature of this key, see: sign --help")
    parser.add_argument("--quiet", action="store_true", help="say only what is wrong")
    options = parser.parse_args(words)
    try:
        key = read_public_key(options.public_key) if options.public_key else None
    except KeyProblem as error:
        return complain(str(error))
    start()
    from export.gates import ExportRefused
    from export.verify import verify_bundle

    known = sorted(path.parent.name for path in options.out.glob("[!.]*/card.json"))
    names = options.names or known
    if not names:
        return complain(f"there must be a bundle to verify. Received: none in {options.out}")
    wrong = 0
    for name in names:
        if not (options.out / name).is_dir():
            wrong += complain(f"there must be a bundle {options.out / name}. {suggestion(name, known)}")
            continue
        try:
            verify_bundle(options.out / name, say=silent if options.quiet else tell, key=key)
        except ExportRefused as error:
            wrong += complain(f"{name}: {error}")
    return min(wrong, 1)
