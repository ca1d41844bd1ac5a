"""Commands that lead a game: windows, narrations, the crown."""

from __future__ import annotations

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.game.shown import document, existing, named, turn_lines, where, window_line
from sojourn.cli.output import standard_text
from sojourn.cli.text import many
from sojourn.errors import NotFoundError
from sojourn.kinds.games.model import Turn
from sojourn.sync.store import Store


def open_window(call: Call) -> None:
    """``game open``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    channel, game_id = where(call, store)
    if call.dry_run:
        call.output.would(f"open a window of {named(existing(call, store))}")
        return
    window = store.games.open_window(channel, options=given.option, default=given.default, by=given.by, game_id=game_id)
    call.output.answer(document(window), [], f"Open: {window_line(window)}.")


def close(call: Call) -> None:
    """``game close``."""
    store = call.store(write=not call.dry_run)
    channel, game_id = where(call, store)
    if call.dry_run:
        call.output.would(f"close the window of {named(existing(call, store))}")
        return
    turn = store.games.close(channel, by=call.arguments.by, game_id=game_id)
    game = existing(call, store)
    call.output.answer(document(turn), [], lambda: turn_lines(call.output, turn, game))


def extend(call: Call) -> None:
    """``game extend``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    channel, game_id = where(call, store)
    if call.dry_run:
        call.output.would(f"make the window of {named(existing(call, store))} {given.duration} longer")
        return
    window = store.games.extend(channel, given.duration, by=given.by, game_id=game_id)
    call.output.answer(document(window), [], f"Longer: {window_line(window)}.")


def pause(call: Call) -> None:
    """``game pause``."""
    _stand(call, still=True)


def unpause(call: Call) -> None:
    """``game unpause``."""
    _stand(call, still=False)


def _stand(call: Call, *, still: bool) -> None:
    store = call.store(write=not call.dry_run)
    channel, game_id = where(call, store)
    if call.dry_run:
        call.output.would(f"let {named(existing(call, store))} {'stand still' if still else 'go on'}")
        return
    act = store.games.pause if still else store.games.unpause
    game = act(channel, by=call.arguments.by, game_id=game_id)
    text = f"Game {game.name} {'stands still' if still else 'goes on'}"
    window = "" if game.window is None else f": {window_line(game.window)}"
    call.output.answer(document(game), [game.id], f"{text}{window}.")


def narrate(call: Call) -> None:
    """``game narrate``."""
    given = call.arguments
    words = list(given.words)
    given.channel = None if given.game is not None or not words else words.pop(0)
    if len(words) > 1:
        raise UsageError("the narration is one word for the shell: put it in quotation marks.")
    store = call.store(write=bool(words) and not call.dry_run)
    game = existing(call, store)
    if not words or call.dry_run:
        turn = _untold(store, game.id)
        if words:
            call.output.would(f"narrate turn {turn.number} of {named(game)}")
        else:
            call.output.answer(document(turn), [], lambda: turn_lines(call.output, turn, game))
        return
    text = standard_text() if words[0] == "-" else words[0]
    claim = store.games.narrate(None, game_id=game.id, holder="sojourn game narrate")
    turn = store.games.record_turn(None, claim.turn.number, text, token=claim.token, game_id=game.id)
    note = f"Turn {turn.number} is narrated ({many(len(text), 'character')})."
    call.output.answer(document(turn), [], note)


def _untold(store: Store, game_id: str) -> Turn:
    """The oldest turn that nobody has narrated, as far as the history goes back."""
    found: Turn | None = None
    before: int | None = None
    while True:
        turns = store.games.history(None, count=50, before=before, game_id=game_id)
        untold = [turn for turn in turns if turn.state != "resolved"]
        found = untold[0] if untold else found
        if len(untold) < len(turns) or not turns:
            break
        before = turns[0].number
    if found is None:
        raise NotFoundError("every closed turn is narrated.", hint="There is one to narrate when the next window closes.")
    return found


def crown(call: Call) -> None:
    """``game crown``."""
    given = call.arguments
    if given.user is not None and given.nobody:
        raise UsageError("crown takes USER or --nobody, not both.", hint="See: sojourn game crown --help")
    if given.game is not None and given.channel is not None and given.user is None:
        given.user, given.channel = given.channel, None  # argparse has taken the user for the channel
    changes = given.user is not None or given.nobody
    store = call.store(write=changes and not call.dry_run)
    channel, game_id = where(call, store)
    if changes and call.dry_run:
        call.output.would(f"give the crown of {named(existing(call, store))} to {given.user or 'nobody'}")
        return
    if changes:
        store.games.set_crown(channel, given.user, game_id=game_id)
    game = existing(call, store)
    name = store.games.crown_holder_name(channel, game_id=game_id)
    text = f"{name} wears the crown." if game.crown_holder is not None else f"Nobody wears the crown: {name} leads the game."
    call.output.answer({"crown_holder": game.crown_holder, "name": name}, [], text)
