"""A picture in, an answer out: POST /api/classify gives labels, POST /api/caption a sentence."""

from __future__ import annotations

import math
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from apps.describe import problems
from apps.engine import Engine
from apps.library import Library, PictureError, Said
from apps.limits import gone
from apps.runtime import Choice
from apps.runtime.captioning import MAX_BEAM, MAX_SEED, MAX_TEMPERATURE

STATUS = {"format": 415, "size": 413, "damaged": 422, "missing": 400}
PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"image": {"type": "string", "format": "binary"}}, "required": ["image"]}
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}
DIGITS = 6  # of an attention: what a page or a plot can show


class Prediction(BaseModel):
    label: str
    probability: float


class Classification(BaseModel):
    model: str
    label: str
    predictions: list[Prediction]


class Alternative(BaseModel):
    caption: str
    score: float


class Attention(BaseModel):
    grid: list[int] = Field(description="[h, w], the places of the picture from its upper left corner, row by row")
    words: list[str]
    maps: list[list[float]] = Field(description="for each word how much it looked at each place, the mean over the heads; sums to 1")


class Captioning(BaseModel):
    model: str
    caption: str
    score: float = Field(description="mean log-probability of a word, the end counted; 0 is certain")
    margin: float | None = Field(
        description="how far in log-probability the nearest other choice of the search lay, least over its steps; none if it had none"
    )
    ended: bool = Field(description="false where the sentence ended because its room did")
    alternatives: list[Alternative] = Field(description="of a beam all captions it finished, best first")
    attention: Attention | None = None


def router(library: Library, engine: Engine) -> APIRouter:
    routes = APIRouter(prefix="/api", tags=["pictures"])
    add_classify(routes, library, engine)
    add_caption(routes, library, engine)
    return routes


def described(answer: type[BaseModel]) -> dict[str, Any]:
    """What the interface says of a route that takes a picture."""
    return {
        "openapi_extra": PICTURE_BODY,
        "responses": {200: {"model": answer}} | problems(400, 404, 413, 415, 422, 503, 504),
    }


def add_classify(routes: APIRouter, library: Library, engine: Engine) -> None:
    @routes.post("/classify", **described(Classification))
    async def classify(request: Request, model: str = "", top: Annotated[int, Query(ge=1, le=1000)] = 5) -> JSONResponse:
        """The most probable labels of one picture, sent as the multipart field `image` or as the raw body."""
        name = named(library, model, "classification", "classify")
        picture = await read_picture(request)
        try:
            answer = await engine.run(library.classification(name, picture, top), gone=gone(request))
        except PictureError as error:
            raise HTTPException(STATUS[error.reason], str(error)) from None
        return JSONResponse({"model": name, "label": answer.predictions[0]["label"], "predictions": answer.predictions})


def add_caption(routes: APIRouter, library: Library, engine: Engine) -> None:
    @routes.post("/caption", **described(Captioning))
    async def caption(
        request: Request,
        model: str = "",
        beam: Annotated[int | None, Query(ge=1, le=MAX_BEAM, description="captions held open, 1 is greedy; else the card's")] = None,
        temperature: Annotated[
            float | None, Query(gt=0, le=MAX_TEMPERATURE, description="draw the words instead: low is careful, high is bold")
        ] = None,
        seed: Annotated[int | None, Query(ge=0, le=MAX_SEED, description="of the drawing, 0 when it is not given")] = None,
        attention: Annotated[bool, Query(description="also where it looked, word by word")] = False,
    ) -> JSONResponse:
        """A sentence on one picture, sent as the multipart field `image` or as the raw body."""
        name = named(library, model, "captioning", "caption")
        choice = chosen(library, name, beam, temperature, seed)
        picture = await read_picture(request)
        try:
            said = await engine.run(library.captioning(name, picture, choice), gone=gone(request))
        except PictureError as error:
            raise HTTPException(STATUS[error.reason], str(error)) from None
        return JSONResponse(facts_of(said) | ({"attention": looks_of(said)} if attention else {}))


def named(library: Library, model: str, task: str, route: str) -> str:
    if not model:
        raise HTTPException(400, f"Name the bundle: /api/{route}?model=NAME. There is {', '.join(library.names(task)) or 'none'}.")
    return library.get(model).name


def chosen(library: Library, name: str, beam: int | None, temperature: float | None, seed: int | None) -> Choice:
    """A search or a drawing: asking for both, or for a seed where nothing is drawn, is a mistake that should be heard of."""
    if temperature is None and seed is not None:
        raise HTTPException(400, f"A seed is for drawing words: give a temperature with it. Received: seed={seed} alone.")
    if temperature is not None and beam is not None:
        raise HTTPException(400, f"Give a beam or a temperature, not both. Received: beam={beam} and temperature={temperature:g}.")
    bundle = library.get(name)
    own = bundle.card["caption"]["beam"] if bundle.task == "captioning" else 1  # another task's is refused when it is asked to speak
    return Choice(own if beam is None else beam, temperature, seed or 0)


def facts_of(said: Said) -> dict[str, Any]:
    caption = said.caption
    return {
        "model": said.model,
        "caption": caption.text,
        "score": caption.score,
        "margin": caption.margin if math.isfinite(caption.margin) else None,
        "ended": caption.ended,
        "alternatives": [{"caption": text, "score": score} for text, score in caption.alternatives],
    }


def looks_of(said: Said) -> dict[str, Any]:
    words, (height, width) = said.caption.words, said.caption.attention.shape[-2:]
    maps = said.caption.attention.mean(1).reshape(len(words), height * width)
    return {"grid": [height, width], "words": words, "maps": maps.astype(float).round(DIGITS).tolist()}


async def read_picture(request: Request) -> bytes:
    """The bytes of the one picture; their number is bounded by Limits."""
    if request.headers.get("content-type", "").startswith("multipart/form-data"):
        async with request.form(max_files=1, max_fields=8) as form:
            field = form.get("image")
            if not isinstance(field, UploadFile):
                raise HTTPException(422, f"The multipart body must have a file field named image. Received: {', '.join(form) or 'none'}")
            data = await field.read()
    else:
        data = await request.body()
    if not data:
        raise HTTPException(400, "The picture is empty.")
    return data


__all__ = ["router"]
