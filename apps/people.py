"""Who is it, and who is there: POST /api/match finds people of a gallery, /api/gallery enrols, lists, renames and deletes them.

Vectors never leave; names come in bodies, not in addresses, which are logged on their way.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from apps import verdict
from apps.api import PICTURE_BODY, STATUS, read_picture
from apps.describe import problems
from apps.engine import Engine, Ticket
from apps.galleries import Galleries
from apps.gallery import Gallery, GalleryError, Kept, Person
from apps.library import Library, PictureError
from apps.limits import gone
from apps.matches import MAX_PICTURES, MAX_TOP, Matched, Matcher, Sighting, Wanted

T = TypeVar("T")
GALLERY_STATUS = {
    "unknown": 404,
    "invalid": 400,
    "other-model": 409,
    "quota": 409,
    "full": 507,
    "read-only": 503,
    "corrupt": 503,
    "locked": 503,
}
MAX_LISTED = 200
CONSENT = "the person on the pictures has agreed to be kept and found in this gallery"
WRITTEN = {"person": str, "name": str, "camera": str, "time": str, "consent": str}  # fields of a form beside its pictures
FORM = {
    "name": {"type": "string", "description": "of a new person; 1 to 120 characters"},
    "image": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": MAX_PICTURES},
    "consent": {"type": "string", "enum": ["true"], "description": CONSENT},
    "person": {"type": "string", "description": "id of one who is there, who gets more pictures"},
    "camera": {"type": "string"},
    "time": {"type": "string", "format": "date-time"},
}
ENROL_BODY = {
    "requestBody": {
        "required": True,
        "content": {"multipart/form-data": {"schema": {"type": "object", "properties": FORM, "required": ["image", "consent"]}}},
    }
}
RENAME_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}}},
    }
}
Model = Annotated[str, Query(description="the network; may be left out where there is one for matching")]


class FoundPerson(BaseModel):
    id: str
    name: str
    similarity: float = Field(description="cosine of the vectors, 1 is the same; by=mean that with the mean of the person's")
    match: bool | None = Field(description="whether the similarity reaches the threshold; null where there is none")
    picture: str = Field(description="id of the most similar picture")
    camera: str | None
    time: datetime | None


class Match(BaseModel):
    model: str
    threshold: float | None = Field(description="the similarity asked for, else the card's strictest calibrated one; null without either")
    match: bool | None = Field(description="whether anybody reaches it")
    people: list[FoundPerson] = Field(description="one entry a person, most similar first")


class OnePerson(BaseModel):
    id: str
    name: str
    pictures: int
    added: datetime


class KeptPicture(BaseModel):
    id: str
    camera: str | None
    time: datetime | None
    thumbnail: bool


class Album(OnePerson):
    kept: list[KeptPicture]


class Listing(BaseModel):
    model: str
    people: int = Field(description="in the gallery, whatever was asked")
    pictures: int
    found: list[OnePerson] = Field(description="of those asked for, in the order of their enrolment")


def router(matcher: Matcher, engine: Engine) -> APIRouter:
    routes = APIRouter(prefix="/api", tags=["people"])
    desk = Desk(matcher, engine)
    add_match(routes, desk)
    add_listing(routes, desk)
    add_enrolment(routes, desk)
    add_person(routes, desk)
    add_pictures(routes, desk)
    return routes


class Desk:
    """What the routes share: the network that is meant, its gallery, and the way through the engine."""

    def __init__(self, matcher: Matcher, engine: Engine):
        self.matcher, self.engine = matcher, engine
        self.library: Library = matcher.library
        self.galleries: Galleries = matcher.galleries

    async def named(self, model: str, route: str) -> str:
        """The network's name, when its gallery is open: the first to ask waits for that in a thread beside the engine."""
        known = self.galleries.names()
        if not model and len(known) != 1:
            raise HTTPException(400, f"Name the bundle: /api/{route}?model=NAME. There is {', '.join(known) or 'none'}.")
        name = self.library.get(model or known[0]).name
        if not self.galleries.ready(name):
            await asyncio.to_thread(self.galleries.of, name)
        return name

    async def run(self, request: Request, work: Callable[[Ticket], T]) -> T:
        try:
            return await self.engine.run(work, gone=gone(request))
        except PictureError as error:
            raise HTTPException(STATUS[error.reason], str(error)) from None

    async def ask(self, request: Request, name: str, act: Callable[[Gallery], T]) -> T:
        return await self.run(request, self.matcher.asking(name, act))


