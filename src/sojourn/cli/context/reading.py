"""Commands that look at contexts and change nothing."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.files import write_bytes
from sojourn.cli.output import Listing, Output
from sojourn.cli.text import ago, many, moment, one_line, size, visible
from sojourn.core.ids import tail
from sojourn.errors import NotFoundError
from sojourn.kinds.contexts.export import artifact_document, context_document
from sojourn.kinds.contexts.model import Artifact, Context
from sojourn.sync.store import Store

KIND = "context"
_PAGE = 1000


def list_contexts(call: Call) -> None:
    """``context list``."""
    given = call.arguments
    store = call.store_if_any("context create NAME")
    items: list[Context] = []
    cursor = None
    if store is not None:
        contexts = store.contexts
        items, cursor = call.pages(lambda limit, after: contexts.list(scope=given.scope, limit=limit, after=after))
        if not items:
            call.output.note(f"No contexts here. To begin one: {call.command('context create NAME')}")
    now = call.now
    rows = [
        [
            tail(item.id),
            item.name,
            "active" if item.active else "",
            f"{item.artifact_count:,}",
            size(item.bytes),
            ago(item.updated_at, now),
        ]
        for item in items
    ]
    columns = ["ID", "NAME", "", "ARTIFACTS", "SIZE", "UPDATED"]
    documents = [context_document(item) for item in items]
    ids = [item.id for item in items]
    numbers = frozenset({"ARTIFACTS", "SIZE"})
    call.output.listing(Listing(documents, columns, rows, ids, cursor, paged=True, numbers=numbers))
    call.more(cursor)


def existing(store: Store, name: str | None, scope: str | None) -> Context:
    """The context of a name, or the active one without one."""
    found = store.contexts.active(scope=scope) if name is None else store.contexts.get(name, scope=scope)
    if found is None:
        what = "no context is active" if name is None else f"there is no context {name!r}"
        raise NotFoundError(f"{what} in scope {scope or 'default'!r}.", hint="See: sojourn context list")
    return found


def show(call: Call) -> None:
    """``context show``."""
    given, output = call.arguments, call.output
    if given.name is not None and given.id is not None:
        raise UsageError("show takes NAME or --id, not both.", hint="See: sojourn context show --help")
    store = call.store()
    wanted: str | None = given.id
    context = existing(store, given.name, given.scope) if wanted is None else None
    identifier = context.id if context is not None else call.find(store, wanted or "", KIND)
    artifacts: list[Artifact] = []
    cursor = None
    while True:
        page = store.contexts.artifacts(id=identifier, kind=given.kind, last=given.last, limit=_PAGE, after=cursor)
        artifacts += page.items
        cursor = page.next
        if cursor is None:
            break
    documents = [artifact_document(item) for item in artifacts]
    if output.mode == "jsonl":
        for document in documents:
            output.item(document)
        return

    def human() -> None:
        if context is not None:
            _show_heading(output, context)
        for item in artifacts:
            _show_artifact(output, item)

    about = {"id": identifier} if context is None else context_document(context)
    output.answer({**about, "artifacts": documents}, [identifier], human)


def _show_heading(output: Output, context: Context) -> None:
    output.write(output.paint(f"Context {context.name}", "bold") + "\n")
    facts = {
        "id": context.id,
        "scope": context.scope,
        "state": "active" if context.active else "",
        "begun": moment(context.created_at),
        "updated": moment(context.updated_at),
        "artifacts": f"{context.artifact_count:,} ({size(context.bytes)})",
        "metadata": json.dumps(context.metadata, ensure_ascii=False) if context.metadata else "",
    }
    for label, text in facts.items():
        if text:
            output.write(output.paint(f"{label + ':':<15}", "dim") + one_line(text) + "\n")


def _show_artifact(output: Output, item: Artifact) -> None:
    pin = " · pinned" if item.pinned else ""
    head = output.paint(f"{item.kind} · {moment(item.created_at)}{pin}", "cyan")
    output.write("\n" + output.paint(f"#{item.sequence} ", "bold") + head + "\n")
    for line in visible(item.content).splitlines():
        output.write(f"  {line}\n" if line else "\n")


def assemble(call: Call) -> None:
    """``context assemble``."""
    given, output = call.arguments, call.output
    store = call.store()
    context = existing(store, given.name, given.scope)
    found = store.contexts.assemble(context.name, budget=given.budget, kinds=given.kind, scope=given.scope)
    left = [
        {"sequence": item.sequence, "kind": item.kind, "tokens": item.tokens, "reason": item.reason} for item in found.left_out
    ]
    for reason, count in Counter(item.reason for item in found.left_out).items():
        if output.human:
            why = {"budget": "did not fit", "duplicate": "had a content that is in already"}[reason]
            output.note(f"{many(count, 'artifact')} {why}.")

    def human() -> None:
        output.raw(found.as_text() + "\n" if found.artifacts else "")

    artifacts = [artifact_document(item) for item in found.artifacts]
    document = {"tokens": found.tokens, "budget": found.budget, "artifacts": artifacts, "left_out": left}
    output.answer(document, [context.id], human)


def export(call: Call) -> None:
    """``context export``."""
    given = call.arguments
    store = call.store()
    context = existing(store, given.name, given.scope)
    made = store.contexts.export(given.name, given.format, scope=given.scope)
    if given.output is None:
        if isinstance(made, str):
            call.output.raw(made if made.endswith("\n") else made + "\n", json=given.format != "md")
            return
        stream = getattr(sys.stdout, "buffer", None)
        if stream is None or sys.stdout.isatty():
            raise UsageError("a zip file is not for a terminal.", hint="Add --output FILE.")
        stream.write(made)
        return
    target = Path(given.output)
    raw = made.encode() if isinstance(made, str) else made
    if call.dry_run:
        call.output.would(f"write context {context.name} to {target} ({size(len(raw))})")
        return
    written = write_bytes(call, target, [raw])
    document = {"id": context.id, "path": str(target), "bytes": written}
    call.output.answer(document, [context.id], f"Context {context.name} is in {target} ({size(written)}).")
