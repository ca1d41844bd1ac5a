"""Commands that change contexts."""

from __future__ import annotations

from sojourn.cli.call import Call
from sojourn.cli.context.reading import existing
from sojourn.cli.exits import UsageError
from sojourn.cli.output import standard_text
from sojourn.cli.text import many
from sojourn.kinds.contexts.export import artifact_document, context_document
from sojourn.kinds.contexts.model import Context
from sojourn.kinds.contexts.rules import check_name


def create(call: Call) -> None:
    """``context create``."""
    given = call.arguments
    if call.dry_run:
        call.output.would(f"begin context {check_name(given.name)}")
        return
    made = call.store(create=True).contexts.create(given.name, metadata=given.metadata, scope=given.scope)
    _answer(call, made, f"Context {made.name} was begun.")


def add(call: Call) -> None:
    """``context add``."""
    given = call.arguments
    text = standard_text() if given.text == "-" else given.text
    name = check_name(given.name)
    if call.dry_run:
        call.output.would(f"add {many(len(text), 'character')} as {given.kind} to context {name}")
        return
    store = call.store(create=True)
    made = store.contexts.add(name, given.kind, text, metadata=given.metadata, key=given.key, scope=given.scope)
    context = existing(store, name, given.scope)
    document = {"context_id": context.id, "name": name, **artifact_document(made)}
    call.output.answer(document, [context.id], f"Artifact #{made.sequence} in context {name}.")


def activate(call: Call) -> None:
    """``context activate``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    if call.dry_run:
        call.output.would(f"make context {existing(store, given.name, given.scope).name} the active one")
        return
    found = store.contexts.set_active(given.name, scope=given.scope)
    _answer(call, found, f"Context {found.name} is active.")


def deactivate(call: Call) -> None:
    """``context deactivate``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    context = existing(store, given.name, given.scope)
    if call.dry_run:
        call.output.would(f"leave context {context.name}")
        return
    found = store.contexts.set_active(context.name, False, scope=given.scope)
    _answer(call, found, f"Context {found.name} is not active. To go on with it: sojourn context resume")


def resume(call: Call) -> None:
    """``context resume``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    if call.dry_run:
        what = "the last active context" if given.name is None else f"context {existing(store, given.name, given.scope).name}"
        call.output.would(f"go on with {what}")
        return
    found = store.contexts.resume(given.name, scope=given.scope)
    _answer(call, found, f"Context {found.name} is active; it has {many(found.artifact_count, 'artifact')}.")


def branch(call: Call) -> None:
    """``context branch``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    if call.dry_run:
        call.output.would(f"branch context {existing(store, given.name, given.scope).name} as {check_name(given.new)}")
        return
    made = store.contexts.branch(given.name, given.new, at=given.at, scope=given.scope)
    _answer(call, made, f"Context {made.name} shares {many(made.artifact_count, 'artifact')} with {given.name}.")


def remove(call: Call) -> None:
    """``context rm``."""
    given = call.arguments
    if given.all == (given.name is not None):
        raise UsageError("rm needs either NAME or --all.", hint="See: sojourn context rm --help")
    store = call.store(write=not call.dry_run)
    kept = ", but keep its artifacts" if given.keep else ""
    if given.all:
        what = f"every context of scope {given.scope or 'default'}{kept}"
        ids: list[str] = []
    else:
        context = existing(store, given.name, given.scope)
        what = f"context {context.name} with {many(context.artifact_count, 'artifact')}{kept}"
        ids = [context.id]
    if call.dry_run:
        call.output.would(f"remove {what}", ids=ids)
        return
    call.output.confirm(f"Remove {what}?", yes=call.options.yes)
    if given.all:
        done = store.contexts.delete_all(purge=not given.keep, scope=given.scope)
    else:
        done = int(store.contexts.delete(given.name, purge=not given.keep, scope=given.scope))
    call.output.answer({"removed": done, "ids": ids}, ids, f"Removed {many(done, 'context')}.")


def _answer(call: Call, context: Context, text: str) -> None:
    call.output.answer(context_document(context), [context.id], text)
