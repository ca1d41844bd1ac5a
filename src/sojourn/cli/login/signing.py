"""Commands that make tokens. What they print is shown this once."""

from __future__ import annotations

from datetime import timedelta

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.login import NEVER
from sojourn.cli.login.shown import acting, document, token_from_input, until, who
from sojourn.core.ids import tail
from sojourn.errors import NotFoundError
from sojourn.kinds.logins.model import PRESETS, LoginPolicy, NewLogin
from sojourn.sync.store import Store

_TOUCH = timedelta(minutes=1)


def create(call: Call) -> None:
    """``login create``."""
    given = call.arguments
    _check_user(call)
    _must_be_seen(call, own=given.token is not None)
    if given.token not in (None, "-"):
        raise UsageError(
            "a token is not written on the command line, where others can read it.",
            hint="--token - reads it from standard input.",
        )
    policy = _policy(call)
    who_is: str = given.user if given.username is None else given.username
    if call.dry_run:
        call.output.would(f"sign {who_is} in")
        return
    own = token_from_input() if given.token == "-" else None
    store = call.store(create=True, logins=policy, directory=False if given.any_user else None)
    if given.add_user and store.directory.user_id(who_is) is None:
        store.directory.add_user(who_is)
    made = acting(call, store).create(
        given.user,
        username=given.username,
        client_type=given.client,
        character_id=given.character,
        world_id=given.world,
        on_conflict=given.on_conflict,
        token=own,
        amr=given.amr or (),
        metadata=given.metadata,
        key=given.key,
    )
    _answer(call, store, made, own=own is not None)


def _check_user(call: Call) -> None:
    given = call.arguments
    if (given.user is None) == (given.username is None):
        raise UsageError("create takes USER or --username NAME, one of them.", hint="See: sojourn login create --help")
    if given.add_user and given.username is None:
        raise UsageError("--add-user needs --username NAME.", hint="Ids are given by the store.")
    if given.any_user and given.username is not None:
        raise UsageError("--any-user goes with USER: nobody here knows whose name it is.", hint="Give the user's id.")


def _policy(call: Call) -> LoginPolicy:
    """The timeouts that were asked for; those of an application are not kept in its store."""
    given = call.arguments
    preset: str = given.preset or ""
    if preset and preset not in PRESETS:
        raise UsageError(f"there is no preset {preset!r}.", hint=f"There are: {', '.join(PRESETS)}.")
    chosen = {**PRESETS.get(preset, {})}
    for name in ("idle", "absolute"):
        timeout: timedelta | None = getattr(given, name)
        if timeout is not None:
            chosen[name] = None if timeout == NEVER else timeout
    idle: timedelta | None = chosen.get("idle")
    if idle is not None:
        chosen["touch_every"] = min(chosen.get("touch_every", _TOUCH), idle / 2)
    return LoginPolicy(**chosen)


def rotate(call: Call) -> None:
    """``login rotate``."""
    given = call.arguments
    _must_be_seen(call, own=False)
    token = token_from_input()
    store = call.store(write=not call.dry_run)
    if call.dry_run:
        found = store.logins.find(token)
        if found is None:
            raise NotFoundError("no login answers to this token.", hint="Sign in.")
        call.output.would(f"replace the token of login {tail(found.id)} of {who(store, found.user_id)}", id=found.id)
        return
    made = acting(call, store).rotate(token, reauthenticated=given.reauthenticated, key=given.key)
    _answer(call, store, made, own=False)


def _must_be_seen(call: Call, *, own: bool) -> None:
    if call.output.mode == "quiet" and not own and not call.dry_run:
        raise UsageError(
            "with --quiet nobody would ever see the token.",
            hint="Leave it away (the token alone is on standard output), or use --json.",
        )


def _answer(call: Call, store: Store, made: NewLogin, *, own: bool) -> None:
    """The token, where the caller does not have it already: in JSON beside the login, otherwise alone."""
    login = made.login
    facts = document(login) if own else {**document(login), "token": str(made.token)}
    known = f"Login {tail(login.id)} of {who(store, login.user_id)}, until {until(login)}."
    if own:
        call.output.answer(facts, [login.id], known)
        return
    if call.output.human:
        call.output.note(f"{known} This is its token; it is not shown again:")
    call.output.answer(facts, [login.id], str(made.token))
