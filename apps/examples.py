"""GET /examples/BUNDLE/FILE: the example pictures, read when they are asked for, so that bundles that came later have theirs too."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Response

from apps.library import Library, UnknownModel


def router(library: Library) -> APIRouter:
    routes = APIRouter()

    @routes.get("/examples/{bundle}/{file}", include_in_schema=False)
    def example(bundle: str, file: str) -> Response:
        """The file, if the bundle's card lists it among the examples and its sha256 is still the card's."""
        picture = find(library, bundle, file)
        if picture is None:
            raise HTTPException(404, "The bundle has no such example picture.")
        return Response(picture.read_bytes(), media_type="image/png", headers={"cache-control": "private, max-age=3600"})

    return routes


def find(library: Library, bundle: str, file: str) -> Path | None:
    """The example picture of this name that the card vouches for."""
    try:
        card, files = library.get(bundle).card, library.examples(bundle)
    except UnknownModel:
        return None
    picture = next((path for path in files if path.name == file), None)
    if picture is None or not picture.is_file():
        return None
    vouched = hashlib.sha256(picture.read_bytes()).hexdigest() == card["files"][f"examples/{file}"]
    return picture if vouched else None


def address(library: Library, bundle: str, file: Path) -> str:
    """Where a page finds it, from the server's root; another picture under the same name has another address."""
    seal = library.get(bundle).card["files"][f"examples/{file.name}"][:8]
    return f"examples/{quote(bundle, safe='')}/{quote(file.name, safe='')}?v={seal}"


def public_address(origin: str, bundle: str, file: Path) -> str:
    """The whole address, for a program."""
    return f"{origin}/examples/{quote(bundle, safe='')}/{quote(file.name, safe='')}"


def caption(file: Path) -> str:
    """airplane-3.png is an airplane."""
    return file.stem.rsplit("-", 1)[0]
