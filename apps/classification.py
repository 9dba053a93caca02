"""The classification page: choose a bundle, give it a picture, a drawing or a folder, see what it says and how far to trust it."""

from __future__ import annotations

import base64
import binascii
import csv
import tempfile
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder
from PIL import Image

from apps import facts
from apps.library import Library, PictureError, UnknownModel, as_image

CANVAS = (280, 280)
MAX_FILES = 500
FORMULA = ("=", "+", "-", "@")  # a spreadsheet would run a cell that begins with one of these
TITLE = """<div class="kd"><h1>What is in the picture?</h1>
<p class="soft">Choose a network and show it something; it answers on this machine.</p></div>"""
TAKE_BRUSH = """() => { const take = (tries) => {
  const brush = document.querySelector('#sketch button[aria-label="Brush"]');
  if (brush) brush.click(); else if (tries) setTimeout(take, 100, tries - 1);
}; setTimeout(take, 100, 50); }"""  # the sheet opens with no tool in hand
NO_DRAWING = "<style>#draw-button { display: none; }</style>"  # for colour networks; gradio 6.31 shows a tab whatever its visible says
COLUMNS = ["file", "label", "probability", "problem"]


def build(pages: gr.Blocks, library: Library) -> None:
    """Lay the page out inside the open route and wire it."""
    names = library.names()
    page = Page(library)
    gr.HTML(TITLE)
    model = gr.Dropdown(names, value=names[0] if names else None, label="Network", elem_id="model", filterable=len(names) > 8)
    with gr.Tabs():
        with gr.Tab("One picture"), gr.Row():
            with gr.Column(scale=6, min_width=320):
                with gr.Tabs():
                    with gr.Tab("Picture"):
                        picture = gr.Image(
                            label="Your picture",
                            type="filepath",
                            sources=["upload", "webcam", "clipboard"],
                            image_mode=None,
                            height=330,
                            elem_id="picture",
                        )
                        above("Or one of these from its test set")
                        examples = gr.Gallery(
                            show_label=False,
                            columns=8,
                            allow_preview=False,
                            object_fit="contain",
                            interactive=False,
                            elem_id="examples",
                            buttons=[],
                            height="auto",
                        )
                    with gr.Tab("Draw", elem_id="draw") as draw:
                        above("Draw with the mouse or a finger")
                        sketch = gr.Sketchpad(
                            show_label=False,
                            height=420,
                            canvas_size=CANVAS,
                            fixed_canvas=True,
                            brush=gr.Brush(default_size=18, colors=["#111111"], color_mode="fixed"),
                            layers=False,
                            transforms=(),
                            format="png",
                            buttons=[],
                            elem_id="sketch",
                        )
            with gr.Column(scale=5, min_width=300):
                label = gr.Label(label="Answer", num_top_classes=5, elem_id="answer")
                above("What the network saw")
                seen = gr.Image(show_label=False, interactive=False, height=180, buttons=[], format="png", type="filepath", elem_id="seen")
                trust = gr.HTML(elem_id="trust")
        with gr.Tab("Folder to CSV"):
            gr.Markdown(f"Up to {MAX_FILES} pictures, 8 MB each and 64 MB together. Every file gets a line; an unreadable one its reason.")
            files = gr.File(file_count="multiple", label="Pictures", elem_id="files", height=180)
            with gr.Row():
                folder = gr.UploadButton("Choose a whole folder", file_count="directory", size="md")
                start = gr.Button("Classify them", variant="primary", size="md", elem_id="start")
            table = gr.Dataframe(headers=COLUMNS, label="Answers", interactive=False, wrap=True, elem_id="table")
            saved = gr.DownloadButton("Download the CSV", visible=False, elem_id="csv")

    gr.set_static_paths([library.bundles[name].path.resolve() / "examples" for name in names])  # shown from where they lie

    # Gradio would decode the file itself before any limit of ours; the page only takes the uploaded file's place.
    picture.preprocess = uploaded_picture  # type: ignore[method-assign]
    files.preprocess = folder.preprocess = uploaded_files  # type: ignore[method-assign]
    sketch.preprocess = Sketches(sketch)  # type: ignore[method-assign]

    answer = [label, seen]
    quiet: dict[str, Any] = {"api_visibility": "private", "queue": True}
    shown = picture.change(page.classify, [model, picture], answer, api_name="classify", show_progress="minimal", concurrency_limit=1)
    shown.failure(nothing, None, answer, **quiet)
    drawn = sketch.change(
        page.classify_drawing, [model, sketch], answer, api_name="classify_drawing", show_progress="hidden", trigger_mode="always_last"
    )
    drawn.failure(nothing, None, answer, **quiet)
    draw.select(None, js=TAKE_BRUSH)
    examples.select(page.example, model, picture, **quiet)
    chosen = [trust, examples]
    model.input(page.describe, model, chosen, show_progress="hidden", **quiet).then(
        page.classify, [model, picture], answer, show_progress="hidden", **quiet
    )
    folder.upload(lambda chosen_files: chosen_files, folder, files, show_progress="hidden", **quiet)
    start.click(page.classify_files, [model, files], [table, saved], api_name="classify_files")
    pages.load(page.open, None, [model, *chosen], show_progress="hidden", **quiet)


