"""The folder of a Hugging Face Space: README.md, requirements.txt, app.py, apps/ and saved_models/, ready to push.

    python tools/space.py OUT [--bundles saved_models]

OUT is a new folder, or the clone of a Space: what this command wrote before is replaced, `.git` and the rest stay.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from apps.runtime import BundleError, find_bundles, load_bundle  # noqa: E402

AT_THE_TOP = ("README.md", "app.py")  # of apps/, where a Space looks for them
LEFT_OUT = shutil.ignore_patterns(*AT_THE_TOP, "requirements.txt", "*.service", "__pycache__", ".*")
LARGE_FILES = "*.onnx *.npz *.png *.pb *.zip variables.data-* variables.index"  # the hub takes no binary file but through LFS


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write")
    parser.add_argument(
        "--bundles", type=Path, default=ROOT / "saved_models", metavar="FOLDER", help="bundles to show (default: saved_models)"
    )
    options = parser.parse_args()
    try:
        names = assemble(options.out, options.bundles)
    except (BundleError, NotASpace) as problem:
        print(f"space: {problem}", file=sys.stderr)
        return 1
    print(f"{options.out}: {', '.join(names)}. To push it: hf upload OWNER/NAME {options.out} . --repo-type space")
    return 0


class NotASpace(Exception):
    """The folder holds something else, and would be overwritten."""


def assemble(out: Path, bundles: Path) -> list[str]:
    """Write the Space; the names of its bundles, each of which was loaded first."""
    found = find_bundles(bundles)
    if not found:
        raise BundleError(f"The folder must hold a bundle, a folder with card.json. Received: {bundles}")
    names = [load_bundle(path).name for path in found]
    make_way(out)
    for name in AT_THE_TOP:
        shutil.copy(ROOT / "apps" / name, out)
    (out / "requirements.txt").write_text(pinned(ROOT / "apps" / "requirements.txt", ROOT / "constraints.txt"))
    (out / ".gitattributes").write_text("".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in LARGE_FILES.split()))
    shutil.copytree(ROOT / "apps", out / "apps", ignore=LEFT_OUT)
    for path in found:
        shutil.copytree(path, out / "saved_models" / path.name)
    return names


def make_way(out: Path) -> None:
    readme = out / "README.md"
    present = out.is_dir() and any(entry.name != ".git" for entry in out.iterdir())
    if present and not (readme.is_file() and "\nsdk: gradio\n" in readme.read_text(encoding="utf-8")):
        raise NotASpace(f"The folder must be new, empty or a Space. Received: {out}")
    out.mkdir(parents=True, exist_ok=True)
    for name in ("apps", "saved_models"):
        shutil.rmtree(out / name, ignore_errors=True)


def pinned(requirements: Path, constraints: Path) -> str:
    """The requirements, each at the version the tests ran with."""
    pins = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", constraints.read_text(), flags=re.MULTILINE))
    names = [re.match(r"[\w-]+", line) for line in requirements.read_text().splitlines()]
    return "".join(f"{name[0]}=={pins[name[0].lower().replace('_', '-')]}\n" for name in names if name)


if __name__ == "__main__":
    sys.exit(main())
