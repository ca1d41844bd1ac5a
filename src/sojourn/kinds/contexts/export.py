"""A context in the forms people take it away in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from typing import Final, Literal, TypeAlias

from sojourn.core.codec import Json, encode
from sojourn.errors import InvalidValueError
from sojourn.kinds.contexts.model import Artifact, Context

ContextFormat: TypeAlias = Literal["json", "jsonl", "md", "zip"]

_ENDINGS: Final = {"diff": "diff", "note": "md", "prompt": "md"}


def render(context: Context, artifacts: Sequence[Artifact], form: ContextFormat) -> str | bytes:
    """``json``: one document. ``jsonl``: a line for the context, then one an artifact. ``md``: to read. ``zip``: files."""
    match form:
        case "json":
            return encode({"context": context_document(context), "artifacts": [*map(artifact_document, artifacts)]})
        case "jsonl":
            lines = [context_document(context), *map(artifact_document, artifacts)]
            return "".join(encode(line) + "\n" for line in lines)
        case "md":
            return _markdown(context, artifacts)
        case "zip":
            return _archive(context, artifacts)
        case _:
            raise InvalidValueError(f"format must be json, jsonl, md or zip, got {form!r}.")


def context_document(context: Context) -> dict[str, Json]:
    """A context as a JSON object, without its artifacts."""
    return {
        "id": context.id,
        "name": context.name,
        "scope": context.scope,
        "active": context.active,
        "created_at": context.created_at.isoformat(),
        "updated_at": context.updated_at.isoformat(),
        "resumed_at": None if context.resumed_at is None else context.resumed_at.isoformat(),
        "ended_at": None if context.ended_at is None else context.ended_at.isoformat(),
        "artifact_count": context.artifact_count,
        "bytes": context.bytes,
        "branched_from": context.branched_from,
        "metadata": context.metadata,
        "version": context.version,
    }


def artifact_document(artifact: Artifact) -> dict[str, Json]:
    """An artifact as a JSON object; metadata and pin only where there are any."""
    row: dict[str, Json] = {
        "sequence": artifact.sequence,
        "kind": artifact.kind,
        "content": artifact.content,
        "digest": artifact.digest,
        "created_at": artifact.created_at.isoformat(),
    }
    if artifact.metadata:
        row["metadata"] = artifact.metadata
    if artifact.pinned:
        row["pinned"] = True
    return row


def _markdown(context: Context, artifacts: Sequence[Artifact]) -> str:
    parts = [f"# {context.name}", ""]
    for item in artifacts:
        fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", item.content)), 3)
        pin = " · pinned" if item.pinned else ""
        when = item.created_at.strftime("%Y-%m-%d %H:%M:%S")
        parts += [f"## {item.sequence} · {item.kind}{pin}", "", f"*{when} UTC*", "", fence, item.content, fence, ""]
    return "\n".join(parts)


def _archive(context: Context, artifacts: Sequence[Artifact]) -> bytes:
    """``context.json``, and a file for each artifact; the same bytes for the same context."""
    from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo  # when one is asked for: it costs 5 ms

    def put(name: str, text: str) -> None:
        info = ZipInfo(name, (1980, 1, 1, 0, 0, 0))
        info.compress_type = ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        archive.writestr(info, text.encode())

    made = BytesIO()
    with ZipFile(made, "w", ZIP_DEFLATED) as archive:
        rows = []
        for item in artifacts:
            row = artifact_document(item)
            row["file"] = _file_name(item)
            del row["content"]
            rows.append(row)
            put(row["file"], item.content)
        put("context.json", encode({"context": context_document(context), "artifacts": rows}))
    return made.getvalue()


def _file_name(item: Artifact) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", item.kind.lower()).strip("-") or "artifact"
    return f"artifacts/{item.sequence:05}-{plain}.{_ENDINGS.get(item.kind, 'txt')}"
