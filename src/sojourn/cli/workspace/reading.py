"""Commands that look at workspaces and change nothing."""

from __future__ import annotations

from sojourn.cli.call import Call
from sojourn.cli.output import Listing
from sojourn.cli.status import document_of, lines_of
from sojourn.cli.text import ago, many
from sojourn.cli.workspace.shown import meant, opened
from sojourn.core.ids import tail
from sojourn.kinds.workspaces.model import Workspace
from sojourn.project import here


def list_workspaces(call: Call) -> None:
    """``workspace list``."""
    given, now = call.arguments, call.now
    here().project_id()
    items: list[Workspace] = []
    cursor = None
    if call.exists:
        workspaces = call.store().workspaces
        items, cursor = call.pages(
            lambda limit, after: workspaces.list(role=given.role, active_only=not given.all, limit=limit, after=after)
        )
    if not items:
        call.output.note(f"Nobody is at work here. To begin: {call.command('workspace start --role implementer')}")
    rows = [
        [
            tail(item.id),
            item.name,
            item.role,
            f"{item.state}, held" if item.held else item.state,
            ago(item.last_activity_at, now),
            item.actor or "",
        ]
        for item in items
    ]
    columns = ["ID", "NAME", "ROLE", "STATE", "LAST ACTIVITY", "FOR"]
    documents, ids = [document_of(item) for item in items], [item.id for item in items]
    call.output.listing(Listing(documents, columns, rows, ids, cursor, paged=True))
    call.more(cursor)


def show(call: Call) -> None:
    """``workspace show``."""
    store = opened(call)
    found = meant(call, store)
    claims = [claim for claim in store.workspaces.claims() if claim.session_id == found.id]
    document = {**document_of(found), "claims": [claim.resource for claim in claims]}

    def human() -> None:
        call.output.write("\n".join(lines_of(document, call.now, colour=call.output.colour)) + "\n")
        for claim in claims:
            call.output.line(f"{'claims:':<10}{claim.resource}")

    call.output.answer(document, [found.id], human)


def roles(call: Call) -> None:
    """``workspace roles``."""
    here().project_id()
    store = call.store() if call.exists else call.scratch()
    found = store.workspaces.roles()
    counts = store.workspaces.count_active()
    documents = [{"name": role.name, "base": role.base, "builtin": role.builtin} for role in found]
    rows = [
        [role.name, role.base, "built in" if role.builtin else "", many(counts[role.name], "at work", "at work")]
        if role.name in counts
        else [role.name, role.base, "built in" if role.builtin else "", ""]
        for role in found
    ]
    call.output.listing(Listing(documents, ["ROLE", "COUNTS UNDER", "", "LIVE"], rows, [role.name for role in found]))