def above(words: str) -> None:
    """A line above a component: gradio's own labels lie on the picture."""
    gr.HTML(f'<div class="kd"><p class="above">{words}</p></div>', padding=False, elem_classes="above-block")


class Page:
    """What the page does, over one library; every refusal is a sentence in a gr.Error."""

    def __init__(self, library: Library):
        self.library = library

    def classify(self, model: str, picture: str | bytes | None) -> tuple[dict[str, float], str | None]:
        """The most probable labels of one picture with their probabilities, and the picture as the network saw it."""
        if picture is None:
            return nothing()
        try:
            answer = self.library.classify(model, picture)
        except (PictureError, UnknownModel) as error:
            raise refusal(error) from None
        return {entry["label"]: entry["probability"] for entry in answer.predictions}, write_picture(as_image(answer.seen))

    def classify_drawing(self, model: str, sketch: bytes | None) -> tuple[dict[str, float], str | None]:
        """The same for a drawing; an empty sheet has no answer."""
        return nothing() if sketch is None else self.classify(model, sketch)

    def classify_files(self, model: str, files: list[str] | None, progress: Any = gr.Progress()) -> tuple[list[list[str]], Any]:  # noqa: B008
        """A line for every file: its best label and probability, or what is wrong with it; and the lines as a CSV file."""
        if not files:
            raise refusal("Choose some pictures first.")
        if len(files) > MAX_FILES:
            raise refusal(f"At most {MAX_FILES} pictures at once are accepted. Received: {len(files)}.")
        rows = [self.line(model, file) for file in progress.tqdm(sorted(files, key=lambda file: Path(file).name), desc="Classifying")]
        return rows, gr.DownloadButton(value=write_csv(rows, model), visible=True)

    def line(self, model: str, file: str) -> list[str]:
        try:
            best = self.library.classify(model, file, top=1).predictions[0]
            return [Path(file).name, best["label"], f"{best['probability']:.4f}", ""]
        except PictureError as error:
            return [Path(file).name, "", "", str(error)]
        except UnknownModel as error:
            raise refusal(error) from None

    def example(self, model: str, event: gr.SelectData) -> str:
        return str(self.library.examples(model)[event.index].resolve())

    def describe(self, model: str) -> tuple[str, list[tuple[str, str]]]:
        """The facts beside the answer, and the examples."""
        try:
            bundle = self.library.get(model)
        except UnknownModel as error:
            raise refusal(error) from None
        examples = [(str(path.resolve()), path.stem.rsplit("-", 1)[0]) for path in self.library.examples(model)]
        return NO_DRAWING * (bundle.color != "grey") + trust_panel(bundle.card), examples

    def open(self, request: gr.Request) -> tuple[Any, ...]:
        """The page as its address asks for it: /classify?model=NAME."""
        names = self.library.names()
        asked = request.query_params.get("model")
        name = asked if asked in names else names[0] if names else None
        if name is None:
            return gr.Dropdown(value=None), "", []
        return gr.Dropdown(value=name), *self.describe(name)


