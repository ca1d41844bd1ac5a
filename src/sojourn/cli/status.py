"""``sojourn status``: who am I here?

It sits in prompts and hooks, so the usual question (one's own session, by a pointer or ``SOJOURN_SESSION``, in the project's
file) is answered from one row, without a parser, a kind or an engine. Whatever else is asked goes the long way, and a test
holds the two to the same answers. Neither way changes anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sojourn.errors import SojournError

if TYPE_CHECKING:
    from datetime import datetime

    from sojourn.cli.call import Call
    from sojourn.cli.parser import Parser
    from sojourn.engines.sqlite.glance import Glanced
    from sojourn.kinds.workspaces.model import Workspace

_FLAGS = {"--json": "json", "--jsonl": "jsonl", "-q": "quiet", "--quiet": "quiet"}
_IGNORED = ("-y", "--yes", "--dry-run", "--no-color")
_ID = 26
_LETTERS = frozenset("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_OVER = ("ended", "expired")
_OVER_CODE = 5  # exits.OVER, whose module costs more than the answer; a test compares them

SOURCES = {
    "argument": "--session",
    "environment": "SOJOURN_SESSION",
    "agent": "the agent's pointer",
    "terminal": "the terminal's pointer",
    "project": "the project's pointer",
}
"""What led to a session, as people are told."""


# -- the short way -----------------------------------------------------------------------------------------------------


def answer_quickly(words: Sequence[str]) -> int | None:
    """The exit code of ``sojourn status …`` when it could be answered the short way; None when it could not."""
    asked = _asked(words)
    if asked is None:
        return None
    tenant, reference, mode = asked
    try:
        found = _seen(tenant, reference)
    except SojournError:
        return None
    if found is None:
        return None
    document, now = found
    if mode in ("json", "jsonl"):
        import json

        from sojourn.cli.text import json_safe

        envelope = document if mode == "jsonl" else {"schema_version": 1, "data": document}
        sys.stdout.write(json_safe(json.dumps(envelope, ensure_ascii=False, separators=(",", ":"))) + "\n")
    elif mode == "quiet":
        sys.stdout.write(f"{document['id']}\n")
    else:
        sys.stdout.write("\n".join(lines_of(document, now, colour=_colour(words))) + "\n")
    sys.stdout.flush()
    return code_of(document)


def quick_look() -> dict[str, Any] | None:
    """The session that is meant here, if the short way finds one."""
    try:
        found = _seen("default", "")
    except SojournError:
        return None
    return None if found is None else found[0]


def _asked(words: Sequence[str]) -> tuple[str, str, str] | None:
    """Tenant, reference and mode of a plain question; None for any other."""
    tenant, reference, mode = "default", "", "human"
    waiting = iter(words)
    for word in waiting:
        name, equals, value = word.partition("=")
        if name in ("--session", "--tenant"):
            value = value if equals else next(waiting, "")
            if not value:
                return None
            tenant, reference = (value, reference) if name == "--tenant" else (tenant, value)
        elif word in _FLAGS and mode == "human":
            mode = _FLAGS[word]
        elif word == "--trust-root":
            os.environ["SOJOURN_TRUST_ROOT"] = "1"
        elif word not in _IGNORED:
            return None
    return tenant, reference, mode


def _seen(tenant: str, reference: str) -> tuple[dict[str, Any], datetime] | None:
    """The session that is meant, as a document, and the time; None where only the long way can tell."""
    from sojourn.project.root import find

    root = find()
    path = _store(None if root is None else root.store)
    if root is None or path is None:
        return None
    from sojourn.project.identity import project_of

    project, found = project_of(root), _meant(root, reference)
    if found is None:
        return None
    from sojourn.engines.sqlite.glance import glance

    identifier, source = found
    row = glance(path, tenant, identifier)
    if row is None or row.kind != "workspace" or row.home != project:
        return None
    return _document(row, identifier, source)


def _store(own: str | None) -> str | None:
    """The file of the store; None where it is none, or named in a way that needs to be read with care."""
    url = os.environ.get("SOJOURN_URL")
    if url is None:
        return own
    path = url.removeprefix("sqlite:///")
    return path if path != url and not set(path) & set("%?#~") else None


def _meant(root: Any, reference: str) -> tuple[str, str] | None:
    """An id, and what led to it, in the order of `Workspaces.resolve`; None where that is no id."""
    from sojourn.project.caller import chosen
    from sojourn.project.pointers import pointed

    if reference:
        found = reference, "argument"
    else:
        said = chosen()
        found = (said, "environment") if said else pointed(root) or ("", "")
    return found if len(found[0]) == _ID and _LETTERS.issuperset(found[0]) else None


def _document(row: Glanced, identifier: str, source: str) -> tuple[dict[str, Any], datetime] | None:
    import json
    import time

    from sojourn.core.times import maybe_datetime, to_datetime
    from sojourn.kinds.workspaces import standing

    data = json.loads(row.data)
    if data.get("v") != 1:
        return None
    now = max(time.time_ns() // 1000, row.mark)
    hold = data.get("hold")
    gripped, ttl = None, None
    if hold is not None:
        from sojourn.project import holds

        ttl = int(hold["ttl"])
        gripped = holds.held(identifier) if row.state == "active" and hold["host"] == holds.host() else None
    state = standing.state_of(row.state, row.active_at, row.deadline, now, hold_ttl=ttl, gripped=gripped)
    over = maybe_datetime(standing.over_at(state, row.deadline, row.ended_at))
    document = {
        "id": identifier,
        "role": data["role"],
        "base_role": data["base"],
        "name": data["name"],
        "system": bool(data.get("system")),
        "project_id": row.home,
        "state": state,
        "created_at": to_datetime(row.created_at).isoformat(),
        "last_activity_at": to_datetime(row.active_at).isoformat(),
        "expires_at": _iso(maybe_datetime(row.deadline)),
        "ended_at": _iso(over),
        "end_reason": data.get("end_reason", ""),
        "actor": data.get("actor"),
        "held": state in ("active", "idle") and hold is not None,
        "metadata": data.get("metadata", {}),
        "source": source,
    }
    return document, to_datetime(now)


def _colour(words: Sequence[str]) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or "--no-color" in words
    return not plain and sys.stdout.isatty()


# -- the long way ------------------------------------------------------------------------------------------------------


def fill(name: str, parser: Parser) -> None:
    """Add what the command takes."""
    add_to(parser, name)


def add_to(parser: Parser, name: str) -> None:
    """``status``, which ``workspace status`` is too."""
    parser.description = (
        "Who am I here: the session of this agent or terminal in this project, and what it was known by. Changes nothing.\n"
        "Ends with 3 when nobody is at work here, and with 5 when the session has ended or expired."
    )
    parser.examples(f"sojourn {name}\nsojourn {name} --json\nsojourn {name} --session reviewer")
    parser.set_defaults(run=status)


def status(call: Call) -> int:
    """``status``."""
    found, now = look(call)
    call.output.answer(
        found,
        [found["id"]],
        lambda: call.output.write("\n".join(lines_of(found, now, colour=call.output.colour)) + "\n"),
    )
    return code_of(found)


def look(call: Call) -> tuple[dict[str, Any], datetime]:
    """The session that is meant, as a document, by the library."""
    from sojourn.errors import NoSessionError

    if not call.exists:
        from sojourn.project import here

        here().project_id()
        raise NoSessionError(
            f"nobody is at work here: there is no store at {call.place} yet.",
            hint=f"Start a session: {call.command('workspace start --role implementer')}",
        )
    resolved = call.store().workspaces.resolve(call.options.session)
    return {**document_of(resolved.workspace), "source": resolved.source}, call.now


def document_of(workspace: Workspace) -> dict[str, Any]:
    """A session as JSON."""
    return {
        "id": workspace.id,
        "role": workspace.role,
        "base_role": workspace.base_role,
        "name": workspace.name,
        "system": workspace.system,
        "project_id": workspace.project_id,
        "state": workspace.state,
        "created_at": workspace.created_at.isoformat(),
        "last_activity_at": workspace.last_activity_at.isoformat(),
        "expires_at": _iso(workspace.expires_at),
        "ended_at": _iso(workspace.ended_at),
        "end_reason": workspace.end_reason,
        "actor": workspace.actor,
        "held": workspace.held,
        "metadata": dict(workspace.metadata),
    }


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()


# -- what both say -----------------------------------------------------------------------------------------------------


def code_of(document: dict[str, Any]) -> int:
    """The exit code: whether the session can be worked in."""
    return _OVER_CODE if document["state"] in _OVER else 0


def lines_of(document: dict[str, Any], now: datetime, *, colour: bool) -> list[str]:
    """A session as people read it."""
    from datetime import datetime

    from sojourn.cli.text import ago, moment, one_line

    last = datetime.fromisoformat(document["last_activity_at"])
    ended = document["ended_at"]
    when = f"last active {ago(last, now)}" if ended is None else f"since {moment(datetime.fromisoformat(ended))}"
    title = f"{document['name']} ({document['role']})"
    found = {
        "state": f"{document['state']}, {when}",
        "reason": document["end_reason"],
        "held": "by a living process" if document["held"] else "",
        "for": document["actor"] or "",
        "known by": SOURCES.get(document.get("source", ""), ""),
        "id": document["id"],
        "project": document["project_id"],
    }
    head = f"\x1b[1m{title}\x1b[0m" if colour else title
    return [head, *[f"{label + ':':<10}{one_line(text)}" for label, text in found.items() if text]]
