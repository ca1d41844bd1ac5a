"""The project's store, and sessions as they are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.status import document_of
from sojourn.core.ids import tail
from sojourn.errors import NoSessionError
from sojourn.project import here, identity
from sojourn.project.root import require

if TYPE_CHECKING:
    from sojourn.kinds.workspaces.model import Workspace
    from sojourn.sync.store import Store

POINTERS = {"agent": "This agent's pointer", "terminal": "This terminal's pointer", "project": "The project's pointer"}


def settled(call: Call) -> None:
    """A project, for a command that changes something: where it is now is written down, so that a copy can be told from it."""
    root = require()
    identity.project_of(root)
    if not call.dry_run:
        identity.settle(root)


def opened(call: Call, *, write: bool = False) -> Store:
    """The store, for a command that needs a session to be there."""
    if write:
        settled(call)
    else:
        here().project_id()
    if not call.exists:
        raise NoSessionError(
            f"nobody is at work here: there is no store at {call.place} yet.",
            hint=f"Start a session: {call.command('workspace start --role implementer')}",
        )
    return call.store(write=write and not call.dry_run)


def reference(call: Call) -> str | None:
    """The session that a command names: REF or --session."""
    given: str | None = getattr(call.arguments, "reference", None)
    chosen = call.options.session
    if given is not None and chosen is not None and given != chosen:
        raise UsageError(f"both {given} and --session {chosen} were given.", hint="Name one of them.")
    return chosen if given is None else given


def meant(call: Call, store: Store) -> Workspace:
    """The session that is meant, in whatever state."""
    return store.workspaces.resolve(reference(call)).workspace


def title(workspace: Workspace) -> str:
    """A session in a few words."""
    return f"{workspace.name} ({workspace.role}, {tail(workspace.id)})"


def pointed(workspace: Workspace) -> dict[str, Any]:
    """The answer of what points at a session, as JSON."""
    return {**document_of(workspace), "pointer": workspace.pointer, "hint": workspace.hint}


def answer(call: Call, workspace: Workspace, text: str) -> None:
    """What a command has done with a session."""
    call.output.answer(document_of(workspace), [workspace.id], text)


def answer_pointed(call: Call, workspace: Workspace, text: str) -> None:
    """The same, and which pointer leads to it now."""
    where = f" {POINTERS[workspace.pointer]} leads to it." if workspace.pointer else ""
    call.output.answer(pointed(workspace), [workspace.id], text + where)
    if workspace.hint and call.output.human:
        call.output.remark(f"{workspace.hint[0].upper()}{workspace.hint[1:]}")
