"""The OpenAPI 3.1 document, made from the operations' signatures and the models they give."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any, Final

import msgspec

import sojourn
from sojourn.core.query import Page
from sojourn.kinds.conversations.model import Message, Messages
from sojourn.kinds.logins.tokens import Token
from sojourn.service.calls import Call, Parameter, result_type
from sojourn.service.problems import MEDIA_TYPE, Problem
from sojourn.shell.feed import Event

_DURATION: Final = r"^-?P([0-9]{1,9}D)?(T([0-9]{1,9}H)?([0-9]{1,9}M)?([0-9]{1,9}(\.[0-9]{1,9})?S)?)?$"
_NOTHING: Final = {"type": "object", "required": ["result"], "properties": {"result": {"type": "null"}}}
_REF: Final = "#/components/schemas/{name}"
_HEADER_NAMES: Final = {"key": "Idempotency-Key", "expected_version": "If-Match"}
_HEADER_TEXT: Final = {
    "key": "An operation id: the same again gives the first answer and does nothing.",
    "expected_version": "The ETag that must still be the current one; 412 otherwise.",
}


def document(calls: Iterable[Call], base: str = "") -> dict[str, Any]:
    """The whole document. ``base`` is the sub-path the service is mounted under."""
    chosen = list(calls)
    shapes: list[Any] = [Problem, Event, Message]
    for call in chosen:
        shapes.extend(shape for shape in (_answer_type(call), call.body) if shape is not None)
        shapes.extend(item.type for item in call.parameters)
    _, made = msgspec.json.schema_components(shapes, schema_hook=_unknown, ref_template=_REF)
    components = _readable(made)
    paths: dict[str, Any] = {}
    for call in chosen:
        paths.setdefault(f"/v1{call.operation.path}", {})[call.operation.method.lower()] = _operation(call)
    paths["/v1/events"] = {"get": _events()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sojourn", "version": sojourn.__version__, "description": "Durable sessions over HTTP."},
        "servers": [{"url": base or "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
    }


def _schema(type: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([type], schema_hook=_unknown, ref_template=_REF)
    readable: dict[str, Any] = _readable(schema)
    return readable


def _readable(schema: Any) -> Any:
    """A schema in words that validators share.

    The format ``duration`` of RFC 3339 has no fractions of a second, which ours have; tools differ in what they make of
    ``prefixItems``, so that a pair is an array of two, each of which is one or the other.
    """
    if isinstance(schema, list):
        return [_readable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _readable(part) for name, part in schema.items()}
    if found.get("format") == "duration":
        del found["format"]
        found.update(pattern=_DURATION, description="A duration of ISO 8601, such as PT1M30.5S.")
    if "prefixItems" in found:
        found["items"] = {"anyOf": found.pop("prefixItems")}
    return found


def _unknown(type: Any) -> dict[str, Any]:
    if type is Messages:
        return {"type": "array", "items": {"$ref": _REF.format(name="Message")}}
    if type is Token:
        return {"type": "string", "description": "Shown this once."}
    raise NotImplementedError(type)


def _answer_type(call: Call) -> Any:
    hint = call.returns
    if typing.get_origin(hint) is Page:
        return list[typing.get_args(hint)[0]]  # type: ignore[misc]
    return result_type(hint)


def _operation(call: Call) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": call.operation.id,
        "tags": [call.operation.kind],
        "summary": call.summary,
        "parameters": [_parameter(item) for item in call.parameters if item.place != "body"],
        "responses": {
            "201" if call.operation.creates else "200": {"description": "Done.", "content": _content(call)},
            "default": {
                "description": "What was wrong, and what to do next.",
                "content": {MEDIA_TYPE: {"schema": _schema(Problem)}},
            },
        },
    }
    if call.description.strip():
        found["description"] = call.description.strip()
    if call.body is not None:
        needed = any(item.required for item in call.parameters if item.place == "body")
        found["requestBody"] = {"required": needed, "content": {"application/json": {"schema": _schema(call.body)}}}
    return found


def _content(call: Call) -> dict[str, Any]:
    hint = call.returns
    if call.operation.name == "export":
        kinds = {"text/plain": {"schema": {"type": "string"}}}
        return {**kinds, "application/zip": {"schema": {"type": "string"}}} if hint is not str else kinds
    answer = _answer_type(call)
    some = _without_nothing(answer)
    schema = _schema(some)
    if typing.get_origin(hint) is Page or "items" in schema or schema.get("type") == "array":
        schema = {
            "type": "object",
            "required": ["items", "next"],
            "properties": {"items": schema, "next": {"type": ["string", "null"], "description": "Pass it as after."}},
        }
    elif not _is_object(schema):
        schema = {"type": "object", "required": ["result"], "properties": {"result": schema}}
    if some is not answer and call.operation.method != "GET":  # where nothing is a 404
        schema = {"anyOf": [schema, _NOTHING]}
    return {"application/json": {"schema": schema}}


def _without_nothing(hint: Any) -> Any:
    """``X`` of ``X | None``; anything else as it is."""
    parts = typing.get_args(hint)
    if typing.get_origin(hint) not in (typing.Union, types.UnionType) or type(None) not in parts:
        return hint
    return typing.Union[tuple(part for part in parts if part is not type(None))]  # noqa: UP007


def _is_object(schema: dict[str, Any]) -> bool:
    """Whether an answer of this shape is an object already; other ones are put under ``result``."""
    if "anyOf" in schema:
        return all(_is_object(part) for part in schema["anyOf"])
    return "$ref" in schema or schema.get("type") == "object"


def _parameter(item: Parameter) -> dict[str, Any]:
    schema = _schema(item.type)
    if item.place == "header":
        schema = {"type": "string"}
        return {"name": _HEADER_NAMES[item.name], "in": "header", "schema": schema, "description": _HEADER_TEXT[item.name]}
    return {"name": item.name, "in": item.place, "required": item.required, "schema": schema}


def _events() -> dict[str, Any]:
    names = ("kind", "id", "after")
    return {
        "operationId": "store.watch",
        "tags": ["events"],
        "summary": "Committed changes as they happen, as server-sent events.",
        "description": "Each has the cursor as its id: a client that comes again with Last-Event-ID misses nothing. "
        "An event 'gap' says that older ones are gone.",
        "parameters": [
            *({"name": name, "in": "query", "schema": {"type": "string"}} for name in names),
            {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}},
        ],
        "responses": {
            "200": {"description": "A stream.", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
            "default": {"description": "What was wrong.", "content": {MEDIA_TYPE: {"schema": _schema(Problem)}}},
        },
    }
