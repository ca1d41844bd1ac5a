"""The built-in story, how choices pick a scene, and what a game that is told needs next."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

import sojourn
from sojourn import Game, GamePolicy, InvalidValueError, Turn
from sojourn.story import GREY_POINT, Moment, Scene, Story, moment_of, needed


def after(name: str, *pressed: tuple[str, str]) -> str:
    """What is told when these choices were made in a scene."""
    return GREY_POINT.tell(Moment(3, dict(pressed), f"{name}\n\nand so on")).text


def test_every_scene_can_be_reached_and_left() -> None:
    seen, waiting = set(), [GREY_POINT.start.name]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += GREY_POINT.where(f"{name}\n").ways.values()
    assert seen == {scene.name for scene in GREY_POINT.scenes}
    assert len(seen) == 11


def test_what_is_told_fits_a_history_and_says_where_it_is() -> None:
    for scene in GREY_POINT.scenes:
        for choice, name in scene.ways.items():
            pressed = {f"a player with a long name {number}": choice for number in range(200)}
            told = GREY_POINT.tell(Moment(1, pressed, scene.name))
            assert GREY_POINT.where(told.text[:500]).name == name
            assert len(told.text) < 500
            assert told.options == tuple(GREY_POINT.where(told.text).ways)


def test_most_voices_win_and_of_equals_the_earliest() -> None:
    up, keeper, boat = GREY_POINT.start.ways
    start = GREY_POINT.start.name
    assert after(start, ("Ana", up), ("Ben", keeper), ("Cy", keeper)).startswith(
        "The kitchen\n\nBen and Cy: look for the keeper"
    )
    assert "(2 against 1)" in after(start, ("Ana", up), ("Ben", keeper), ("Cy", keeper))
    assert after(start, ("Ana", boat), ("Ben", up)).startswith("The boathouse\n")
    assert after(start, ("Ana", "something else"), ("Ben", up)).startswith("The lamp room\n\nBen: climb")


def test_without_a_choice_the_scene_stays_and_a_turn_told_twice_is_the_same() -> None:
    assert after("The cellar").startswith("The cellar\n\nNobody moves")
    assert after("The cellar", ("Ana", "nonsense")) == after("The cellar")
    assert GREY_POINT.tell(Moment(0, {}, "")).text.startswith("The causeway\n\nThe tide")


def test_a_story_with_a_hole_is_refused() -> None:
    with pytest.raises(InvalidValueError, match="leads to 'nowhere'"):
        Story("Broken", Scene("a", "text", {"go": "nowhere"}))
    with pytest.raises(InvalidValueError, match="way out"):
        Story("Broken", Scene("a", "text", {}))


def test_what_is_needed_is_read_from_what_is_stored() -> None:
    policy = GamePolicy(open_on="manual", close_when="all", countdown=timedelta(hours=1))
    with sojourn.open("memory:") as store:
        games = store.games

        def need() -> str:
            return needed(look(), last())

        def look() -> Game:
            return games.load(game.id)

        def last() -> Turn | None:
            return next(iter(games.history("t", count=1)), None)

        game = games.boot("t", "Told", policy=policy)
        games.join("t", "ana", "Ana")
        games.join("t", "ben", "Ana")
        assert need() == "window"
        games.open_window("t", options=["a", "b"])
        assert need() == "choices"
        games.submit_choice("t", "ana", "Ana", "a")
        games.submit_choice("t", "ben", "Ana", "b")
        assert need() == "narration"
        moment = moment_of(look(), last(), "before")
        assert (moment.turn, dict(moment.choices), moment.before) == (1, {"Ana": "a", "Ana (ben)": "b"}, "before")
        games.record_turn("t", 1, "told")
        assert need() == "window"
        games.open_window("t")
        games.close("t")
        games.record_turn("t", 2, "nobody came")
        assert need() == "players"
        games.pause("t")
        assert need() == "nothing"
        assert needed(replace(look(), state="ended"), None) == "nothing"
