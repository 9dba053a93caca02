"""One settings object: flags over the environment (KERASDL_APPS_PORT=8000) over a TOML file, every value checked before anything starts."""

from __future__ import annotations

import argparse
import difflib
import ipaddress
import json
import os
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

PREFIX = "KERASDL_APPS_"
FILE = Path("apps.toml")
LOOPBACK = ["127.0.0.1", "::1", "localhost"]
HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9._-]+|[0-9A-Fa-f:]+")
ANCESTOR = re.compile(r"'self'|'none'|https?://[A-Za-z0-9.*-]+(:\d+)?")
TOKEN = re.compile(r"[!-~]+")


class BadSettings(ValueError):
    """The message is a sentence for whoever wrote the setting."""


def whole(value: Any) -> Any:
    """8e6 is a whole number, too."""
    try:
        number = float(value) if isinstance(value, (str, float)) and not isinstance(value, bool) else value
        return int(number) if isinstance(number, float) and number.is_integer() else value
    except ValueError:
        return value


def split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Count = Annotated[int, BeforeValidator(whole)]
Names = Annotated[list[str], NoDecode, BeforeValidator(split)]


class Settings(BaseSettings):
    """What one server may do. `Settings(...)` takes flags and the environment; `read_settings` adds the file."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    bundles: Path = Field(default=Path("saved_models"), description="folder of bundles", title="FOLDER")
    host: str = Field(default="127.0.0.1", description="address to listen on; 0.0.0.0 opens the server to the network")
    port: Count = Field(default=7860, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    open: bool = Field(default=False, description="open the page in a browser when it is ready")

    variant: Literal["float32", "int8", "fp16"] = Field(
        default="float32", description="files that serve where a bundle has them; the others serve with float32"
    )
    public_key: Path | None = Field(
        default=None, description="serve only bundles with a signature of this key, a PEM file; see docs/trust.md", title="FILE"
    )

    threads: Count = Field(default=1, ge=1, le=1024, description="threads a network may use for one request")
    workers: Count = Field(default=2, ge=1, le=1024, description="requests that run at once")
    queue: Count = Field(default=32, ge=0, le=100_000, description="requests that may wait; more are answered 503")
    deadline: float = Field(default=30.0, gt=0, le=86_400, description="seconds a request may take, waiting included; then 504")
    body_seconds: float = Field(default=20.0, gt=0, le=86_400, description="seconds a head or a body may take to arrive; then 408")
    drain_seconds: float = Field(default=2.0, ge=0, le=3600, description="seconds between `not ready` and closing the door, at SIGTERM")
    grace_seconds: float = Field(default=30.0, ge=0, le=86_400, description="seconds that requests in flight get after that")

    max_body: Count = Field(default=8_000_000, ge=1_000, le=2_000_000_000, description="bytes of one body; more is answered 413")
    max_pixels: Count = Field(default=16_000_000, ge=1, le=1_000_000_000, description="pixels of one picture")
    max_batch: Count = Field(default=64, ge=1, le=100_000, description="first dimension of a tensor; rows of a table go so many at a time")
    max_elements: Count = Field(default=8_000_000, ge=1, le=1_000_000_000, description="numbers in one tensor")

    gallery: str | None = Field(
        default=None,
        min_length=1,
        description="people to search among: an SQLite file, milvus:FOLDER or milvus:http://HOST:PORT "
        "(default: drawn people, and who joins them until the server ends)",
        title="PATH",
    )
    gallery_people: Count = Field(default=10_000, ge=1, le=10_000_000, description="people in a gallery")
    gallery_pictures: Count = Field(default=100_000, ge=1, le=100_000_000, description="pictures in a gallery, of all people")
    keep_pictures: bool = Field(
        default=False, description="keep enrolled pictures, which another network needs to read them anew; else vectors and thumbnails only"
    )
    enrol: bool = Field(
        default=True, description="clients may enrol, rename and delete people; on loopback or with a token (pages: a login) only"
    )

    token: SecretStr | None = Field(default=None, description="bearer token that /v2, /api and /metrics ask for; rather in the environment")
    login: SecretStr | None = Field(default=None, description="who may see the pages; needs a token, too", title="USER:PASSWORD")
    control: bool = Field(default=True, description="POST /v2/repository/... may load and unload; on loopback or with a token only")
    allowed_hosts: Names = Field(
        default=[], description="Host headers accepted, * for any (default: loopback names on loopback, else *)", title="A,B"
    )
    frame_ancestors: Names = Field(default=[], description="sites that may embed the pages (default: none but this)", title="A,B")
    log_format: Literal["auto", "json", "text"] = Field(default="auto", description="auto is text on a terminal, else json")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="least level that is logged")

    @field_validator("host")
    @classmethod
    def check_host(cls, host: str) -> str:
        if not host or re.search(r"[\s/]", host):
            raise ValueError("host must be an address or a name")
        return host.strip("[]")

    @field_validator("public_key")
    @classmethod
    def check_public_key(cls, file: Path | None) -> Path | None:
        if file is not None:
            from apps.runtime.signature import KeyProblem, read_public_key

            try:
                read_public_key(file)
            except KeyProblem as problem:
                raise ValueError(str(problem).partition(". Received:")[0].removesuffix(".")) from None
        return file

    @field_validator("allowed_hosts", "frame_ancestors")
    @classmethod
    def check_names(cls, names: list[str], info: Any) -> list[str]:
        pattern, example = (HOST, "example.org, *.example.org or *")
        if info.field_name == "frame_ancestors":
            pattern, example = (ANCESTOR, "https://example.org")
        names = [name.strip("[]") for name in names]
        if not all(pattern.fullmatch(name) for name in names):
            raise ValueError(f"{info.field_name} must be like {example}, with commas between")
        return names

    @field_validator("token")
    @classmethod
    def check_token(cls, token: SecretStr | None) -> SecretStr | None:
        if token is not None and not TOKEN.fullmatch(token.get_secret_value()):
            raise ValueError("token must be printable ASCII characters without spaces, at least one")
        return token

    @field_validator("login")
    @classmethod
    def check_login(cls, login: SecretStr | None) -> SecretStr | None:
        user, _, password = login.get_secret_value().partition(":") if login else ("user", "", "password")
        if not user or not password:
            raise ValueError("login must be USER:PASSWORD")
        return login

    @model_validator(mode="after")
    def check_together(self) -> Settings:
        if self.login and not self.token:
            raise ValueError("login guards the pages only: set token, too, or the API stays open")
        if not self.allowed_hosts:
            object.__setattr__(self, "allowed_hosts", sorted({*LOOPBACK, self.host}) if self.loopback else ["*"])
        return self

    @property
    def loopback(self) -> bool:
        """Only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def controllable(self) -> bool:
        """Whether clients may load and unload: never for strangers."""
        return self.control and (self.loopback or self.token is not None)

    @property
    def enrollable(self) -> bool:
        """Whether programs may change a gallery: never strangers."""
        return self.enrol and (self.loopback or self.token is not None)

    @property
    def enrollable_on_pages(self) -> bool:
        """The same of visitors, who have a login and no token."""
        return self.enrol and (self.loopback or self.login is not None)

    @property
    def user(self) -> tuple[str, str] | None:
        if self.login is None:
            return None
        name, _, password = self.login.get_secret_value().partition(":")
        return name, password


