"""Rows in, numbers out: POST /api/regress takes one row or many as JSON, or a CSV file, and gives each its prediction interval."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from apps.api import named
from apps.describe import problems
from apps.engine import Engine, Ticket
from apps.library import Library
from apps.limits import gone
from apps.runtime import Predicted, Regressor, RowError
from apps.runtime.regression import shown
from apps.tables import MAX_ROWS, Outcome, predict_table, too_many, write_table
from apps.tensors import MAX_LISTS

STATUS = {"row": 422, "malformed": 400, "many": 413}
ROW = {
    "type": "object",
    "additionalProperties": {"anyOf": [{"type": "number"}, {"type": "string"}]},
    "description": "a value for each column: numbers in the columns' units, for a column of words one of its words",
    "example": {"age": 59, "body_mass_index": 32.1},
}
CSV_FILE = {"type": "string", "format": "binary", "description": "UTF-8 with a header; separated by comma, semicolon or tab"}
ROWS_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"anyOf": [ROW, {"type": "array", "items": ROW, "minItems": 1, "maxItems": MAX_ROWS}]}},
            "multipart/form-data": {"schema": {"type": "object", "properties": {"table": CSV_FILE}, "required": ["table"]}},
            "text/csv": {"schema": CSV_FILE},
        },
    }
}


class PredictedRow(BaseModel):
    values: dict[str, float] | None = Field(description="by the targets' names, in their units; null where there is a problem")
    intervals: dict[str, tuple[float, float]] | None = Field(description="low and high of the prediction interval")
    warnings: list[str] = Field(description="what of the row lies outside the training rows: there the network continues, unmeasured")
    line: int | None = Field(None, description="of the CSV file")
    problem: str | None = Field(None, description="why a row of a CSV file has no prediction")


class Regression(BaseModel):
    model: str
    level: float = Field(description="share of new values that an interval should hold, if they come as the training rows did")
    units: dict[str, str] = Field(description="of the targets; empty where none is known")
    rows: list[PredictedRow]
    unread: list[str] = Field([], description="columns of a CSV file that the network does not know")


def router(library: Library, engine: Engine) -> APIRouter:
    routes = APIRouter(prefix="/api", tags=["rows"])
    add_regress(routes, library, engine)
    return routes


def add_regress(routes: APIRouter, library: Library, engine: Engine) -> None:
    table = {"text/csv": {"schema": {"type": "string"}}}

    @routes.post(
        "/regress",
        openapi_extra=ROWS_BODY,
        responses={200: {"model": Regression, "content": table}} | problems(400, 404, 413, 422, 503, 504),
    )
    async def regress(request: Request, model: str = "") -> Response:
        """Numbers for one row (an object) or many (a list), or for a CSV file: the multipart field `table`, or a body of text/csv.

        A row of JSON that does not fit refuses the request; a row of a file gets its problem and the others their numbers. Columns of a
        file that the network does not know are left unread. With `Accept: text/csv` a file comes back with the predictions behind it.
        """
        name = named(library, model, "regression", "regress")
        regressor = library.regressor(name)
        data, is_table = await read_body(request)
        as_csv = is_table and "text/csv" in request.headers.get("accept", "")
        work = for_table(library, regressor, data, as_csv) if is_table else for_rows(library, regressor, data)
        try:
            answer = await engine.run(work, gone=gone(request))
        except RowError as error:
            raise HTTPException(STATUS[error.reason], str(error)) from None
        if not as_csv:
            return Response(answer, media_type="application/json")
        return Response(answer, media_type="text/csv", headers={"content-disposition": 'attachment; filename="predictions.csv"'})


async def read_body(request: Request) -> tuple[bytes, bool]:
    """The bytes, which Limits bounds, and whether they are a CSV file."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        data, is_table = await request.body(), kind == "text/csv"
    else:
        async with request.form(max_files=1, max_fields=8) as form:
            field = form.get("table")
            if not isinstance(field, UploadFile):
                raise HTTPException(422, f"The multipart body must have a file field named table. Received: {', '.join(form) or 'none'}")
            data, is_table = await field.read(), True
    if not data.strip():
        raise HTTPException(400, "The body is empty.")
    return data, is_table


