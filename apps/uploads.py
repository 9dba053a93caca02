"""Files of strangers on the pages: gradio would open them before any limit of ours, so a page takes the uploaded file's place only."""

from __future__ import annotations

import base64
import binascii
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from apps import examples
from apps.library import Library
from apps.page import known, refusal


@dataclass(frozen=True)
class Upload:
    """A stranger's file, unopened: its path or its bytes, and what the visitor calls it."""

    source: str | bytes
    name: str = "picture.png"

    def read(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else Path(self.source).read_bytes()


def picture_input() -> gr.Image:
    """Where a visitor puts one picture; its value is an Upload."""
    picture = gr.Image(
        label="Your picture",
        type="filepath",
        sources=["upload", "webcam", "clipboard"],
        image_mode=None,
        height=400,
        buttons=[],
        elem_id="picture",
    )
    picture.preprocess = uploaded_picture  # type: ignore[method-assign]
    return picture


def uploaded_picture(payload: Any) -> Upload | None:
    """Where gradio put an upload (it has checked that the path is its own), or the bytes of a data: address."""
    if payload is None:
        return None
    if payload.url and payload.url.startswith("data:"):
        try:
            return Upload(base64.b64decode(payload.url.partition(",")[2], validate=True))
        except binascii.Error:
            raise refusal("The picture's data: address must be base64.") from None
    if payload.path is None:
        raise refusal("The picture is missing.")
    return Upload(payload.path, Path(payload.orig_name or payload.path).name)


def uploaded_files(payload: Any) -> list[str] | None:
    if payload is None:
        return None
    return [file.path for file in getattr(payload, "root", None) or [payload]]


def own_file(name: str) -> Path:
    """A new place in gradio's folder: it would name equal answers alike and rewrite the file while another page reads it."""
    return Path(tempfile.mkdtemp(dir=get_upload_folder())) / name


def copied_example(library: Library, model: str, name: str) -> str:
    """A copy of the example, as if the visitor had uploaded it."""
    known(library, model)
    source = examples.find(library, model, name)
    if source is None:
        raise refusal("The example is not there any more. Open the page anew.")
    return shutil.copyfile(source, own_file(source.name)).as_posix()


def example_of(library: Library, model: str, picture: Upload) -> Path | None:
    """The network's example that the picture is, if it is one."""
    example = examples.find(library, model, picture.name)
    return example if example is not None and example.read_bytes() == picture.read() else None