def read_settings(arguments: Sequence[str] | None = None) -> Settings:
    """The effective settings; BadSettings says what is wrong. --print-config prints them and ends the program."""
    given = vars(build_parser().parse_args(arguments))
    file, print_config = given.pop("config", None), given.pop("print_config")
    refuse_unknown_environment()
    try:
        settings = with_file(Path(file) if file else FILE, required=bool(file))(**given)
    except ValidationError as error:
        raise BadSettings(" ".join(sentence(problem) for problem in error.errors())) from None
    if print_config:
        print(as_toml(settings), end="")
        sys.exit(0)
    return settings


def with_file(file: Path, required: bool) -> type[Settings]:
    """Settings whose last source is this TOML file."""
    check_file(file, required)

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)

    return Sourced


def check_file(file: Path, required: bool) -> None:
    try:
        tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if required:
            raise BadSettings(f"The file of settings must exist. Received: {file}") from None
    except (OSError, ValueError) as error:
        raise BadSettings(f"The file of settings must be readable TOML. Received: {file}, {error}") from None


def refuse_unknown_environment() -> None:
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable.removeprefix(PREFIX).lower() not in Settings.model_fields:
            raise BadSettings(unknown(variable, [PREFIX + name.upper() for name in Settings.model_fields]))


def unknown(name: str, names: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, names, n=1)
    return f"There is no setting {name}.{f' Did you mean {near[0]}?' if near else ''}"


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m apps",
        description="Serve exported bundles: web pages for people, POST /api/classify?model=NAME, /api/caption?model=NAME, "
        "/api/match?model=NAME, /api/regress?model=NAME and /v2 for programs, /docs for both.",
        epilog="Every flag is also a variable, --max-body KERASDL_APPS_MAX_BODY, and a line of the TOML file, max_body; flags win, then "
        "variables. Example: python -m apps --port 8000, then curl -F image=@seven.png "
        "'http://127.0.0.1:8000/api/classify?model=digits-lenet5'",
    )
    parser.add_argument("--config", default=argparse.SUPPRESS, metavar="FILE", help=f"TOML file of settings (default: ./{FILE} if there)")
    parser.add_argument("--print-config", action="store_true", help="print the effective settings as TOML and end")
    for name, field in Settings.model_fields.items():
        add_flag(parser, name, field)
    return parser


