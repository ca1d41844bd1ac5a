"""``workspace claim``, ``release``, ``claims``, ``check``."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

from sojourn.cli.call import Call
from sojourn.cli.exits import CONFLICT, OK, UsageError
from sojourn.cli.output import Listing, standard_input
from sojourn.cli.text import moment, one_line
from sojourn.cli.workspace.shown import meant, opened, reference, title
from sojourn.core.ids import tail
from sojourn.errors import InvalidValueError, NoProjectError, NotFoundError
from sojourn.kinds.workspaces.model import Claim
from sojourn.kinds.workspaces.resources import check_resource
from sojourn.project import here
from sojourn.project.caller import AGENT_VARIABLES
from sojourn.project.root import below, require
from sojourn.sync.store import Store

_TTL: Final = timedelta(minutes=15)
_STOP: Final = 2
"""The exit code by which a hook stops an edit, with what is on standard error said to the agent."""

_PATCHED: Final = re.compile(r"^\*\*\* (?:(?:Add|Update|Delete) File|Move to): (.+)$", re.MULTILINE)
"""The files of a patch as Codex writes it."""
_PATHS: Final = ("file_path", "notebook_path", "path")
"""Where a tool's input names the file it is about to edit."""


def claim(call: Call) -> None:
    """``workspace claim``."""
    given, store = call.arguments, opened(call, write=True)
    found, resource = meant(call, store), _resource(given.resource, as_is=given.as_is)
    if call.dry_run:
        call.output.would(f"claim {resource} for session {title(found)}")
        return
    made = store.workspaces.claim(found.id, resource, ttl=given.ttl or _TTL)
    text = f"{made.resource} is {made.name}'s until {moment(made.expires_at)}."
    call.output.answer(document_of(made), [made.resource], text)


def release(call: Call) -> None:
    """``workspace release``."""
    given, store = call.arguments, opened(call, write=True)
    found, resource = meant(call, store), _resource(given.resource, as_is=given.as_is)
    held = [one for one in store.workspaces.claims(resource) if one.session_id == found.id and one.resource == resource]
    if call.dry_run:
        call.output.would(f"release {resource}" if held else "do nothing")
        return
    done = any(store.workspaces.release(one) for one in held)  # one at most is of this very resource
    text = f"{resource} is free." if done else f"{resource} was not claimed by {found.name}."
    call.output.answer({"released": int(done), "resource": resource}, [resource] if done else [], text)


def list_claims(call: Call) -> None:
    """``workspace claims``."""
    given = call.arguments
    here().project_id()
    resource = None if given.resource is None else _resource(given.resource, as_is=given.as_is)
    found = call.store().workspaces.claims(resource) if call.exists else []
    if not found:
        call.output.note("Nothing is claimed here." if resource is None else f"Nobody has claimed {resource}.")
    rows = [[one.resource, one.name, tail(one.session_id), moment(one.expires_at), str(one.fence)] for one in found]
    columns = ["RESOURCE", "BY", "ID", "UNTIL", "FENCE"]
    documents = [document_of(one) for one in found]
    call.output.listing(Listing(documents, columns, rows, [one.resource for one in found], numbers=frozenset({"FENCE"})))


def document_of(found: Claim) -> dict[str, Any]:
    """A claim as JSON."""
    return {
        "resource": found.resource,
        "session_id": found.session_id,
        "name": found.name,
        "fence": found.fence,
        "expires_at": found.expires_at.isoformat(),
        "project_id": found.project_id,
    }


def check(call: Call) -> int:
    """``workspace check``."""
    given = call.arguments
    if given.hook == bool(given.paths):
        raise UsageError("check needs either paths or --hook.", hint="See: sojourn workspace check --help")
    if given.hook:
        return _hook(call)
    here().project_id()
    found = _of_others(call, call.store(), [_resource(path) for path in given.paths]) if call.exists else []
    documents = [document_of(one) for one in found]
    lines = [f"{one.resource} is {one.name}'s ({tail(one.session_id)}) until {moment(one.expires_at)}." for one in found]
    call.output.answer(documents, [one.session_id for one in found], "\n".join(lines) or "Nobody else has claimed it.")
    return CONFLICT if found else OK


def _hook(call: Call) -> int:
    """What a coding agent asks before an edit. Where there is no project, or no path, it is none of our business."""
    try:
        asked = json.loads(standard_input())
    except ValueError as error:
        raise InvalidValueError(f"standard input is not JSON: {error}.", hint="--hook is for coding agents.") from error
    paths = list(_edited(asked)) if isinstance(asked, dict) else []
    try:
        root = require()
    except NoProjectError:
        return OK
    if not paths or not call.exists:
        return OK
    _know(asked)
    inside = [found for found in (below(root, path) for path in paths) if found is not None]
    found = _of_others(call, call.store(), [check_resource(path) for path in inside])
    if not found:
        return OK
    for one in found:
        sys.stderr.write(
            one_line(
                f"{one.resource} is claimed by {one.name} (session {tail(one.session_id)}) until {moment(one.expires_at)}."
            )
            + "\n"
        )
    sys.stderr.write("Work on something else, or ask for it; 'sojourn workspace claims' lists what is claimed.\n")
    return _STOP


def _edited(asked: dict[str, Any]) -> Iterable[str]:
    """The files that a tool is about to edit."""
    given = asked.get("tool_input")
    if not isinstance(given, dict):
        return
    for name in _PATHS:
        if isinstance(given.get(name), str) and given[name]:
            yield given[name]
    for name in ("command", "input", "patch"):
        if isinstance(given.get(name), str):
            yield from (path.strip() for path in _PATCHED.findall(given[name]))


def _know(asked: dict[str, Any]) -> None:
    """Who asks, where the tool says so only in what it writes: as the commands that it runs are told."""
    session = asked.get("session_id")
    if not isinstance(session, str) or not session or "\0" in session or any(os.environ.get(name) for name in AGENT_VARIABLES):
        return
    os.environ["CODEX_THREAD_ID" if "turn_id" in asked else "CLAUDE_CODE_SESSION_ID"] = session


def _of_others(call: Call, store: Store, resources: list[str]) -> list[Claim]:
    """The claims of others that overlap any of these."""
    try:
        own = store.workspaces.resolve(reference(call)).workspace.id
    except NotFoundError:
        if reference(call) is not None:
            raise
        own = ""
    found: dict[str, Claim] = {}
    for resource in resources:
        found.update({one.resource: one for one in store.workspaces.claims(resource) if one.session_id != own})
    return list(found.values())


def _resource(given: str, *, as_is: bool = False) -> str:
    """What is claimed: a path as seen from the project's root, or the name as it is."""
    if as_is:
        return check_resource(given)
    root = require()
    found = below(root, given)
    if found is None:
        raise UsageError(
            f"{given} lies outside of the project in {root.top}.",
            hint="Paths are from the working directory; --as-is for names.",
        )
    return check_resource(found)
