"""`make peer`: our models against torchvision's and timm's. Nothing here is collected by another command, for it needs torch."""

import importlib
import importlib.util
from pathlib import Path

import pytest

TITLE = ("model", "peer", "image", "max difference / max logit")
OPERATORS = ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
rows, libraries = [], []


def pytest_ignore_collect(collection_path, config):
    return None if config.getoption("markexpr") == "peer" else True


def pytest_configure(config):
    if config.getoption("markexpr") == "peer":
        declare_operators()


def declare_operators() -> None:
    """torchvision registers things for its compiled operators when it is imported, and stops where they are absent.

    They are in a library that is made for one torch only, and classifiers use none of them. Where it cannot be loaded they are declared by
    name, so that the import goes on.
    """
    try:
        torch, spec = importlib.import_module("torch"), importlib.util.find_spec("torchvision")
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        raise pytest.UsageError("torch and torchvision are not in this environment: run `make peer`")
    try:
        torch.ops.load_library(str(next(Path(spec.origin).parent.glob("_C*.so"))))
    except (OSError, StopIteration):
        library = torch.library.Library("torchvision", "DEF")
        for name in OPERATORS:
            library.define(f"{name}(Tensor x) -> Tensor")
            library.define(f"_{name}_backward(Tensor x) -> Tensor")
        libraries.append(library)  # the declarations live as long as this object


@pytest.fixture(scope="session")
def record():
    """`record(model, peer, image, difference)` adds a line to the table at the end."""
    return lambda *row: rows.append(row)


def pytest_terminal_summary(terminalreporter):
    if rows:
        terminalreporter.section("equality with torchvision and timm")
        for model, peer, image, difference in [TITLE, *rows]:
            shown = difference if isinstance(difference, str) else f"{difference:.1e}"
            terminalreporter.write_line(f"| {model:12} | {peer:34} | {image:9} | {shown} |")
