"""A static page that runs a bundle in the browser: the files of export/web, onnxruntime-web, and what the bundle needs.

Any file server will do, at any path: `python -m http.server`. The page asks nobody else for anything, and runs one thread, so that the
server need not send headers. Pictures of a demo gallery are embedded here, once, by the runtime that verified the bundle.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import string
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from apps.runtime import embed, load_bundle, open_picture
from export import demo, npm
from export.deploy.bundles import Finished, check_own_weights
from export.gates import ExportRefused

PAGE = Path(__file__).resolve().parents[1] / "web"
TASKS = {
    "classification": ("classification.js", "chooser.js"),
    "captioning": ("captioning.js", "decoding.js", "chooser.js"),
    "embedding": ("matching.js", "chooser.js"),
    "regression": ("regression.js",),
}
ALWAYS = ("page.js", "runtime.js", "dom.js", "style.css", "icon.svg")
PICTURES = ("pictures.js", "resample.js")
STEPS = ("ink", "center_crop", "resize")  # that pictures.js knows
RUNTIME = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")  # the bundle holds the wasm's loader
LICENCES = ("LICENSE", "ThirdPartyNotices.txt")
PACKAGE = "onnxruntime-web"
NAMED = re.compile(r"(?P<person>\d+)_c(?P<camera>\d+)s\d+_\d+_\d+\.jpg")  # as export.demo names them
TOGETHER = 64  # pictures of the gallery embedded at once


def folders(bundle: Finished, site: Path) -> dict[Path, Callable[[Path], None]]:
    if bundle.task not in TASKS:
        raise ExportRefused(f"--web has pages for {', '.join(TASKS)}. Received: {bundle.name}, a bundle for {bundle.task}")
    check_own_weights(bundle, "web")
    steps = {step["op"] for graph in bundle.graphs.values() for entry in graph["inputs"] for step in entry.get("prepare", [])}
    if steps - set(STEPS):
        raise ExportRefused(f"--web prepares pictures by {', '.join(STEPS)}. Received: {', '.join(sorted(steps - set(STEPS)))}")
    return {site: partial(write, bundle, npm.package(PACKAGE))}


def write(bundle: Finished, package: Path, folder: Path) -> None:
    """Everything the page asks for, and nothing else."""
    for name in [*ALWAYS, *TASKS[bundle.task], *(PICTURES if bundle.task != "regression" else ())]:
        shutil.copyfile(PAGE / name, folder / name)
    write_runtime(package, folder / "ort")
    for name in needed(bundle):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle.folder / name, folder / name)
    if demo.FILE in bundle.card["files"]:
        write_gallery(bundle, folder / "gallery")
    heavy = sum(path.stat().st_size for path in [*folder.glob("ort/*"), *folder.glob("*.onnx")])
    told = {"name": bundle.name, "use": bundle.card["intended_use"], "megabytes": f"{heavy / 1e6:.0f}"}
    page = string.Template((PAGE / "index.html").read_text(encoding="utf-8"))
    (folder / "index.html").write_text(page.substitute({key: html.escape(words) for key, words in told.items()}), encoding="utf-8")


def needed(bundle: Finished) -> list[str]:
    """The card, the graphs and the example pictures."""
    examples = [name for name in bundle.card["files"] if name.startswith("examples/") and name.endswith((".png", ".jpg", ".webp"))]
    return ["card.json", *bundle.card["graphs"], *examples]


def write_runtime(package: Path, folder: Path) -> None:
    """onnxruntime-web without what it does not need for one thread of wasm, and its licence."""
    folder.mkdir()
    for name in RUNTIME:
        shutil.copyfile(package / "dist" / name, folder / name)
    facts = json.loads((package / "package.json").read_text(encoding="utf-8"))
    head = f"{PACKAGE} {facts['version']}, {facts['repository']['url']}, licence: {facts['license']}\n\n"
    for name in LICENCES:
        (folder / name).write_text(head + licence(name), encoding="utf-8")


def licence(name: str) -> str:
    """The text that onnxruntime's own Python package carries: npm's carries none."""
    import onnxruntime

    file = Path(str(onnxruntime.__file__)).parent / name
    if not file.is_file():
        raise ExportRefused(f"the licence of onnxruntime must go with the page. Received: an onnxruntime package without {name}")
    return file.read_text(encoding="utf-8")


def write_gallery(bundle: Finished, folder: Path) -> None:
    """The demo gallery's pictures, index.json with the person and camera of each, and vectors.f32, float32 [N, D] in that order."""
    folder.mkdir()
    with zipfile.ZipFile(bundle.folder / demo.FILE) as archive:
        pictures = {name: archive.read(name) for name in sorted(archive.namelist()) if NAMED.fullmatch(name)}
    served, data = load_bundle(bundle.folder), list(pictures.values())
    vectors = []
    for start in range(0, len(data), TOGETHER):
        vectors.append(embed(served, [open_picture(one, served.color) for one in data[start : start + TOGETHER]]).vectors)
    for name, content in pictures.items():
        (folder / name).write_bytes(content)
    (folder / "index.json").write_text(json.dumps([entry(name) for name in pictures]) + "\n", encoding="utf-8")
    np.concatenate(vectors).astype("<f4").tofile(folder / "vectors.f32")


def entry(name: str) -> dict[str, str]:
    known = NAMED.fullmatch(name)
    assert known
    return {"file": name, "person": known["person"], "camera": known["camera"]}
