"""How the round trips and the errors of games are brought about; `test_operations` counts and raises them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

import sojourn

C: Final = "channel"
LARGE: Final = {"text": "x" * 300_000}
SECOND: Final = timedelta(seconds=1)


def nothing(lab: Any) -> None:
    """No preparation."""


def booted(lab: Any) -> Any:
    """A game with two players, in which nobody has chosen."""
    game = lab.games.boot(C, "Game")
    for user in ("ann", "bob"):
        lab.games.join(C, user, user.title())
    return game


def pressed(lab: Any) -> Any:
    """One of them has chosen."""
    game = booted(lab)
    lab.games.submit_choice(C, "ann", "Ann", "north")
    return game


def closed(lab: Any) -> Any:
    """A turn is closed."""
    game = pressed(lab)
    lab.games.close(C)
    return game


def told(lab: Any) -> Any:
    """And narrated."""
    game = closed(lab)
    lab.games.record_turn(C, 1, "Told.")
    return game


def shelved(lab: Any) -> Any:
    """A game on the shelf."""
    game = booted(lab)
    lab.games.shelve(C)
    return game


def forget(lab: Any) -> Any:
    """A game that the store has not seen."""
    game = booted(lab)
    lab.games._aio._play.forget()
    return game


def lock(lab: Any) -> None:
    with lab.games.lock(C):
        pass


def on(name: str, *arguments: Any, **more: Any) -> Callable[[Any, Any], Any]:
    """Call an operation in the channel."""
    return lambda lab, _: getattr(lab.games, name)(C, *arguments, **more)


TRIPS: Final[dict[tuple[str, str], tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]]] = {
    ("Games.boot", "in a new channel"): (nothing, on("boot", "Game")),
    ("Games.swap", "for a new game"): (booted, on("swap", "Two")),
    ("Games.exit", "without a window"): (booted, on("exit")),
    ("Games.shelve", "without a window"): (booted, on("shelve")),
    ("Games.get", "nobody has chosen"): (booted, on("get")),
    ("Games.load", "by its id"): (booted, lambda lab, game: lab.games.load(game.id)),
    ("Games.resume", "in its last channel"): (shelved, lambda lab, game: lab.games.resume(game.id)),
    ("Games.list", "by activity"): (booted, lambda lab, _: lab.games.list()),
    ("Games.update", "always"): (booted, on("update", {"a": 1})),
    ("Games.delete", "by its id"): (booted, lambda lab, game: lab.games.delete(game.id)),
    ("Games.join", "always"): (booted, on("join", "cem", "Cem")),
    ("Games.leave", "without a window"): (booted, on("leave", "bob")),
    ("Games.players", "nobody has chosen"): (booted, on("players")),
    ("Games.active_players", "nobody has chosen"): (booted, on("active_players")),
    ("Games.set_crown", "always"): (booted, on("set_crown", "bob")),
    ("Games.crown_holder_name", "always"): (booted, on("crown_holder_name")),
    ("Games.is_crown_holder", "always"): (booted, on("is_crown_holder", "bob")),
    ("Games.invite", "always"): (booted, on("invite")),
    ("Games.submit_choice", "in a known game"): (pressed, on("submit_choice", "bob", "Bob", "south")),
    ("Games.submit_choice", "in a game not yet seen"): (forget, on("submit_choice", "bob", "Bob", "south")),
    ("Games.wait_for_countdown", "a closed turn"): (closed, on("wait_for_countdown", turn=1)),
    ("Games.open_window", "none is open"): (booted, on("open_window", options=["a", "b"])),
    ("Games.close", "somebody has chosen"): (pressed, on("close")),
    ("Games.extend", "always"): (pressed, on("extend", SECOND)),
    ("Games.pause", "without a window"): (booted, on("pause")),
    ("Games.unpause", "without a window"): (lambda lab: [booted(lab), lab.games.pause(C)], on("unpause")),
    ("Games.history", "without narrations"): (closed, on("history")),
    ("Games.history", "with narrations"): (told, on("history")),
    ("Games.narrate", "always"): (closed, on("narrate")),
    ("Games.narration", "always"): (told, on("narration", 1)),
    ("Games.fork", "always"): (closed, on("fork")),
    ("Games.rewind", "without a window"): (closed, on("rewind", 0)),
    ("Games.lock", "taken and given back"): (nothing, lambda lab, _: lock(lab)),
}


def nowhere(name: str, *arguments: Any, **more: Any) -> Callable[[Any], Any]:
    """Call an operation where no game is shown."""
    return lambda lab: getattr(lab.games, name)("nowhere", *arguments, **more)


def then(prepare: Callable[[Any], Any], name: str, *arguments: Any, **more: Any) -> Callable[[Any], Any]:
    """Prepare, and call an operation in the channel."""

    def call(lab: Any) -> Any:
        prepare(lab)
        return getattr(lab.games, name)(C, *arguments, **more)

    return call


def twice(name: str, one: tuple[Any, ...], other: tuple[Any, ...]) -> Callable[[Any], Any]:
    """Call an operation twice with one key."""

    def call(lab: Any) -> Any:
        booted(lab)
        getattr(lab.games, name)(*one, key="k")
        return getattr(lab.games, name)(*other, key="k")

    return call


def code_of(lab: Any, **more: Any) -> str:
    booted(lab)
    code: str = lab.games.invite(C, **more)
    return code


def run_out(lab: Any) -> Any:
    code = code_of(lab, ttl=SECOND)
    lab.clock.advance(SECOND)
    return lab.games.join_by_code(code, "cem", "Cem")


def used_up(lab: Any) -> Any:
    code = code_of(lab, uses=1)
    for user in ("cem", "dan"):
        lab.games.join_by_code(code, user, user)


def hundred_codes(lab: Any) -> Any:
    booted(lab)
    for _ in range(101):
        lab.games.invite(C)


def ended(lab: Any) -> Any:
    game = booted(lab)
    lab.games.exit(C)
    return lab.games.submit_choice(None, "ann", "Ann", "north", game_id=game.id)


def lost_claim(lab: Any) -> Any:
    closed(lab)
    claim = lab.games.narrate(C, ttl=SECOND)
    lab.clock.advance(SECOND)
    return lab.games.record_turn(C, 1, "Late.", token=claim.token)


def lost_key(lab: Any) -> Any:
    closed(lab)
    lab.games.narrate(C, ttl=SECOND, key="k")
    lab.clock.advance(SECOND)
    return lab.games.narrate(C, ttl=SECOND, key="k")


def waiting(lab: Any, what: str) -> Any:
    """Somebody waits for a window that another process takes away."""
    pressed(lab)
    inner = lab.engine._inner
    asked = inner.changed

    async def changed(*arguments: Any, **named: Any) -> Any:
        inner.changed = asked
        games = lab.under().games
        if what == "exit":
            games.exit(C)
        else:
            games.rewind(C, 0)
        return await asked(*arguments, **named)

    inner.changed = changed
    return lab.games.wait_for_countdown(C)


def full(lab: Any) -> Any:
    lab.games.boot(C, "Game", policy=sojourn.GamePolicy(max_players=1))
    for user in ("ann", "bob"):
        lab.games.join(C, user, user)


def shown_elsewhere(lab: Any) -> Any:
    game = booted(lab)
    return lab.games.swap("elsewhere", game_id=game.id)


def held(lab: Any) -> Any:
    with lab.games.lock(C), lab.games.lock(C):
        pass


RAISES: Final[dict[tuple[str, str], Callable[[Any], Any]]] = {
    ("Games.boot", "ConflictError"): then(booted, "boot", "Two"),
    ("Games.boot", "InvalidValueError"): nowhere("boot", ""),
    ("Games.boot", "KeyReusedError"): twice("boot", ("c2", "One"), ("c2", "Two")),
    ("Games.swap", "ConflictError"): shown_elsewhere,
    ("Games.swap", "NotFoundError"): then(booted, "swap", game_id="nobody"),
    ("Games.swap", "InvalidValueError"): then(booted, "swap"),
    ("Games.swap", "KeyReusedError"): twice("swap", (C, "Two"), (C, "Three")),
    ("Games.exit", "NotFoundError"): nowhere("exit"),
    ("Games.shelve", "NotFoundError"): nowhere("shelve"),
    ("Games.load", "NotFoundError"): nowhere("load"),
    ("Games.resume", "NotFoundError"): nowhere("resume"),
    ("Games.resume", "ConflictError"): lambda lab: [lab.games.boot("e", "Two"), lab.games.resume(booted(lab).id, "e")],
    ("Games.list", "InvalidValueError"): lambda lab: lab.games.list(state="asleep"),
    ("Games.list", "InvalidCursorError"): lambda lab: lab.games.list(after="x"),
    ("Games.update", "NotFoundError"): nowhere("update", {}),
    ("Games.update", "LimitError"): then(booted, "update", LARGE),
    ("Games.update", "InvalidValueError"): then(booted, "update", {"a": object()}),
    ("Games.join", "NotFoundError"): nowhere("join", "ann", "Ann"),
    ("Games.join", "GameFullError"): full,
    ("Games.join", "ConflictError"): then(booted, "join", "cem", "Cem", seat=1),
    ("Games.join", "InvalidValueError"): then(booted, "join", "cem", "Cem", role="king"),
    ("Games.leave", "NotFoundError"): nowhere("leave", "ann"),
    ("Games.kick", "NotFoundError"): nowhere("kick", "ann"),
    ("Games.kick", "ConflictError"): then(booted, "kick", "ann", by="bob"),
    ("Games.substitute", "NotFoundError"): then(booted, "substitute", "nobody", "cem"),
    ("Games.substitute", "ConflictError"): then(booted, "substitute", "ann", "bob"),
    ("Games.players", "NotFoundError"): nowhere("players"),
    ("Games.active_players", "NotFoundError"): nowhere("active_players"),
    ("Games.set_crown", "NotFoundError"): then(booted, "set_crown", "nobody"),
    ("Games.crown_holder_name", "NotFoundError"): nowhere("crown_holder_name"),
    ("Games.is_crown_holder", "NotFoundError"): nowhere("is_crown_holder", "ann"),
    ("Games.invite", "NotFoundError"): nowhere("invite"),
    ("Games.invite", "LimitError"): hundred_codes,
    ("Games.invite", "InvalidValueError"): then(booted, "invite", uses=0),
    ("Games.join_by_code", "NotFoundError"): lambda lab: lab.games.join_by_code("ABCDEFGH", "ann", "Ann"),
    ("Games.find_by_code", "NotFoundError"): lambda lab: lab.games.find_by_code("ABCDEFGH"),
    ("Games.join_by_code", "ExpiredError"): run_out,
    ("Games.join_by_code", "ConflictError"): used_up,
    ("Games.submit_choice", "NotFoundError"): nowhere("submit_choice", "ann", "Ann", "north"),
    ("Games.submit_choice", "EndedError"): ended,
    ("Games.submit_choice", "KeyReusedError"): twice("submit_choice", (C, "ann", "Ann", "a"), (C, "ann", "Ann", "b")),
    ("Games.submit_choice", "InvalidValueError"): then(booted, "submit_choice", "ann", "Ann", 7),
    ("Games.wait_for_countdown", "NotFoundError"): then(booted, "wait_for_countdown"),
    ("Games.wait_for_countdown", "EndedError"): lambda lab: waiting(lab, "exit"),
    ("Games.wait_for_countdown", "ConflictError"): lambda lab: waiting(lab, "rewind"),
    ("Games.open_window", "NotFoundError"): nowhere("open_window"),
    ("Games.open_window", "ConflictError"): then(booted, "open_window", by="ann"),
    ("Games.open_window", "InvalidValueError"): then(booted, "open_window", options="north"),
    ("Games.close", "NotFoundError"): nowhere("close"),
    ("Games.close", "ConflictError"): then(booted, "close"),
    ("Games.extend", "NotFoundError"): nowhere("extend", SECOND),
    ("Games.extend", "ConflictError"): then(booted, "extend", SECOND),
    ("Games.pause", "NotFoundError"): nowhere("pause"),
    ("Games.pause", "ConflictError"): then(booted, "pause", by="ann"),
    ("Games.unpause", "NotFoundError"): nowhere("unpause"),
    ("Games.unpause", "ConflictError"): then(booted, "unpause", by="ann"),
    ("Games.history", "NotFoundError"): nowhere("history"),
    ("Games.history", "InvalidValueError"): then(booted, "history", count=-1),
    ("Games.narrate", "NotFoundError"): then(booted, "narrate"),
    ("Games.narrate", "LeaseHeldError"): lambda lab: [closed(lab)] + [lab.games.narrate(C) for _ in range(2)],
    ("Games.narrate", "LeaseLostError"): lost_key,
    ("Games.narrate", "InvalidValueError"): then(closed, "narrate", ttl=timedelta()),
    ("Games.record_turn", "NotFoundError"): then(booted, "record_turn", 1, "x"),
    ("Games.record_turn", "ConflictError"): then(told, "record_turn", 1, "x"),
    ("Games.record_turn", "LeaseLostError"): lost_claim,
    ("Games.record_turn", "LimitError"): then(closed, "record_turn", 1, "x" * 1_000_001),
    ("Games.narration", "NotFoundError"): then(closed, "narration", 1),
    ("Games.save", "NotFoundError"): nowhere("save", "slot"),
    ("Games.fork", "NotFoundError"): then(booted, "fork", at_turn=3),
    ("Games.fork", "KeyReusedError"): lambda lab: [closed(lab), *(lab.games.fork(C, at_turn=turn, key="k") for turn in (0, 1))],
    ("Games.rewind", "NotFoundError"): then(booted, "rewind", 3),
    ("Games.lock", "LeaseHeldError"): held,
    ("Games.watch", "InvalidCursorError"): lambda lab: next(iter(lab.games.watch(C, after="x"))),
}
