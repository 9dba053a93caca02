"""GET /examples/BUNDLE/FILE: the example pictures, read when they are asked for, so that bundles that came later have theirs too."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Response

from apps.library import Library, UnknownModel


def router(library: Library) -> APIRouter:
    routes = APIRouter()

    @routes.get("/examples/{bundle}/{file}", include_in_schema=False)
    def example(bundle: str, file: str) -> Response:
        """The file, if the bundle's card lists it among the examples and its sha256 is still the card's."""
        data = read(library, bundle, file)
        if data is None:
            raise HTTPException(404, "The bundle has no such example picture.")
        return Response(data, media_type="image/png", headers={"cache-control": "private, max-age=3600"})

    return routes


def find(library: Library, bundle: str, file: str) -> Path | None:
    """The example picture of this name that the card vouches for."""
    return None if read(library, bundle, file) is None else library.get(bundle).path / "examples" / file


def read(library: Library, bundle: str, file: str) -> bytes | None:
    """Its bytes, which are those of the card."""
    try:
        known = any(path.name == file for path in library.examples(bundle))
        return library.vouched(library.get(bundle), f"examples/{file}") if known else None
    except UnknownModel:
        return None


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