class Sketches:
    """The composite of a drawing as a file or its bytes, unopened. The browser sends it ahead under a number; few are kept."""

    KEPT = 16

    def __init__(self, sketch: gr.ImageEditor):
        self.sketch = sketch

    def __call__(self, payload: Any) -> str | bytes | None:
        if payload is None:
            return None
        stored = self.sketch.blob_storage
        source = stored.pop(payload.id, None) if payload.id is not None else payload
        for forgotten in list(stored)[: -self.KEPT]:
            stored.pop(forgotten, None)
        composite = source.composite if source else None
        return composite if composite is None or isinstance(composite, bytes) else uploaded_picture(composite)


def uploaded_picture(payload: Any) -> str | bytes | None:
    """Where gradio put an upload (it has checked that the path is its own), or the bytes of a data: address."""
    if payload is None:
        return None
    if payload.url and payload.url.startswith("data:"):
        try:
            return base64.b64decode(payload.url.partition(",")[2], validate=True)
        except binascii.Error:
            raise refusal("The picture's data: address must be base64.") from None
    if payload.path is None:
        raise refusal("The picture is missing.")
    return payload.path


def uploaded_files(payload: Any) -> list[str] | None:
    if payload is None:
        return None
    return [file.path for file in getattr(payload, "root", None) or [payload]]


def nothing() -> tuple[dict[str, float], None]:
    return {}, None


def refusal(reason: Exception | str) -> gr.Error:
    return gr.Error(str(reason), title="This does not work", print_exception=False)


def own_file(name: str) -> Path:
    """A new place in gradio's folder: it would name equal answers alike and rewrite the file while another page reads it."""
    return Path(tempfile.mkdtemp(dir=get_upload_folder())) / name


def write_picture(image: Image.Image) -> str:
    file = own_file("seen.png")
    image.save(file)
    return str(file)


def write_csv(rows: list[list[str]], model: str) -> str:
    file = own_file(f"{model}.csv")
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows([f"'{name}" if name.startswith(FORMULA) else name, *rest] for name, *rest in rows)
    return str(file)


def trust_panel(card: dict[str, Any]) -> str:
    """How good it is, by measurement, and what it was made for."""
    rows = [
        ("Trained on", facts.data(card)),
        ("Licence", facts.licence(card)),
        ("Looks at", facts.looked_at(card)),
        ("Network", f"{facts.parameters(card)}, {facts.megabytes(card)}"),
        ("Same as Keras", facts.parity(card)),
        ("Meant for", card.get("intended_use") or "not stated"),
        ("Limits", card.get("limits") or "not stated"),
    ]
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in rows)
    return f'<div class="kd"><div class="card">{accuracy_line(card)}<dl>{listed}</dl></div></div>'


def accuracy_line(card: dict[str, Any]) -> str:
    metric = facts.accuracy(card)
    if metric is None:
        return '<p class="soft">The accuracy was not measured.</p>'
    value, (low, high) = metric["value"], metric["interval"]
    return (
        f'<div><p><span class="figure">{facts.percent(value)}</span> <span class="soft">right</span></p>'
        f'<div class="meter"><i style="left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%"></i>'
        f'<b style="left:{100 * value:.2f}%"></b></div>'
        f'<p class="soft small">measured on {metric["n"]:,} test pictures it had never seen; '
        f"95 % interval {facts.percent(low)} to {facts.percent(high)}</p></div>"
    )
