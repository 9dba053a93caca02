"""python -m export sign: a signature beside the card, or a new pair of keys."""

from __future__ import annotations

import argparse
from pathlib import Path

from export.screen import complain, suggestion, tell

DESCRIPTION = """\
Sign bundles with a private key: bundle.sig appears in each, in the format of OpenSSF Model Signing. docs/trust.md says what it proves.

  python -m export sign --new-key keys                          keys/private.pem and keys/public.pem
  python -m export sign digits-lenet5 --key keys/private.pem    saved_models/digits-lenet5/bundle.sig
"""


def run(words: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m export sign", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="bundles under OUT")
    parser.add_argument("--key", type=Path, metavar="FILE", help="the private key, a PEM file")
    parser.add_argument("--new-key", type=Path, metavar="FOLDER", help="make a new pair of keys there and end")
    parser.add_argument("--out", default="saved_models", type=Path, help="where the bundles are (default: %(default)s)")
    options = parser.parse_args(words)
    if bool(options.names and options.key) == bool(options.new_key) or (options.new_key and (options.names or options.key)):
        parser.error("give NAME and --key FILE, or --new-key FOLDER")
    from export.gates import ExportRefused
    from export.signing import make_keys, read_private_key, sign_bundle

    try:
        if options.new_key:
            private, public = make_keys(options.new_key)
            tell(f"{private} signs and must stay secret; {public} is for whoever checks")
            return 0
        key = read_private_key(options.key)
        missing = [name for name in options.names if not (options.out / name).is_dir()]
        if missing:
            known = sorted(path.parent.name for path in options.out.glob("[!.]*/card.json"))
            return complain(f"there must be a bundle {options.out / missing[0]}. {suggestion(missing[0], known)}")
        for name in options.names:
            tell(f"{name}: {sign_bundle(options.out / name, key)} is written")
    except ExportRefused as error:
        return complain(str(error))
    except OSError as error:
        return complain(f"the file must be writable. Received: {error.filename}, {error.strerror}")
    return 0
