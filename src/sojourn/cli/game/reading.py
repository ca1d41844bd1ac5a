"""Commands that look at games."""

from __future__ import annotations

from sojourn.cli.call import Call
from sojourn.cli.game.shown import KIND, document, existing, heading, state_of, turn_lines, where
from sojourn.cli.output import Listing
from sojourn.cli.text import ago, one_line
from sojourn.core.ids import tail
from sojourn.kinds.games.model import Game

_PAGE = 200


def list_games(call: Call) -> None:
    """``game list``."""
    given = call.arguments
    store = call.store_if_any("game boot CHANNEL NAME")
    items: list[Game] = []
    cursor = None
    if store is not None:
        games = store.games
        items, cursor = call.pages(
            lambda limit, after: games.list(
                channel_id=given.channel, state=given.state, name=given.name, order=given.order, limit=limit, after=after
            )
        )
        if not items:
            call.output.note(f"No games here. To begin one: {call.command('game boot CHANNEL NAME')}")
    now = call.now
    rows = [
        [
            tail(game.id),
            game.name,
            game.channel_id or game.last_channel_id,
            state_of(game),
            f"{game.turn:,}",
            f"{len(game.players):,}",
            ago(game.last_activity_at, now),
        ]
        for game in items
    ]
    columns = ["ID", "NAME", "CHANNEL", "STATE", "TURNS", "PLAYERS", "LAST PLAYED"]
    numbers = frozenset({"TURNS", "PLAYERS"})
    ids = [game.id for game in items]
    call.output.listing(Listing([document(game) for game in items], columns, rows, ids, cursor, paged=True, numbers=numbers))
    call.more(cursor)
    for game in items:
        if game.damaged and call.output.human:
            call.output.remark(f"{KIND} {tail(game.id)} is damaged: {game.damaged}")


def show(call: Call) -> None:
    """``game show``."""
    store, output = call.store(), call.output
    game = existing(call, store)
    people = store.games.players(None, game_id=game.id)
    now = call.now

    def human() -> None:
        heading(call, game)
        if not people:
            output.write("\nNobody has joined yet.\n")
            return
        output.write("\n")
        rows = [
            [
                "" if player.seat is None else str(player.seat),
                player.user_name + (" *" if player.user_id == game.crown_holder else ""),
                player.user_id,
                player.role if player.role != "player" else "",
                tier,
                ago(player.last_active_at, now),
                str(player.consecutive_skips or ""),
            ]
            for player, tier in people
        ]
        columns = ["SEAT", "NAME", "USER", "", "TIER", "LAST ACTIVE", "SKIPS"]
        output.listing(Listing([], columns, rows, [], numbers=frozenset({"SEAT", "SKIPS"})))

    tiers = {player.user_id: tier for player, tier in people}
    output.answer({**document(game), "tiers": tiers}, [game.id], human)


def history(call: Call) -> None:
    """``game history``."""
    given, output = call.arguments, call.output
    store = call.store()
    channel, game_id = where(call, store)
    game = existing(call, store)
    turns = store.games.history(channel, count=given.count, before=given.before, game_id=game_id)
    if not turns:
        output.note(f"No turn of game {one_line(game.name)} is closed yet." if given.before is None else "No turn before it.")
    if output.mode == "jsonl":
        for turn in turns:
            output.item(document(turn))
        return

    def human() -> None:
        for turn in turns:
            turn_lines(output, turn, game)

    output.answer({"id": game.id, "turns": [document(turn) for turn in turns]}, [game.id], human)
