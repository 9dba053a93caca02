"""The file a Hugging Face Space runs: the whole server, shown inside huggingface.co. tools/space.py puts it beside apps/."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from apps.__main__ import main


def settle(environment: MutableMapping[str, str], folder: Path) -> None:
    """What a Space needs, wherever its owner has not set something else among the Space's variables."""
    defaults = {
        "BUNDLES": str(folder / "saved_models"),
        "HOST": environment.get("GRADIO_SERVER_NAME", "0.0.0.0"),
        "PORT": environment.get("GRADIO_SERVER_PORT") or environment.get("PORT", "7860"),
        "CONTROL": "false",  # strangers reach every route
        "FRAME_ANCESTORS": "https://huggingface.co",
    }
    for name, value in defaults.items():
        environment.setdefault(f"KERASDL_APPS_{name}", value)


if __name__ == "__main__":
    settle(os.environ, Path(__file__).resolve().parent)
    sys.exit(main([]))