def for_rows(library: Library, regressor: Regressor, body: bytes) -> Callable[[Ticket], bytes]:
    """The whole request as work for the engine: parsing is heavier than many a graph."""

    def work(ticket: Ticket) -> bytes:
        features = regressor.rows(read_json(body))
        ticket.check()
        predicted = library.predict(regressor, features, ticket)
        check_finite(predicted)
        warnings = regressor.warnings(features)
        rows = [predicted_row(regressor, predicted, number, warnings[number]) for number in range(len(features))]
        return written(regressor, rows)

    return work


def for_table(library: Library, regressor: Regressor, data: bytes, as_csv: bool) -> Callable[[Ticket], bytes]:
    def work(ticket: Ticket) -> bytes:
        outcome = predict_table(regressor, data, lambda features: library.predict(regressor, features, ticket), ticket.check)
        return write_table(regressor, outcome).encode() if as_csv else written(regressor, rows_of(regressor, outcome), outcome.unread)

    return work


def read_json(body: bytes) -> list[Any]:
    """What a JSON body holds, one row or several; RowError."""
    if body.count(b"[") + body.count(b"{") > MAX_LISTS:  # an empty object is 3 bytes of JSON and 64 of memory
        raise RowError(f"The JSON must have at most {MAX_LISTS:,} lists and objects", "many")
    try:
        found = json.loads(body.decode(), object_pairs_hook=once, parse_constant=refuse_constant)
    except RowError:
        raise
    except (ValueError, RecursionError) as error:
        raise RowError(f"The body must be JSON: a row, or a list of rows. Received: {ascii(str(error)[:100])[1:-1]}", "malformed") from None
    if isinstance(found, dict):
        return [found]
    if not isinstance(found, list) or not found:
        raise RowError(
            f"The body must be a row, an object of column names and values, or a list of rows. Received: {shown(found)}", "malformed"
        )
    if len(found) > MAX_ROWS:
        raise too_many(len(found))
    return found


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON; of a name that comes twice it would keep the last value in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise RowError(f"Each column must be given once. Received: {shown(name)} twice")
    return found


def refuse_constant(name: str) -> Any:
    raise RowError(f"The numbers of a row must be finite. Received: {name}")


def check_finite(predicted: Predicted) -> None:
    if not predicted.finite.all():
        number = int(np.argmin(predicted.finite)) + 1
        raise RowError(
            f"The values of a row must not lie so far outside the training rows that nothing finite follows. Received: row {number}"
        )


def predicted_row(regressor: Regressor, predicted: Predicted, number: int, warnings: list[str]) -> dict[str, Any]:
    names = [target.name for target in regressor.targets]
    values, intervals = predicted.values[number].tolist(), predicted.intervals[number].tolist()
    return {
        "values": dict(zip(names, values, strict=True)),
        "intervals": dict(zip(names, intervals, strict=True)),
        "warnings": warnings,
    }


def rows_of(regressor: Regressor, outcome: Outcome) -> list[dict[str, Any]]:
    """One entry for each row of the file, in its order."""
    numbers = dict(zip(outcome.places, range(len(outcome.places)), strict=True))
    rows = []
    for place, line in enumerate(outcome.table.lines):
        if place in numbers:
            row = predicted_row(regressor, outcome.predicted, numbers[place], outcome.warnings[numbers[place]])
            rows.append({**row, "line": line, "problem": None})
        else:
            rows.append({"values": None, "intervals": None, "warnings": [], "line": line, "problem": outcome.problems[place]})
    return rows


def written(regressor: Regressor, rows: list[dict[str, Any]], unread: list[str] | None = None) -> bytes:
    units = {target.name: target.unit for target in regressor.targets}
    answer = {"model": regressor.bundle.name, "level": regressor.level, "units": units, "rows": rows}
    return orjson.dumps(answer | ({"unread": unread} if unread else {}))


__all__ = ["router"]