def add_flag(parser: argparse.ArgumentParser, name: str, field: FieldInfo) -> None:
    shown = {True: "yes", False: "no"}.get(field.default, field.default) if isinstance(field.default, bool) else field.default
    words = f"{field.description}{'' if shown in (None, []) else f' (default: {shown})'}"
    common: dict[str, Any] = {"default": argparse.SUPPRESS, "help": words.replace("%", "%%")}
    flag = "--" + name.replace("_", "-")
    if field.annotation is bool:
        parser.add_argument(flag, action=argparse.BooleanOptionalAction, **common)
    else:
        parser.add_argument(flag, metavar=field.title or metavar(field), **common)


def metavar(field: FieldInfo) -> str:
    choices = get_args(field.annotation) if not isinstance(field.annotation, type) else ()
    named = [choice for choice in choices if isinstance(choice, str)]
    return "{" + ",".join(named) + "}" if named else {int: "N", float: "SECONDS", str: "ADDRESS"}.get(field.annotation, "SECRET")  # type: ignore[arg-type]


def sentence(problem: Any) -> str:
    """One of pydantic's findings: the rule, then the value; a secret stays secret."""
    if not problem["loc"]:
        return own_words(problem)
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return unknown(name, list(Settings.model_fields))
    rule = (
        own_words(problem).removesuffix(".")
        if problem["type"] == "value_error"
        else f"{name} must be {rule_of(Settings.model_fields[name])}"
    )
    value = "***" if name in ("token", "login") else problem["input"]
    return f"{rule}. Received: {value}."


def own_words(problem: Any) -> str:
    return problem["msg"].removeprefix("Value error, ") + "."


def rule_of(field: FieldInfo) -> str:
    """What a value of this field is, in words: a whole number from 0 to 65535."""
    kind = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}.get(field.annotation)  # type: ignore[arg-type]
    choices = [choice for choice in get_args(field.annotation) if isinstance(choice, str)]
    if choices:
        return f"one of {', '.join(choices)}"
    bounds = {key: getattr(mark, key) for mark in field.metadata for key in ("ge", "gt", "le") if hasattr(mark, key)}
    words = [f"{word} {bounds[key]}" for key, word in (("ge", "from"), ("gt", "above"), ("le", "to")) if key in bounds]
    return " ".join([kind or "text or a list of texts", *words])


def as_toml(settings: Settings) -> str:
    return "".join(toml_line(name, getattr(settings, name)) for name in Settings.model_fields)


def toml_line(name: str, value: Any) -> str:
    if value is None:
        return f"# {name} is not set\n"
    if isinstance(value, (SecretStr, Path)):
        value = "***" if isinstance(value, SecretStr) else str(value)
    return f"{name} = {json.dumps(value, ensure_ascii=False)}\n"


__all__ = ["BadSettings", "Settings", "as_toml", "read_settings"]