def add_match(routes: APIRouter, desk: Desk) -> None:
    @routes.post(
        "/match",
        openapi_extra=PICTURE_BODY,
        responses={200: {"model": Match}} | problems(400, 404, 409, 413, 415, 422, 503, 504),
    )
    async def match(
        request: Request,
        model: Model = "",
        top: Annotated[int, Query(ge=1, le=MAX_TOP)] = 10,
        by: Annotated[Literal["best", "mean"], Query(description="a person's most similar picture, or the mean of all")] = "best",
        camera: Annotated[list[str] | None, Query(description="only pictures of this camera; may be given again")] = None,
        without_camera: Annotated[str | None, Query(description="no pictures of this camera")] = None,
        since: Annotated[str | None, Query(description="only pictures from this time on, such as 2026-01-31T08:00:00Z")] = None,
        until: Annotated[str | None, Query(description="only pictures before this time")] = None,
        threshold: Annotated[float | None, Query(ge=-1, le=1, description="least similarity of a match; else the card's")] = None,
    ) -> JSONResponse:
        """The people of the gallery who look most like the one on the picture, sent as the multipart field `image` or as the raw body."""
        wanted = Wanted(top, by, tuple(camera) if camera else None, without_camera, read_time("since", since), read_time("until", until))
        name = await desk.named(model, "match")
        picture = await read_picture(request)
        matched = await desk.run(request, desk.matcher.matching(name, picture, wanted))
        return answer(Match(**facts_of(matched, desk.library, threshold)))


def add_listing(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/gallery", responses={200: {"model": Listing}} | problems(400, 404, 409, 503, 504))
    async def listing(
        request: Request,
        model: Model = "",
        offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
        limit: Annotated[int, Query(ge=0, le=MAX_LISTED)] = 100,
        like: Annotated[str, Query(max_length=120, description="only names that hold this")] = "",
    ) -> JSONResponse:
        """Who is in the gallery."""
        name = await desk.named(model, "gallery")

        def look(gallery: Gallery) -> Listing:
            found = [one_person(person) for person in gallery.list(offset, limit, like)]
            return Listing(model=name, people=gallery.people, pictures=gallery.pictures, found=found)

        return answer(await desk.ask(request, name, look))


def add_enrolment(routes: APIRouter, desk: Desk) -> None:
    @routes.post(
        "/gallery",
        status_code=201,
        openapi_extra=ENROL_BODY,
        responses={201: {"model": OnePerson}} | problems(400, 404, 409, 413, 415, 422, 503, 504, 507),
    )
    async def enrol(request: Request, model: Model = "") -> JSONResponse:
        """Keep one to five pictures of a person, as vectors and thumbnails. On disk when this answers; all of them or none."""
        name = await desk.named(model, "gallery")
        sighting = await read_sighting(request)
        person = await desk.run(request, desk.matcher.enrolling(name, sighting))
        return answer(one_person(person), 201)


def add_person(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/gallery/{person}", responses={200: {"model": Album}} | problems(400, 404, 409, 503, 504))
    async def person(request: Request, person: str, model: Model = "") -> JSONResponse:
        """One person and what is kept of him or her."""
        name = await desk.named(model, f"gallery/{person[:40]}")

        def look(gallery: Gallery) -> Album:
            return Album(**one_person(gallery.get(person)).model_dump(), kept=[one_picture(kept) for kept in gallery.kept(person)])

        return answer(await desk.ask(request, name, look))

    @routes.patch(
        "/gallery/{person}", openapi_extra=RENAME_BODY, responses={200: {"model": OnePerson}} | problems(400, 404, 409, 503, 504, 507)
    )
    async def rename(request: Request, person: str, model: Model = "") -> JSONResponse:
        """Another name."""
        name, new = await desk.named(model, f"gallery/{person[:40]}"), await read_name(request)
        return answer(one_person(await desk.ask(request, name, lambda gallery: gallery.rename(person, new))))

    @routes.delete("/gallery/{person}", status_code=204, responses={204: {}} | problems(400, 404, 409, 503, 504, 507))
    async def delete(request: Request, person: str, model: Model = "") -> Response:
        """The person is gone, with all vectors, thumbnails and pictures, from the files too."""
        name = await desk.named(model, f"gallery/{person[:40]}")
        await desk.ask(request, name, lambda gallery: gallery.delete(person))
        return Response(status_code=204)


def add_pictures(routes: APIRouter, desk: Desk) -> None:
    path = "/gallery/{person}/pictures/{picture}"

    @routes.get(
        path,
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}}}
        | problems(400, 404, 409, 503, 504),
    )
    async def thumbnail(request: Request, person: str, picture: str, model: Model = "") -> Response:
        """A small picture."""
        name = await desk.named(model, f"gallery/{person[:40]}")
        data = await desk.ask(request, name, lambda gallery: gallery.thumbnail(own(gallery, person, picture)))
        if data is None:
            raise HTTPException(404, "No thumbnail of this picture was kept.")
        return Response(data, media_type="image/jpeg", headers={"cache-control": "no-store"})

    @routes.delete(path, status_code=204, responses={204: {}} | problems(400, 404, 409, 503, 504, 507))
    async def delete(request: Request, person: str, picture: str, model: Model = "") -> Response:
        """One picture is gone; a person's last one stays: delete the person."""
        name = await desk.named(model, f"gallery/{person[:40]}")
        await desk.ask(request, name, lambda gallery: gallery.delete_picture(own(gallery, person, picture)))
        return Response(status_code=204)


