"""Commands that change workspaces."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sojourn.cli.call import Call
from sojourn.cli.text import many
from sojourn.cli.workspace.shown import answer, answer_pointed, meant, opened, reference, settled, title
from sojourn.core.names import validate_name
from sojourn.kinds.workspaces import rules
from sojourn.project.pointers import drop, left_behind
from sojourn.project.root import require
from sojourn.sync.store import Store

_WEEK: Final = timedelta(days=7)


def start(call: Call) -> None:
    """``workspace start``."""
    given = call.arguments
    settled(call)  # before a store is made
    if call.dry_run:
        rules.check_role(given.role)
        name = f" as {validate_name(given.name)}" if given.name else ""
        call.output.would(f"start a session of role {given.role}{name}")
        return
    workspaces = call.store(create=True).workspaces
    if given.system:
        made = workspaces.start_system(given.role, key=given.key)
    else:
        pointer = None if given.pointer == "none" else given.pointer
        made = workspaces.start(
            given.role,
            given.name,
            pointer=pointer,
            replace=given.replace,
            actor=given.actor,
            metadata=given.metadata,
            key=given.key,
        )
    answer_pointed(call, made, f"Session {title(made)} was started.")


def end(call: Call) -> None:
    """``workspace end``."""
    store = opened(call, write=True)
    found = meant(call, store)
    if call.dry_run:
        call.output.would(f"end session {title(found)}")
        return
    done = store.workspaces.end(found.id, reason=call.arguments.reason)
    before = found.state in ("ended", "expired")
    answer(call, done, f"Session {title(done)} {f'was {done.state} already' if before else 'has ended'}.")


def load(call: Call) -> None:
    """``workspace load``."""
    store = opened(call, write=True)
    if call.dry_run:
        call.output.would(f"mark session {title(meant(call, store))} as active")
        return
    found = store.workspaces.load_active(reference(call))
    answer(call, found, title(found))


def heartbeat(call: Call) -> None:
    """``workspace heartbeat``."""
    store = opened(call, write=True)
    found = meant(call, store)
    if call.dry_run:
        call.output.would(f"mark session {title(found)} as active")
        return
    done = store.workspaces.heartbeat(found.id)
    answer(call, done, f"Session {title(done)} is {done.state}.")


def use(call: Call) -> None:
    """``workspace use``."""
    given, store = call.arguments, opened(call, write=True)
    if call.dry_run:
        call.output.would(f"point at session {title(meant(call, store))}")
        return
    found = store.workspaces.use(reference(call) or "", pointer=given.pointer, replace=given.replace)
    answer_pointed(call, found, f"You are {title(found)} here.")


def resume(call: Call) -> None:
    """``workspace resume``."""
    given, store = call.arguments, opened(call, write=True)
    if call.dry_run:
        call.output.would(f"take up session {title(meant(call, store))}")
        return
    pointer = None if given.pointer == "none" else given.pointer
    found = store.workspaces.resume(reference(call) or "", pointer=pointer, replace=given.replace)
    answer_pointed(call, found, f"Session {title(found)} goes on.")


def rename(call: Call) -> None:
    """``workspace rename``."""
    store = opened(call, write=True)
    found, name = meant(call, store), validate_name(call.arguments.name)
    if call.dry_run:
        call.output.would(f"rename session {title(found)} to {name}")
        return
    answer(call, store.workspaces.rename(found.id, name), f"Session {found.name} is {name} now.")


def expire(call: Call) -> None:
    """``workspace expire``."""
    store = opened(call, write=True)
    found = meant(call, store)
    if call.dry_run:
        call.output.would(f"have session {title(found)} go stale")
        return
    done = store.workspaces.expire(found.id)
    after = store.workspaces.resolve(found.id).workspace
    answer(call, after, f"Session {title(found)} {'has expired' if done else f'was {found.state} already'}.")


def expire_stale(call: Call) -> None:
    """``workspace expire-stale``."""
    settled(call)
    store = opened(call, write=True) if call.exists else None
    count = 0 if store is None else store.workspaces.expire_stale(dry_run=call.dry_run)
    gone = [] if store is None else _left_behind(call, store)
    if call.dry_run:
        call.output.would(
            f"put away {many(count, 'stale session')} and {many(len(gone), 'pointer')} to sessions that are over",
            expired=count,
            pointers=len(gone),
        )
        return
    for path in gone:
        drop(path)
    text = f"{many(count, 'stale session')} put away, {many(len(gone), 'pointer')} to sessions long over removed."
    call.output.answer({"expired": count, "pointers": len(gone)}, [], text)


def _left_behind(call: Call, store: Store) -> list[str]:
    """The pointers of agents and terminals that lead to nothing, or to what was over a week ago: nobody comes back to them."""
    then = call.now - _WEEK
    found = []
    for path, text in left_behind(require(), then.timestamp()).items():
        session = store.workspaces.get(text)
        if session is None or (session.ended_at is not None and session.ended_at < then):
            found.append(path)
    return found


def add_role(call: Call) -> None:
    """``workspace role add``."""
    given = call.arguments
    settled(call)
    name = rules.check_role(given.name)
    if call.dry_run:
        call.output.would(f"add role {name}, which counts under {given.base}")
        return
    made = call.store(create=True).workspaces.add_role(name, base=given.base)
    document = {"name": made.name, "base": made.base, "builtin": made.builtin}
    call.output.answer(document, [made.name], f"Role {made.name} counts under {made.base}.")


def remove_role(call: Call) -> None:
    """``workspace role rm``."""
    store, name = opened(call, write=True), rules.check_role(call.arguments.name)
    if call.dry_run:
        call.output.would(f"remove role {name}")
        return
    done = store.workspaces.remove_role(name)
    call.output.answer({"removed": int(done)}, [name] if done else [], f"Role {name} {'is gone' if done else 'was not there'}.")
