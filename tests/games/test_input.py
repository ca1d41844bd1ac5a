"""Bad and unusual input: what cannot be is refused in words, what can be comes back as it was."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sojourn
from sojourn import GamePolicy, InvalidValueError, NotFoundError
from tests.games.checking import shown, window_of
from tests.games.conftest import HERE, Table

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

NAMES = ["Zoë 🐙🎲", "אבגד", "علاء الدين", "山田太郎", "a\u202eb", "  many   blanks  ", "x" * 100]


async def test_names_of_every_script(lab: Lab) -> None:
    table = Table(lab)
    await table.boot(max_players=None)
    for number, name in enumerate(NAMES):
        await table.games.join(HERE, number, name)
        await table.games.submit_choice(HERE, number, name, name)
    turn = await table.games.close(HERE)
    assert list(turn.choices.values()) == NAMES
    game = await shown(table.games, HERE)
    assert [player.user_name for player in game.players.values()] == [" ".join(name.split()) for name in NAMES]
    assert list(game.players) == [str(number) for number in range(len(NAMES))]
    assert len(table.games.format_choices(turn, game).splitlines()) == len(NAMES)


@pytest.mark.parametrize("choice", ["", "   ", "a\0b", "\ud800", "x" * 2_001, "x" * 10_000_000])
async def test_what_no_window_can_take_is_invalid(lab: Lab, choice: str) -> None:
    table = Table(lab)
    await table.boot("ann")
    answer = await table.press("ann", choice)
    assert (answer.status, answer.turn) == ("invalid", 1)
    game = await shown(table.games, HERE)
    assert game.window is None
    assert (await table.press("ann", "x" * 2_000)).status == "accepted"


async def test_options_that_are_not_offered(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.games.open_window(HERE, options=["north", "south"])
    for choice in ("East", "north ", "NORTH", "north\n"):
        assert (await table.press("ann", choice)).status == "invalid"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda g: g.boot("", "x"), lambda g: g.boot("c", ""), lambda g: g.boot("c", "x" * 129), lambda g: g.boot("c", 3),
        lambda g: g.join(HERE, "", "x"), lambda g: g.join(HERE, "a", None), lambda g: g.join(HERE, "a", "x", role="king"),
        lambda g: g.join(HERE, "a", "x", seat=0), lambda g: g.join(HERE, "a", "x", role="gm", seat=1),
        lambda g: g.join(None, "a", "x"), lambda g: g.submit_choice(HERE, "a", "x", 3),
        lambda g: g.submit_choice(HERE, "a\n", "x", "y"), lambda g: g.submit_choice(HERE, "a", "x", "y", expect_turn=0),
        lambda g: g.submit_choice(HERE, "a", "x", "y", key=""), lambda g: g.open_window(HERE, options="north"),
        lambda g: g.open_window(HERE, options=[]), lambda g: g.open_window(HERE, options=["a", "a"]),
        lambda g: g.open_window(HERE, options=["a"], default="b"), lambda g: g.open_window(HERE, options=[" "]),
        lambda g: g.history(HERE, count=-1), lambda g: g.history(HERE, before=0), lambda g: g.record_turn(HERE, 0, "x"),
        lambda g: g.record_turn(HERE, 1, "x", token="t"), lambda g: g.narrate(HERE, ttl=timedelta(0)),
        lambda g: g.invite(HERE, uses=0), lambda g: g.update(HERE, {"a": object()}), lambda g: g.update(HERE, {1: 2}),
        lambda g: g.save(HERE, ""), lambda g: g.extend(HERE, 5),
    ],
)  # fmt: skip
async def test_what_means_nothing_is_refused(lab: Lab, wrong: Callable[[Any], Awaitable[object]]) -> None:
    table = Table(lab)
    await table.boot("ann")
    await table.play("ann")
    before = await table.games.get(HERE)
    with pytest.raises(InvalidValueError) as caught:
        await wrong(table.games)
    assert len(str(caught.value)) < 600
    assert await table.games.get(HERE) == before


async def test_unknown_players_channels_and_games(lab: Lab) -> None:
    table = Table(lab)
    await table.boot("ann")
    for operation in (
        lambda: table.games.set_crown(HERE, "zoe"), lambda: table.games.substitute(HERE, "zoe", "yan"),
        lambda: table.games.join("nowhere", "ann", "Ann"), lambda: table.games.load("nobody"),
        lambda: table.games.load("0" * 26), lambda: table.games.resume("nobody"), lambda: table.games.exit("nowhere"),
        lambda: table.press("ann", channel="nowhere"), lambda: table.games.players("nowhere"),
        lambda: table.games.record_turn(HERE, 1, "x"),
    ):  # fmt: skip
        with pytest.raises(NotFoundError):
            await operation()
    assert not await table.games.kick(HERE, "zoe")
    assert not await table.games.is_crown_holder(HERE, "zoe")
    assert not await table.games.delete("nobody")
    assert await table.games.get("nowhere") is None


@pytest.mark.slow
async def test_ten_thousand_players(memory_lab: Lab) -> None:
    """A roster of ten thousand is read, pressed in and closed."""
    table = Table(memory_lab)
    game = await table.boot(max_players=None, close_when="all")
    from sojourn.core.batch import Batch, Write
    from sojourn.kinds.games import roster
    from sojourn.kinds.games.record import view_of

    inner = getattr(table.store, "_inner", table.store)
    aio = getattr(inner, "_aio", inner)
    view = view_of(await table.row(game.id), 0)
    kept = dict(roster.arrival(view, roster.Joining("x", "x"))[0][1])
    players = {f"p{number}": {**kept, "n": number, "seat": number + 1} for number in range(10_000)}
    put = ((("players",), players), (("people",), 10_000))
    assert (await aio._engine.commit(Batch("default", HERE, (Write(game.id, set=put),)))).refusal is None
    for number in range(50):
        assert (await table.press(f"p{number}")).status == "accepted"
    assert (await table.press("one more")).status == "accepted"
    window = window_of(await table.games.get(HERE))
    assert (window.choices_made, len(window.expected)) == (51, 10_000)
    turn = await table.games.close(HERE)
    assert len(turn.choices) == 51
    await table.games.record_turn(HERE, 1, "A crowd.")
    skips = [player.consecutive_skips for player, _ in await table.games.players(HERE)]
    assert (len(skips), sum(skips)) == (10_001, 9_950)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    people=st.lists(st.tuples(st.text(min_size=1, max_size=20), st.text(max_size=40), st.text(max_size=60)), max_size=6),
    name=st.text(max_size=140),
)
def test_any_text_is_stored_as_it_is_or_refused(people: list[tuple[str, str, str]], name: str) -> None:
    """No input makes anything but an answer, or an error that says what is wrong."""
    with sojourn.open("memory:") as store:
        games = store.games
        try:
            game = games.boot(HERE, name)
        except InvalidValueError:
            game = games.boot(HERE, "Game")
        chosen = {}
        for user, shown, choice in people:
            try:
                answer = games.submit_choice(HERE, user, shown, choice)
            except InvalidValueError:
                continue
            if answer.status in ("accepted", "replaced"):
                chosen[user] = choice
        if chosen:
            assert games.close(HERE).choices == chosen
        assert games.load(game.id).players.keys() == chosen.keys()


def test_a_store_takes_a_policy_for_its_games() -> None:
    with sojourn.open("memory:", games=GamePolicy(countdown=timedelta(seconds=3))) as store:
        store.games.boot(HERE, "x")
        assert store.games.submit_choice(HERE, "ann", "Ann", "y").remaining == timedelta(seconds=3)
    wrong: Any = {"countdown": 3}
    with pytest.raises(InvalidValueError, match="GamePolicy"):
        sojourn.open("memory:", games=wrong)
