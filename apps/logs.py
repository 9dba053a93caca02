"""Logs: one JSON object a line, each with the number of the request that it is about; plain text on a terminal."""

from __future__ import annotations

import contextvars
import logging
import sys
from datetime import UTC, datetime

from pythonjsonlogger.json import JsonFormatter

log = logging.getLogger("apps")

REQUEST_ID: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
QUIET = ("httpx", "httpcore", "asyncio", "multipart", "python_multipart", "PIL", "matplotlib")  # they log at info what nobody asked


class Lines(JsonFormatter):
    """time, level, logger, message, request_id, and what the call gave as extra."""

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s %(message)s", rename_fields={"levelname": "level", "name": "logger"})

    def add_fields(self, log_data, record, message_dict) -> None:  # noqa: ANN001
        log_data["time"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        super().add_fields(log_data, record, message_dict)


class Words(logging.Formatter):
    """The same for people; what a client sent cannot begin a line of its own."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s%(tail)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        number = getattr(record, "request_id", "")
        record.tail = f"  [{number}]" if number else ""
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in record.message)
        return super().formatMessage(record)


def add_request_id(record: logging.LogRecord) -> bool:
    number = REQUEST_ID.get()
    if number and not hasattr(record, "request_id"):
        record.request_id = number
    return True


def set_up(form: str, level: str) -> None:
    """Everything that logs in this process, uvicorn included, writes one kind of line to stderr."""
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Words() if text else Lines())
    handler.addFilter(add_request_id)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING if level == "info" else level.upper())


__all__ = ["REQUEST_ID", "log", "set_up"]