def own(gallery: Gallery, person: str, picture: str) -> str:
    """The picture's id, if it is one of this person's."""
    if all(kept.id != picture for kept in gallery.kept(person)):
        raise GalleryError("The person has no such picture.", "unknown")
    return picture


async def read_sighting(request: Request) -> Sighting:
    """The form of an enrolment. The bytes of its pictures are bounded by Limits."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise HTTPException(415, "The body must be multipart/form-data: the fields name, consent and image, one to five times.")
    async with request.form(max_files=MAX_PICTURES, max_fields=16) as form:
        given = form.getlist("image")
        pictures = [await one.read() for one in given if isinstance(one, UploadFile)]
        told = {name: value for name in WRITTEN if isinstance(value := form.get(name), str)}
    if told.get("consent") != "true":
        raise HTTPException(400, f"The field consent=true must say that {CONSENT}.")
    if not pictures or len(pictures) < len(given):
        raise HTTPException(422, f"The multipart body must have one to {MAX_PICTURES} file fields named image. Received: {len(pictures)}")
    if not all(pictures):
        raise HTTPException(400, "A picture is empty.")
    if bool(told.get("name")) == bool(told.get("person")):
        raise HTTPException(400, "Give the name of a new person, or the id of a person who is there: one of the two.")
    time = read_time("time", told.get("time") or None)
    return Sighting(told.get("name", ""), pictures, told.get("person"), told.get("camera") or None, time)


async def read_name(request: Request) -> str:
    with suppress(ValueError, RecursionError):
        given = json.loads(await request.body())
        if isinstance(given, dict) and isinstance(given.get("name"), str):
            return given["name"]
    raise HTTPException(400, 'The body must be JSON: {"name": "..."}.')


def read_time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    with suppress(ValueError, OverflowError):
        found = datetime.fromisoformat(text)
        if found.tzinfo is not None:
            return found
    raise HTTPException(400, f"{name} must be a time with its zone, such as 2026-01-31T08:00:00Z. Received: {text[:40]}")


def facts_of(matched: Matched, library: Library, threshold: float | None) -> dict[str, Any]:
    """The answer of /api/match."""
    if threshold is None:
        point = verdict.default(library.get(matched.model).card)
        threshold = None if point is None else point.similarity
    people = [
        FoundPerson(
            id=hit.person.id,
            name=hit.person.name,
            similarity=hit.similarity,
            match=None if threshold is None else hit.similarity >= threshold,
            picture=hit.picture.id,
            camera=hit.picture.camera,
            time=hit.picture.time,
        )
        for hit in matched.hits
    ]
    anybody = None if threshold is None else any(person.match for person in people)
    return {"model": matched.model, "threshold": threshold, "match": anybody, "people": people}


def one_person(person: Person) -> OnePerson:
    return OnePerson(id=person.id, name=person.name, pictures=person.pictures, added=person.added)


def one_picture(kept: Kept) -> KeptPicture:
    return KeptPicture(id=kept.id, camera=kept.camera, time=kept.time, thumbnail=kept.has_thumbnail)


def answer(body: BaseModel, status: int = 200) -> JSONResponse:
    return JSONResponse(body.model_dump(mode="json"), status)


__all__ = ["GALLERY_STATUS", "router"]
