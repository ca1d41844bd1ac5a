"""Commands that look at logins and change nothing, not even their activity."""

from __future__ import annotations

import json

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.login.shown import KIND, device, document, token_from_input, until, user_of, who
from sojourn.cli.output import Listing, Output
from sojourn.cli.text import ago, many, moment, one_line
from sojourn.core.ids import tail
from sojourn.errors import NotFoundError
from sojourn.kinds.logins.model import AuditEntry, Login
from sojourn.sync.store import Store


def list_logins(call: Call) -> None:
    """``login list``."""
    given = call.arguments
    store = call.store_if_any("login create --username alice --add-user")
    items: list[Login] = []
    cursor = None
    if store is not None:
        logins, user = store.logins, user_of(store, given.user, given.username)
        items, cursor = call.pages(
            lambda limit, after: logins.list(
                user_id=user,
                character_id=given.character,
                world_id=given.world,
                active_only=not given.all,
                limit=limit,
                after=after,
            )
        )
        if not items:
            call.output.note(f"Nobody is signed in here. To sign somebody in: {call.command('login create --help')}")
    names: dict[str, str] = {}
    if store is not None and call.output.human:
        names = {user: who(store, user) for user in {item.user_id for item in items}}
    now = call.now
    rows = [
        [
            tail(item.id),
            names.get(item.user_id, item.user_id),
            device(item),
            item.character_id or "",
            item.world_id or "",
            item.state if item.state == "active" else f"{item.state}: {item.reason}",
            ago(item.last_activity_at, now),
        ]
        for item in items
    ]
    columns = ["ID", "USER", "DEVICE", "CHARACTER", "WORLD", "STATE", "ACTIVE"]
    documents, ids = [document(item) for item in items], [item.id for item in items]
    call.output.listing(Listing(documents, columns, rows, ids, cursor, paged=True))
    call.more(cursor)


def named(call: Call, store: Store, given: str) -> Login:
    """The login of an id, the end of one, or (``-``) of the token on standard input."""
    if given == "-":
        found = store.logins.find(token_from_input())
        if found is None:
            raise NotFoundError("no login answers to this token.", hint=f"See: {call.command('login list --all')}")
        return found
    identifier = call.find(store, given, KIND)
    found = store.logins.get(identifier)
    if found is None:
        raise call.nothing(KIND, given)
    return found


def show(call: Call) -> None:
    """``login show``."""
    store = call.store()
    login = named(call, store, call.arguments.id)
    history: list[AuditEntry] = []
    cursor = None
    while True:
        page = store.logins.history(login.id, limit=1000, after=cursor)
        history += page.items
        cursor = page.next
        if cursor is None:
            break

    def human() -> None:
        _facts(call.output, login, who(store, login.user_id))
        for entry in history:
            _entry(call.output, entry)

    call.output.answer({**document(login), "history": [document(entry) for entry in history]}, [login.id], human)


def _facts(output: Output, login: Login, name: str) -> None:
    output.write(output.paint(f"Login {tail(login.id)} of {name}", "bold") + "\n")
    ended = "" if login.ended_at is None else f", {moment(login.ended_at)}"
    state = login.state if login.state == "active" else f"{login.state}: {login.reason}{ended}"
    shared = " (shared)" if login.shared_character else ""
    facts = {
        "id": login.id,
        "user": login.user_id if name != login.user_id else "",
        "state": state,
        "device": device(login),
        "character": f"{login.character_id} in {login.world_id}{shared}" if login.character_id else "",
        "signed in": moment(login.authenticated_at) + (f" by {', '.join(login.amr)}" if login.amr else ""),
        "active": moment(login.last_activity_at),
        "until": until(login),
        "metadata": json.dumps(login.metadata, ensure_ascii=False) if login.metadata else "",
    }
    for label, text in facts.items():
        if text:
            output.write(output.paint(f"{label + ':':<12}", "dim") + one_line(text) + "\n")


def _entry(output: Output, entry: AuditEntry) -> None:
    about = [entry.change, entry.reason, f"by {entry.by}" if entry.by else "", f"from {entry.ip}" if entry.ip else ""]
    about.append(json.dumps(entry.details, ensure_ascii=False) if entry.details else "")
    output.write(f"  {moment(entry.at)}  {one_line(' · '.join(part for part in about if part))}\n")


def online(call: Call) -> None:
    """``login online``."""
    given = call.arguments
    if given.world is not None and not (given.user is given.username is None):
        raise UsageError("online takes a user or --world, not both.", hint="See: sojourn login online --help")
    store = call.store_if_any("login create --username alice --add-user")
    user = user_of(store, given.user, given.username)
    if user is not None:
        _presence(call, store, user)
        return
    count = 0 if store is None else store.logins.count_active(world_id=given.world)
    facts: dict[str, object] = {"active": count}
    names: list[str] = []
    if given.world is not None:
        names = [] if store is None else store.logins.active_characters(world_id=given.world)
        facts |= {"world_id": given.world, "characters": names}

    def human() -> None:
        call.output.line(f"{many(count, 'login')} active.")
        for name in names:
            call.output.line(f"  {one_line(name)}")

    call.output.answer(facts, [], human)


def _presence(call: Call, store: Store | None, user: str) -> None:
    found = None if store is None else store.logins.online(user)
    worlds = [] if found is None else list(found.world_ids)
    last = None if found is None else found.last_login_at
    document = {
        "user_id": user,
        "account": found is not None and found.account,
        "in_world": found is not None and found.in_world,
        "world_ids": worlds,
        "last_login_at": None if last is None else last.isoformat(),
    }
    where = f"in {', '.join(worlds)}" if worlds else "online" if document["account"] else "not there"
    since = f" (signed in last {moment(last)})" if last is not None else ""
    call.output.answer(document, [], f"{user if store is None else who(store, user)} is {where}{since}.")
