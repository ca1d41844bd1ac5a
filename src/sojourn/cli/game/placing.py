"""Commands that say which game a channel shows, and what becomes of a game."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.game.shown import document, existing, identify, named, shown_in
from sojourn.cli.text import many
from sojourn.core.ids import tail
from sojourn.errors import NotFoundError
from sojourn.kinds.games.model import Game, GamePolicy


def policy_of(countdown: timedelta | None, close_when: str | None) -> GamePolicy | None:
    """The policy that the options say; None for the store's own."""
    given: dict[str, Any] = {}
    if countdown is not None:
        given["countdown"] = countdown or None
    if close_when is not None:
        given["close_when"] = close_when
    return GamePolicy(**given) if given else None


def boot(call: Call) -> None:
    """``game boot``."""
    given = call.arguments
    policy = policy_of(given.countdown, given.close_when)
    if call.dry_run:
        call.output.would(f"begin game {given.name} in channel {given.channel}")
        return
    made = call.store(create=True).games.boot(
        given.channel, given.name, game_id=given.id, title_screen_url=given.title_screen, policy=policy, key=given.key
    )
    _answer(call, made, f"Game {made.name} was begun in channel {given.channel}. Its id ends in {tail(made.id)}.")


def swap(call: Call) -> None:
    """``game swap``."""
    given = call.arguments
    if (given.name is None) == (given.game is None):
        raise UsageError("swap takes either NAME or --game ID.", hint="See: sojourn game swap --help")
    store = call.store(write=not call.dry_run)
    saved = None if given.game is None else identify(call, store, given.game)
    policy = policy_of(given.countdown, given.close_when)
    if call.dry_run:
        current = store.games.get(given.channel)
        away = "" if current is None else f"put {named(current)} on the shelf and "
        what = f"a new game {given.name}" if saved is None else named(store.games.load(saved))
        call.output.would(f"{away}show {what} in channel {given.channel}")
        return
    done = store.games.swap(given.channel, given.name, game_id=saved, policy=policy)
    text = f"Channel {given.channel} shows {named(done.game)}."
    if done.shelved is not None:
        text += f" On the shelf: {named(done.shelved)}; it comes back with: {call.command(_resume_of(done.shelved))}"
    call.output.answer(document(done), [done.game.id], text)


def shelve(call: Call) -> None:
    """``game shelve``."""
    store = call.store(write=not call.dry_run)
    game = shown_in(call, store, call.arguments.channel)
    if call.dry_run:
        call.output.would(f"put {named(game)} on the shelf")
        return
    done = store.games.shelve(call.arguments.channel)
    _answer(call, done, f"On the shelf: {named(done)}. It comes back with: {call.command(_resume_of(done))}")


def end(call: Call) -> None:
    """``game exit``."""
    store = call.store(write=not call.dry_run)
    game = shown_in(call, store, call.arguments.channel)
    if call.dry_run:
        call.output.would(f"end {named(game)}")
        return
    done = store.games.exit(call.arguments.channel)
    _answer(call, done, f"Ended {named(done)}. It can be reopened with: {call.command(_resume_of(done))}")


def resume(call: Call) -> None:
    """``game resume``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    identifier = identify(call, store, given.id)
    if call.dry_run:
        game = store.games.load(identifier)
        call.output.would(f"show {named(game)} in channel {given.channel or game.last_channel_id}")
        return
    done = store.games.resume(identifier, given.channel)
    _answer(call, done, f"Channel {done.channel_id} shows {named(done)}.")


def fork(call: Call) -> None:
    """``game fork``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    game = existing(call, store)
    if call.dry_run:
        call.output.would(f"fork {named(game)}")
        return
    made = store.games.fork(None, at_turn=given.at, name=given.name, game_id=game.id)
    text = f"Game {tail(made.id)} shares {many(made.turn, 'turn')} with {tail(game.id)}, and is on the shelf. "
    _answer(call, made, f"{text}To play it: {call.command(f'game swap {made.last_channel_id} --game {tail(made.id)}')}")


def rewind(call: Call) -> None:
    """``game rewind``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    game = existing(call, store)
    gone = game.turn - given.turn
    if gone < 0:
        raise NotFoundError(f"game {game.name} has no turn {given.turn} yet.", hint=f"It has closed {game.turn}.")
    what = f"rewind {named(game)} to turn {given.turn}: {many(gone, 'turn')} would be in its history no more"
    if call.dry_run:
        call.output.would(what)
        return
    call.output.confirm(f"{what[0].upper()}{what[1:]}. Do it?", yes=call.options.yes)
    done = store.games.rewind(None, given.turn, game_id=game.id)
    _answer(call, done, f"Game {done.name} goes on after turn {done.turn}.")


def delete(call: Call) -> None:
    """``game delete``."""
    store = call.store(write=not call.dry_run)
    game = store.games.load(identify(call, store, call.arguments.id))
    if call.dry_run:
        call.output.would(f"remove {named(game)}", ids=[game.id])
        return
    call.output.confirm(f"Remove {named(game)} for good?", yes=call.options.yes)
    removed = store.games.delete(game.id)
    call.output.answer({"removed": removed, "id": game.id}, [game.id], f"Removed {named(game)}.")


def _resume_of(game: Game) -> str:
    return f"game resume {tail(game.id)}"


def _answer(call: Call, game: Game, text: str) -> None:
    call.output.answer(document(game), [game.id], text)
