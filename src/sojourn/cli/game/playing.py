"""Commands of players: join, leave, choose."""

from __future__ import annotations

from typing import Final

from sojourn.cli.call import Call
from sojourn.cli.exits import CONFLICT, UsageError
from sojourn.cli.game.shown import document, existing, named, where
from sojourn.kinds.games.model import Submitted

TAKEN: Final = ("accepted", "replaced", "duplicate", "carried")

_ANSWERS: Final = {
    "accepted": "Chosen for turn {turn}.",
    "replaced": "Changed, for turn {turn}.",
    "duplicate": "This press was taken before, for turn {turn}.",
    "carried": "The turn that was meant is over: it counts in turn {turn}.",
    "locked": "Not taken: the first choice counts in this game, and there is one for turn {turn}.",
    "late": "Not taken: the turn that was meant is over, or no window is open. Next is turn {turn}.",
    "paused": "Not taken: the game stands still. It goes on with: sojourn game unpause",
    "not_seated": "Not taken: this user has no player's seat, and the game is full or takes only who has joined.",
    "invalid": "Not taken: this is no choice of turn {turn}: it is empty, too long, or not offered.",
    "rate_limited": "Not taken: too soon after the last press.",
}


def said(answer: Submitted) -> str:
    """An answer to a press as a sentence."""
    text = _ANSWERS[answer.status].format(turn=answer.turn)
    left = answer.remaining
    if answer.status in TAKEN and answer.status != "duplicate" and left is not None:
        text += f" {max(0.0, left.total_seconds()):.0f} s left."
    return text


def choose(call: Call) -> int | None:
    """``game choose``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    channel, game_id = where(call, store)
    if call.dry_run:
        call.output.would(f"choose {given.choice!r} for {given.user} in {named(existing(call, store))}")
        return None
    name = given.name
    if name is None:
        known = existing(call, store).players.get(given.user)
        name = given.user if known is None else known.user_name
    answer = store.games.submit_choice(
        channel, given.user, name, given.choice, key=given.key, expect_turn=given.turn, game_id=game_id
    )
    text = said(answer)
    if answer.status == "invalid" and given.turn is not None and given.turn > answer.turn:
        text = f"Not taken: turn {given.turn} is yet to come. This is turn {answer.turn}."
    call.output.answer(document(answer), [], text)
    return None if answer.status in TAKEN else CONFLICT


def join(call: Call) -> None:
    """``game join``."""
    given = call.arguments
    # With --code or --game, argparse has taken the user for the channel.
    words = [*([] if given.channel is None else [given.channel]), *given.who]
    by_code, by_id = given.code is not None, given.game is not None
    if by_code and by_id:
        raise UsageError("--code and --game exclude each other.", hint="See: sojourn game join --help")
    channel = None if by_code or by_id else words.pop(0)
    if not 1 <= len(words) <= 2:
        hint = "A name of several words goes in quotation marks. See: sojourn game join --help"
        raise UsageError("join needs CHANNEL (or --game, or --code), USER and perhaps NAME.", hint=hint)
    user, name = words[0], words[-1]
    given.channel = channel
    store = call.store(write=not call.dry_run)
    if call.dry_run:
        where_to = "the game of the code" if by_code else named(existing(call, store))
        call.output.would(f"let {user} join {where_to} as {given.role}")
        return
    if by_code:
        player = store.games.join_by_code(given.code, user, name, role=given.role, seat=given.seat)
    else:
        channel, game_id = where(call, store)
        player = store.games.join(channel, user, name, role=given.role, seat=given.seat, game_id=game_id)
    place = f"on seat {player.seat}" if player.seat is not None else f"as {player.role}"
    call.output.answer(document(player), [], f"{player.user_name} is in the game, {place}.")


def leave(call: Call) -> None:
    """``game leave``."""
    user = call.arguments.user
    store = call.store(write=not call.dry_run)
    channel, game_id = where(call, store)
    if call.dry_run:
        call.output.would(f"take {user} out of {named(existing(call, store))}")
        return
    left = store.games.leave(channel, user, game_id=game_id)
    text = f"{user} has left the game." if left else f"{user} was not in the game."
    call.output.answer({"left": left, "user_id": user}, [], text)


def invite(call: Call) -> None:
    """``game invite``."""
    given = call.arguments
    store = call.store(write=not call.dry_run)
    channel, game_id = where(call, store)
    if call.dry_run:
        call.output.would(f"make a join code for {named(existing(call, store))}")
        return
    code = store.games.invite(channel, uses=given.uses, ttl=given.ttl, game_id=game_id)
    call.output.answer({"code": code}, [code], code)
    if call.output.human:
        call.output.note(f"It is shown this once. To join with it: {call.command(f'game join --code {code} USER')}")
