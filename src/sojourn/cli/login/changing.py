"""Commands that change logins."""

from __future__ import annotations

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.login.looking import named
from sojourn.cli.login.shown import KIND, acting, document, user_of, who
from sojourn.cli.text import many
from sojourn.core.ids import tail
from sojourn.kinds.logins.model import Login


def bind(call: Call) -> None:
    """``login bind``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    login = named(call, store, given.id)
    if call.dry_run:
        call.output.would(
            f"have login {tail(login.id)} of {who(store, login.user_id)} play character {given.character}", id=login.id
        )
        return
    found = acting(call, store).bind_character(
        login.id, given.character, world_id=given.world, on_conflict=given.on_conflict, key=given.key
    )
    _answer(
        call, found, f"Login {tail(found.id)} of {who(store, found.user_id)} plays {found.character_id} in {found.world_id}."
    )


def unbind(call: Call) -> None:
    """``login unbind``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    login = named(call, store, given.id)
    if call.dry_run:
        call.output.would(f"have login {tail(login.id)} of {who(store, login.user_id)} play no character", id=login.id)
        return
    found = acting(call, store).unbind_character(login.id, key=given.key)
    _answer(call, found, f"Login {tail(found.id)} of {who(store, found.user_id)} plays no character.")


def revoke(call: Call) -> None:
    """``login revoke``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    login = named(call, store, given.id)
    if call.dry_run:
        call.output.would(f"end login {tail(login.id)} of {who(store, login.user_id)} (it is {login.state})", id=login.id)
        return
    done = acting(call, store).revoke(login.id, reason=given.reason, key=given.key)
    word = "is ended" if done else "had ended already"
    call.output.answer(
        {"id": login.id, "revoked": done}, [login.id], f"Login {tail(login.id)} of {who(store, login.user_id)} {word}."
    )


def revoke_user(call: Call) -> None:
    """``login revoke-user``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    user = user_of(store, given.user, given.username)
    if user is None:
        raise UsageError("revoke-user needs USER or --username NAME.", hint="See: sojourn login revoke-user --help")
    keep = None if given.keep is None else call.find(store, given.keep, KIND)
    live: list[Login] = []
    cursor = None
    while True:
        page = store.logins.list(user_id=user, limit=1000, after=cursor)
        live += [login for login in page if login.id != keep]
        cursor = page.next
        if cursor is None:
            break
    what = f"end {many(len(live), 'login')} of {who(store, user)}"
    if call.dry_run:
        call.output.would(what, ids=[login.id for login in live])
        return
    call.output.confirm(f"{what[0].upper()}{what[1:]}?", yes=call.options.yes)
    done = acting(call, store).revoke_user(user, keep=keep, reason=given.reason, key=given.key)
    facts = {"user_id": user, "revoked": done}
    call.output.answer(facts, [login.id for login in live], f"Ended {many(done, 'login')} of {who(store, user)}.")


def _answer(call: Call, login: Login, text: str) -> None:
    call.output.answer(document(login), [login.id], text)
