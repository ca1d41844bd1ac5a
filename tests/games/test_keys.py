"""Every operation that changes something may be asked again under its key: it gives the first answer and does nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest

from sojourn import AsyncGames, Game, KeyReusedError
from tests.games.checking import shown
from tests.games.conftest import HERE, Table

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

Operation = Callable[[AsyncGames], Awaitable[Any]]

AGAIN: Final[dict[str, Operation]] = {
    "boot": lambda g: g.boot("c2", "Two", game_id="mine", key="k"),
    "swap": lambda g: g.swap(HERE, "Two", key="k"),
    "exit": lambda g: g.exit(HERE, key="k"),
    "shelve": lambda g: g.shelve(HERE, key="k"),
    "update": lambda g: g.update(HERE, {"a": 1}, key="k"),
    "delete": lambda g: g.delete("own", key="k"),
    "join": lambda g: g.join(HERE, "zoe", "Zoe", key="k"),
    "leave": lambda g: g.leave(HERE, "bob", key="k"),
    "kick": lambda g: g.kick(HERE, "bob", key="k"),
    "substitute": lambda g: g.substitute(HERE, "bob", "zoe", "Zoe", key="k"),
    "set_crown": lambda g: g.set_crown(HERE, "bob", key="k"),
    "submit_choice": lambda g: g.submit_choice(HERE, "bob", "Bob", "x", key="k"),
    "open_window": lambda g: g.open_window(HERE, options=["x"], key="k"),
    "close": lambda g: g.close(HERE, key="k"),
    "extend": lambda g: g.extend(HERE, timedelta(seconds=1), key="k"),
    "pause": lambda g: g.pause(HERE, key="k"),
    "unpause": lambda g: g.unpause(HERE, key="k"),
    "narrate": lambda g: g.narrate(HERE, key="k"),
    "record_turn": lambda g: g.record_turn(HERE, 1, "Told.", key="k"),
    "save": lambda g: g.save(HERE, "slot", key="k"),
    "fork": lambda g: g.fork(HERE, at_turn=1, key="k"),
    "rewind": lambda g: g.rewind(HERE, 0, key="k"),
}

OTHER: Final[dict[str, Operation]] = {
    "boot": lambda g: g.boot("c2", "Three", key="k"),
    "swap": lambda g: g.swap(HERE, "Three", key="k"),
    "leave": lambda g: g.leave(HERE, "ann", key="k"),
    "set_crown": lambda g: g.set_crown(HERE, "ann", key="k"),
    "submit_choice": lambda g: g.submit_choice(HERE, "bob", "Bob", "y", key="k"),
    "extend": lambda g: g.extend(HERE, timedelta(seconds=2), key="k"),
    "save": lambda g: g.save(HERE, "another", key="k"),
    "rewind": lambda g: g.rewind(HERE, 1, key="k"),
}


async def ready(lab: Lab) -> Table:
    table = Table(lab)
    await table.games.boot(HERE, "One", game_id="own")
    for person in ("ann", "bob"):
        await table.games.join(HERE, person, person.title())
    await table.play("ann")
    await table.press("ann")
    return table


async def state(table: Table) -> list[Game]:
    """Everything there is, but for what only asking has moved."""
    return sorted((await table.games.list()).items, key=lambda game: game.id)


@pytest.mark.parametrize("name", AGAIN)
async def test_asking_again_does_nothing(lab: Lab, name: str) -> None:
    table = await ready(lab)
    first = await AGAIN[name](table.games)
    before = await state(table)
    again = await AGAIN[name](table.games)
    assert await state(table) == before
    if name == "submit_choice":
        assert (again.status, again.turn) == ("duplicate", first.turn)
    elif name == "swap":
        assert (again.game.id, again.shelved.id) == (first.game.id, first.shelved.id)
    else:
        assert again == first


@pytest.mark.parametrize("name", OTHER)
async def test_a_key_is_for_one_request(lab: Lab, name: str) -> None:
    table = await ready(lab)
    await AGAIN[name](table.games)
    before = await state(table)
    with pytest.raises(KeyReusedError):
        await OTHER[name](table.games)
    assert await state(table) == before


async def test_a_close_asked_again_closes_no_second_window(lab: Lab) -> None:
    table = await ready(lab)
    first = await table.games.close(HERE, key="k")
    await table.press("ann")
    assert await table.games.close(HERE, key="k") == first
    assert (await shown(table.games, HERE)).turn == 2


async def test_a_pause_asked_again_does_not_pause_anew(lab: Lab) -> None:
    table = await ready(lab)
    await table.games.pause(HERE, key="k")
    await table.games.unpause(HERE)
    assert (await table.games.pause(HERE, key="k")).state == "active"


async def test_a_code_asked_for_again_replaces_the_one_that_was_lost(lab: Lab) -> None:
    table = await ready(lab)
    lost = await table.games.invite(HERE, uses=1, key="k")
    code = await table.games.invite(HERE, uses=1, key="k")
    from sojourn import NotFoundError

    with pytest.raises(NotFoundError):
        await table.games.join_by_code(lost, "zoe", "Zoe")
    first = await table.games.join_by_code(code, "zoe", "Zoe", key="j")
    assert await table.games.join_by_code(code, "zoe", "Zoe", key="j") == first


async def test_a_resume_asked_again(lab: Lab) -> None:
    table = await ready(lab)
    game = await table.games.exit(HERE)
    await table.games.resume(game.id, key="k")
    await table.games.shelve(HERE)
    assert (await table.games.resume(game.id, key="k")).state == "lobby"


async def test_a_resume_that_had_nothing_to_do_does_nothing_later(lab: Lab) -> None:
    table = await ready(lab)
    game = await table.games.resume("own", key="k")
    await table.games.shelve(HERE)
    assert (await table.games.resume("own", key="k")).state == "lobby"
    assert (await table.games.load(game.id)).channel_id is None


async def test_a_swap_asked_again_after_many_others_gives_its_own_games(lab: Lab) -> None:
    table = await ready(lab)
    first = await table.games.swap(HERE, "Two", key="k")
    for number in range(8):
        await table.games.swap(HERE, f"Game {number}")
    again = await table.games.swap(HERE, "Two", key="k")
    assert first.shelved is not None
    assert again.shelved is not None
    assert (again.game.id, again.shelved.id) == (first.game.id, first.shelved.id)


async def test_a_swap_between_homes_asked_again_gives_its_own_games(lab: Lab) -> None:
    table = await ready(lab)
    one = await table.games.shelve(HERE)
    await table.games.resume(one.id, "elsewhere")
    first = await table.games.swap("elsewhere", "Two", key="k")
    assert first.shelved is not None
    for number in range(8):
        await table.games.swap("elsewhere", f"Game {number}")
    again = await table.games.swap("elsewhere", "Two", key="k")
    assert again.shelved is not None
    assert (again.game.id, again.shelved.id) == (first.game.id, one.id)
