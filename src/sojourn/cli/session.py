"""``sojourn session``: sessions of every kind, as whoever runs an application looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sojourn.cli.call import Call
from sojourn.cli.options import page_size, whole
from sojourn.cli.output import Listing
from sojourn.cli.parser import Parser
from sojourn.cli.text import ago, many, moment, one_line
from sojourn.core.codec import encode
from sojourn.core.ids import tail
from sojourn.sessions import SessionInfo
from sojourn.shell.feed import Event

if TYPE_CHECKING:
    from sojourn.sync.store import Store


def fill(_: str, parser: Parser) -> None:
    """Add the commands."""
    parser.description = (
        "A session is anything that lives in a store; conversations are the kind that this release has.\n"
        "It is named by its id, of which the last 4 or more characters will do."
    )
    parser.commands()
    made = parser.command(
        "list",
        "list sessions of every kind, the latest activity first",
        list_sessions,
        examples="sojourn session list\nsojourn session list kind:conversation owner:alice state:all\n"
        "sojourn session list 'idle>2d'",
        more="Filters, all of which must hold: kind:NAME  owner:USER  state:active|ended|archived|all  tag:NAME  idle>2d\n"
        "(s, m, h or d). Without state: only active ones are listed. Put quotes around idle>2d: shells read > themselves.",
    )
    made.add_argument("filter", metavar="FILTER", nargs="*", help="what to list; everything active without one")
    page_size(made, "sessions")
    made = parser.command("show", "show one session as it is stored", show, examples="sojourn session show 7Q2M8XKD")
    made.add_argument("id", metavar="ID", help="its id, or the end of it")
    made = parser.command(
        "events", "show what happened to a session, the oldest first", events, examples="sojourn session events 7Q2M8XKD"
    )
    made.add_argument("id", metavar="ID", help="its id, or the end of it")
    made.add_argument("--limit", type=whole(1, 1000), default=100, metavar="N", help="only the newest N events (default 100)")
    made = parser.command(
        "end",
        "close a session: it can be read, but takes nothing more",
        end,
        examples='sojourn session end 7Q2M8XKD --reason "moved to the new bot"',
        more="It cannot be opened again. Ending what has ended is fine and changes nothing.",
    )
    made.add_argument("id", metavar="ID", help="its id, or the end of it")
    made.add_argument("--reason", metavar="TEXT", default="", help="kept with the event")
    made = parser.command(
        "rm",
        "remove sessions for good",
        remove,
        examples="sojourn session rm 7Q2M8XKD\nsojourn session list -q 'idle>90d' | xargs sojourn session rm -y",
        more="Messages that a fork shares stay in the fork. To remove everything about a person, use: sojourn erase",
    )
    made.add_argument("ids", metavar="ID", nargs="+", help="its id, or the end of it; several may be given")


def list_sessions(call: Call) -> None:
    """``session list``."""
    given = call.arguments
    store = call.store_if_any()
    items: list[SessionInfo] = []
    cursor = None
    if store is not None:
        listed, words = store.sessions, " ".join(given.filter)
        items, cursor = call.pages(lambda limit, after: listed.list(words, limit=limit, after=after))
        if not items:
            call.output.note("No such sessions." if given.filter else f"No active sessions at {call.place}.")
    now = call.now
    rows = [
        [tail(item.id), item.kind, item.owner or "", item.state, f"{item.entries:,}", ago(item.last_activity_at, now)]
        for item in items
    ]
    columns = ["ID", "KIND", "OWNER", "STATE", "ENTRIES", "LAST ACTIVITY"]
    documents = [document_of(item) for item in items]
    ids = [item.id for item in items]
    call.output.listing(Listing(documents, columns, rows, ids, cursor, paged=True, numbers=frozenset({"ENTRIES"})))
    call.more(cursor)


def document_of(item: SessionInfo) -> dict[str, Any]:
    """A session as a JSON object."""
    return {
        "id": item.id,
        "kind": item.kind,
        "owner": item.owner,
        "state": item.state,
        "version": item.version,
        "phase": item.phase,
        "created_at": item.created_at.isoformat(),
        "last_activity_at": item.last_activity_at.isoformat(),
        "deadline": None if item.deadline is None else item.deadline.isoformat(),
        "ended_at": None if item.ended_at is None else item.ended_at.isoformat(),
        "entries": item.entries,
        "counters": item.counters,
        "data": item.data,
    }


def _event_document(event: Event) -> dict[str, Any]:
    return {
        "cursor": event.cursor,
        "kind": event.kind,
        "id": event.id,
        "change": event.change,
        "version": event.version,
        "sequences": None if event.sequences is None else list(event.sequences),
        "at": event.at.isoformat(),
        "reason": event.reason,
    }


def _session(call: Call, store: Store, given: str) -> SessionInfo:
    identifier = call.find(store, given)
    found = store.sessions.get(identifier)
    if found is None:
        raise call.nothing("session", given)
    return found


def show(call: Call) -> None:
    """``session show``."""
    item = _session(call, call.store(), call.arguments.id)
    output = call.output

    def human() -> None:
        output.write(output.paint(f"Session {tail(item.id)}", "bold") + "\n")
        facts = {
            "id": item.id,
            "kind": item.kind,
            "owner": item.owner or "",
            "state": item.state,
            "begun": moment(item.created_at),
            "last activity": moment(item.last_activity_at),
            "ended": moment(item.ended_at),
            "deadline": moment(item.deadline),
            "entries": f"{item.entries:,}",
            "version": f"{item.version:,}, phase {item.phase:,}",
            "counters": encode(item.counters),
            "data": encode(item.data),
        }
        for label, text in facts.items():
            if text:
                output.write(output.paint(f"{label + ':':<15}", "dim") + one_line(text) + "\n")

    output.answer(document_of(item), [item.id], human)


def events(call: Call) -> None:
    """``session events``."""
    store = call.store()
    item = _session(call, store, call.arguments.id)
    found = store.sessions.events(item.id, limit=call.arguments.limit)
    if not found:
        call.output.note("No events of this session are kept any more.")
    rows = [[moment(event.at), event.change, _sequences(event), f"{event.version:,}", event.reason] for event in found]
    columns = ["TIME", "CHANGE", "ENTRIES", "VERSION", "REASON"]
    documents = [_event_document(event) for event in found]
    call.output.listing(Listing(documents, columns, rows, [item.id] * bool(found), numbers=frozenset({"VERSION"})))


def _sequences(event: Event) -> str:
    if event.sequences is None:
        return ""
    first, last = event.sequences
    return f"#{first}" if first == last else f"#{first} to #{last}"


def end(call: Call) -> None:
    """``session end``."""
    store = call.store(write=not call.dry_run)
    item = _session(call, store, call.arguments.id)
    if call.dry_run:
        call.output.would(f"end {_name(item)}")
        return
    ended = store.sessions.end(item.id, reason=call.arguments.reason)
    text = f"Ended {_name(item)}." if item.state == "active" else f"{_name(item)} was {item.state} already."
    call.output.answer(document_of(ended), [item.id], text[0].upper() + text[1:])


def remove(call: Call) -> None:
    """``session rm``."""
    store = call.store(write=not call.dry_run)
    items = {item.id: item for item in (_session(call, store, given) for given in call.arguments.ids)}
    names = ", ".join(_name(item) for item in list(items.values())[:5]) + (" and others" if len(items) > 5 else "")
    what = names if len(items) == 1 else f"{many(len(items), 'session')} ({names})"
    if call.dry_run:
        call.output.would(f"remove {what}", ids=list(items))
        return
    call.output.confirm(f"Remove {what} for good?", yes=call.options.yes)
    gone = [identifier for identifier in items if store.sessions.delete(identifier)]
    call.output.answer({"removed": gone}, gone, f"Removed {what}.")


def _name(item: SessionInfo) -> str:
    owner = f" of {item.owner}" if item.owner else ""
    return f"{item.kind} {tail(item.id)}{owner} ({many(item.entries, 'entry', 'entries')})"
