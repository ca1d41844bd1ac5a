"""The lobby: pages, filters, damage; join codes; deletion."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import AsyncGames, ConflictError, ExpiredError, InvalidCursorError, InvalidValueError, NotFoundError
from tests.games.checking import shown
from tests.games.conftest import HERE, Table

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def pages(games: AsyncGames, **wanted: Any) -> list[list[str]]:
    found: list[list[str]] = []
    after: str | None = None
    while True:
        page = await games.list(after=after, **wanted)
        found.append([game.name for game in page])
        after = page.next
        if after is None:
            return found


async def test_pages_by_activity_and_by_name(lab: Lab) -> None:
    table = Table(lab)
    for number in (3, 1, 4, 2, 5):
        await table.games.boot(f"c{number}", f"Game {number}")
        table.later(minutes=2)
    assert await pages(table.games, limit=2) == [["Game 5", "Game 2"], ["Game 4", "Game 1"], ["Game 3"]]
    assert await pages(table.games, limit=2, order="name") == [["Game 1", "Game 2"], ["Game 3", "Game 4"], ["Game 5"]]
    await table.press("ann", channel="c3")
    assert (await pages(table.games))[0][0] == "Game 3"


async def test_games_that_were_closed_as_sessions_are_ended_ones(lab: Lab) -> None:
    """Shown, shelved or exited before: all are found, once each, page by page."""
    table = Table(lab)
    for number in range(6):
        game = await table.games.boot(f"c{number}", f"Game {number}")
        if number in (1, 4):
            await table.games.shelve(f"c{number}")
        if number in (2, 5):
            await table.games.exit(f"c{number}")
        if number in (0, 1, 4, 5):
            await lab.store.sessions.end(game.id)
        table.later(minutes=2)
    ended = [["Game 5", "Game 4"], ["Game 2", "Game 1"], ["Game 0"]]
    assert await pages(table.games, state="ended", limit=2) == ended
    assert await pages(table.games, state="ended", order="name") == [[f"Game {number}" for number in (0, 1, 2, 4, 5)]]
    assert await pages(table.games, state="ended", channel_id="c1") == [["Game 1"]]
    assert await pages(table.games, state="lobby") == [[]]
    assert await pages(table.games, state="active") == [["Game 3"]]


async def test_filters(lab: Lab) -> None:
    table = Table(lab)
    one = await table.games.boot("a", "One")
    await table.games.swap("a", "Two")
    await table.games.boot("b", "ONE")
    await table.games.pause("b")
    await table.games.boot("c", "Three")
    await table.games.exit("c")

    async def names(**wanted: Any) -> list[str]:
        return sorted(name for page in await pages(table.games, **wanted) for name in page)

    assert await names() == ["ONE", "One", "Three", "Two"]
    assert await names(channel_id="a") == ["One", "Two"]
    assert [await names(state=state) for state in ("lobby", "active", "paused", "ended")] == [
        ["One"], ["Two"], ["ONE"], ["Three"]
    ]  # fmt: skip
    assert await names(channel_id="a", state="lobby") == ["One"]
    assert await names(channel_id="b", state="lobby") == []
    assert await names(name=" one ") == ["ONE", "One"]
    assert await names(name="one", state="paused") == ["ONE"]
    assert await names(name="one", channel_id="a") == ["One"]
    assert await names(name="on") == []
    await table.games.unpause("b")
    assert await names(state="active") == ["ONE", "Two"]
    await table.games.resume(one.id, "d")
    assert (await names(channel_id="a"), await names(channel_id="d")) == (["Two"], ["One"])


@pytest.mark.parametrize(
    "wrong", [{"state": "asleep"}, {"order": "size"}, {"limit": 0}, {"after": "nonsense"}, {"order": "name", "after": "x"}]
)
async def test_what_cannot_be_listed(lab: Lab, wrong: dict[str, Any]) -> None:
    with pytest.raises((InvalidValueError, InvalidCursorError)):
        await Table(lab).games.list(**wrong)


DAMAGES = ("{}", "[1]", '{"v": 99}', '{"v": 1, "name": 3}', "not json", '{"v": 1, "policy": {"countdown": "x"}}')


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_record_hides_no_other(disk_lab: Lab, damage: str) -> None:
    table = Table(disk_lab)
    for number in range(3):
        await table.games.boot(f"c{number}", f"Game {number}")
    hurt = await shown(table.games, "c1")
    await table.store.close()
    with sqlite3.connect(disk_lab.path) as connection:
        number = connection.execute("select n from sojourn_session where id = ?", (hurt.id,)).fetchone()[0]
        assert connection.execute("update sojourn_data set data = ? where n = ?", (damage, number)).rowcount == 1
    connection.close()
    games = disk_lab.open().games
    for order in ("activity", "name"):
        listed = {game.id: game for page in [await games.list(order=order)] for game in page}
        assert len(listed) == 3
        assert listed[hurt.id].damaged
        assert sorted(game.name for game in listed.values() if not game.damaged) == ["Game 0", "Game 2"]
    assert await games.delete((await shown(games, "c0")).id)


async def test_join_codes(lab: Lab) -> None:
    table = Table(lab)
    game = await table.boot()
    code = await table.games.invite(HERE, uses=2)
    assert len(code) == 8
    assert (await table.games.join_by_code(code.lower(), "ann", "Ann")).seat == 1
    assert (await table.games.join_by_code(code, "ann", "Ann")).seat == 1
    assert (await table.games.join_by_code(code, "bob", "Bob")).seat == 2
    with pytest.raises(ConflictError, match="used up"):
        await table.games.join_by_code(code, "cem", "Cem")
    short = await table.games.invite(HERE, ttl=timedelta(minutes=1))
    table.later(minutes=1)
    with pytest.raises(ExpiredError):
        await table.games.join_by_code(short, "cem", "Cem")
    with pytest.raises(NotFoundError):
        await table.games.join_by_code("ZZZZZZZZ", "cem", "Cem")
    stored = repr(await table.row(game.id)) + "".join([line async for line in table.store.export()])
    assert code not in stored


async def test_a_code_leads_to_its_game_and_takes_no_use(lab: Lab) -> None:
    table = Table(lab)
    game = await table.boot()
    code = await table.games.invite(HERE, uses=1, ttl=timedelta(minutes=1))
    for given in (code, code.lower()):
        found = await table.games.find_by_code(given)
        assert (found.id, found.players) == (game.id, {})
    await table.games.join_by_code(code, "ann", "Ann")
    assert set((await table.games.find_by_code(code)).players) == {"ann"}, "who is in it looks on with a code that is used up"
    with pytest.raises(NotFoundError):
        await table.games.find_by_code("ZZZZZZZZ")
    await table.games.delete(game.id)
    with pytest.raises(NotFoundError):
        await table.games.find_by_code(code)


async def test_the_last_use_of_a_code_is_given_once(lab: Lab) -> None:
    table = Table(lab)
    await table.boot()
    code = await table.games.invite(HERE, uses=1)
    outcomes = await lab.outcomes(*[lambda n=n: table.games.join_by_code(code, n, str(n)) for n in range(6)])
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 5


async def test_deleting_leaves_nothing(disk_lab: Lab) -> None:
    table = Table(disk_lab)
    game = await table.games.boot(HERE, "Nevermore", game_id="mine")
    await table.press("ann", "quoth the raven")
    await table.games.close(HERE)
    claim = await table.games.narrate(HERE)
    await table.games.record_turn(HERE, 1, "nothing more", token=claim.token)
    code = await table.games.invite(HERE)
    assert await table.games.delete("mine")
    assert not await table.games.delete(game.id)
    assert await table.games.get(HERE) is None
    assert len(await table.games.list()) == 0
    for lost in (lambda: table.games.load("mine"), lambda: table.games.join_by_code(code, "ann", "Ann")):
        with pytest.raises(NotFoundError):
            await lost()
    table.later(days=8)
    while (await table.store.sweep()).total:
        pass
    disk = disk_lab.on_disk()
    for trace in (b"quoth", b"nothing more", b"Nevermore", b"narration/"):
        assert trace not in disk


async def test_texts_for_a_chat(lab: Lab) -> None:
    table = Table(lab)
    await table.games.boot(HERE, "The Sunken Library", title_screen_url="https://example.org/t.png")
    await table.press("ann", "go\nnorth")
    turn = await table.games.close(HERE)
    game = await shown(table.games, HERE)
    assert table.games.format_choices(turn, game) == "Ann: go north"
    assert table.games.format_choices(turn) == "ann: go north"
    banner = table.games.format_banner(game)
    assert banner.splitlines()[:2] == ["https://example.org/t.png", "The Sunken Library"]
    assert game.id in banner


async def test_what_is_kept_of_join_codes_is_not_shown(lab: Lab) -> None:
    table = Table(lab)
    game = await table.boot("ann")
    await table.games.invite(HERE)
    shown = await lab.store.sessions.get(game.id)
    assert shown is not None
    assert "invites" not in shown.data
