"""From a request to the arguments of an operation, and from its result to a response, by the operation's own signature."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from sojourn.core.query import Page
from sojourn.kinds.conversations.model import Message, Messages
from sojourn.kinds.logins.tokens import Token
from sojourn.service.operations import Operation
from sojourn.service.problems import ProblemError
from sojourn.shell.lease import Lease
from sojourn.store import AsyncStore

KEY: Final = "idempotency-key"
MATCH: Final = "if-match"
_HEADERS: Final = {"key": KEY, "expected_version": MATCH}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of an operation over HTTP."""

    name: str
    type: Any
    required: bool
    default: Any
    place: str
    """``path``, ``query``, ``body`` or ``header``."""


class Call:
    """An operation as requests call it."""

    def __init__(self, operation: Operation, owner: type) -> None:
        self.operation: Operation = operation
        self.summary: str
        self.description: str
        function = getattr(owner, operation.name)
        self.summary, _, self.description = inspect.cleandoc(function.__doc__ or "").partition("\n")
        hints = typing.get_type_hints(function)
        self.returns: Any = hints.pop("return", None)
        self.parameters: tuple[Parameter, ...] = tuple(_parameters(operation, function, hints))
        self._shapes = {place: self._shape(place) for place in ("path", "query", "body")}
        self._many = {item.name for item in self.parameters if item.place == "query" and _is_list(item.type)}

    @property
    def body(self) -> type[msgspec.Struct] | None:
        """The shape of its JSON body; None when it takes none."""
        return self._shapes["body"]

    def _shape(self, place: str) -> type[msgspec.Struct] | None:
        items = [item for item in self.parameters if item.place == place]
        if not items:
            return None
        fields = [
            (item.name, item.type) if item.required else (item.name, item.type, msgspec.field(default=item.default))
            for item in sorted(items, key=lambda item: not item.required)
        ]
        words = re.split(r"[._]", f"{self.operation.id}.{place}")
        name = "".join(word.capitalize() for word in words)
        return msgspec.defstruct(name, fields, kw_only=True, forbid_unknown_fields=True)

    async def arguments(self, request: Request, body: bytes) -> dict[str, Any]:
        """The arguments of a request; a `ProblemError` for what does not fit."""
        names = {name: unquote(text) for name, text in request.path_params.items()}
        found = self._read("path", names, strict=False)
        if self.operation.by_id:
            found["channel_id"] = None
        query: dict[str, Any] = {}
        for name in request.query_params:
            values = request.query_params.getlist(name)
            query[name] = values if name in self._many else values[-1]
        found |= self._read("query", query, strict=False)
        found |= self._read("body", read_object(body), strict=True)
        if any(item.name == "key" for item in self.parameters) and KEY in request.headers:
            found["key"] = request.headers[KEY]
        if any(item.name == "expected_version" for item in self.parameters) and request.headers.get(MATCH, "*") != "*":
            found["expected_version"] = _version(request.headers[MATCH])
        return found

    def _read(self, place: str, given: Mapping[str, Any], *, strict: bool) -> dict[str, Any]:
        shape = self._shapes[place]
        if shape is None:
            if given:
                raise _unfit(f"{self.operation.id} takes no {place}: {', '.join(sorted(given))}.")
            return {}
        try:
            made = msgspec.convert(given, shape, strict=strict)
        except msgspec.ValidationError as error:
            raise _unfit(f"{place}: {error}.") from error
        return {name: getattr(made, name) for name in given}

    def given(self, message: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of one message that has all of them, but for what is ``named`` already."""
        found = dict(named)
        rest = dict(message)
        for place in ("path", "query", "body"):
            shape = self._shapes[place]
            names = () if shape is None else shape.__struct_fields__
            asked = {name: rest.pop(name) for name in names if name in rest}
            found |= self._read(place, {**asked, **{name: named[name] for name in names if name in named}}, strict=True)
        for item in self.parameters:
            if item.place == "header" and item.name in rest:
                found[item.name] = _convert(rest.pop(item.name), item.type)
        if rest:
            raise _unfit(f"{self.operation.name} takes no {', '.join(sorted(rest))}.")
        return found

    async def run(self, store: AsyncStore, arguments: dict[str, Any]) -> Any:
        """Carry it out."""
        owner = store if self.operation.kind == "store" else getattr(store, self.operation.kind)
        result = getattr(owner, self.operation.name)(**arguments)
        if hasattr(result, "__aenter__"):  # a lease: taken, and left to its time or to be given back
            return await result.__aenter__()
        return await result


def _convert(value: Any, type: Any) -> Any:
    try:
        return msgspec.convert(value, type)
    except msgspec.ValidationError as error:
        raise _unfit(f"{error}.") from error


def _parameters(operation: Operation, function: Callable[..., Any], hints: dict[str, Any]) -> Iterable[Parameter]:
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self" or _is_callable(hints[name]) or _is_given_by_path(operation, name):
            continue
        required = parameter.default is inspect.Parameter.empty
        if "{" + name + "}" in operation.path:
            place = "path"
        elif name in _HEADERS:
            place = "header"
        else:
            place = "query" if operation.method in ("GET", "DELETE") else "body"
        yield Parameter(name, _plain(hints[name]), required or place == "path", parameter.default, place)


def _is_given_by_path(operation: Operation, name: str) -> bool:
    """A game is named by its channel or by its id, whichever the path has; a project's pointers are files, and not here."""
    if operation.kind == "workspaces":
        return name in ("pointer", "replace")
    other = "{channel_id}" in operation.path and operation.name not in ("boot", "swap")
    return operation.kind == "games" and ((name == "game_id" and other) or (name == "channel_id" and operation.by_id))


def _is_callable(hint: Any) -> bool:
    return any(typing.get_origin(part) is Callable or part is Callable for part in (hint, *typing.get_args(hint)))


def _is_list(hint: Any) -> bool:
    return any(typing.get_origin(part) is list for part in (hint, *typing.get_args(hint)))


def _plain(hint: Any) -> Any:
    """A type that JSON has: any iterable is a list, any mapping an object."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(_plain(part) for part in parts if part is not Token)]  # noqa: UP007  # made at run time
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return dict[str, Any]
    if isinstance(origin, type) and issubclass(origin, Iterable) and origin is not tuple:
        return list[_plain(parts[0])]  # type: ignore[misc]
    return hint


def result_type(hint: Any) -> Any:
    """What an answer has, as a type that a JSON schema can be made of."""
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Messages:
        return list[Message]
    if origin in (typing.Union, types.UnionType):
        return str if bytes in parts else typing.Union[tuple(result_type(part) for part in parts)]  # noqa: UP007
    if isinstance(hint, type) and hasattr(hint, "__aenter__"):
        return Lease
    return hint


def _version(text: str) -> int:
    """The version that an entity tag means."""
    bare = text.strip().removeprefix("W/").strip('"')
    if not bare.isascii() or not bare.isdigit() or len(bare) > 18:
        raise _unfit(f"If-Match must be an ETag of this service, got {text[:80]!r}.")
    return int(bare)


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object; empty for no body."""
    if not body:
        return {}
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ProblemError(400, "service.malformed", f"The body is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise _unfit(f"the body must be a JSON object, not {type(found).__name__}.")
    return found


def _unfit(detail: str) -> ProblemError:
    return ProblemError(422, "value.invalid", detail)


# -- answers -----------------------------------------------------------------------------------------------------------


def _encode_other(value: Any) -> Any:
    if isinstance(value, Messages):
        return list(value)
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


ENCODER: Final = msgspec.json.Encoder(enc_hook=_encode_other, order="deterministic")


def respond(call: Call, value: Any) -> Response:
    """The response for what an operation gave."""
    if value is None and call.operation.method == "GET":
        raise ProblemError(404, "session.not_found", f"{call.operation.name}: there is nothing.")
    if isinstance(value, bytes):
        return Response(value, media_type="application/zip")
    if isinstance(value, str) and call.operation.name == "export":
        return Response(value, media_type="text/plain; charset=utf-8")
    headers = {}
    version = getattr(value, "version", None)
    if isinstance(version, int):
        headers["etag"] = f'"{version}"'
    body = ENCODER.encode(wrapped(value))
    return Response(body, 201 if call.operation.creates else 200, headers=headers, media_type="application/json")


def wrapped(value: Any) -> Any:
    """An answer is always an object: a list becomes ``items``, a bare value ``result``."""
    if isinstance(value, Page):
        return {"items": value.items, "next": value.next}
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return {"items": list(value), "next": None}
    if value is None or isinstance(value, (str, int, float, bool)):
        return {"result": value}
    return value
