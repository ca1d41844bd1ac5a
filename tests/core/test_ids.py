"""Ids: time-ordered, carrying the home's bits, never guessed apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import sojourn
from sojourn.core import ids

MILLIS = st.integers(0, 2**48 - 1)
HOMES = st.integers(0, 2**10 - 1)
RANDOM = st.integers(0, 2**70 - 1)


@given(MILLIS, HOMES, RANDOM)
def test_an_id_tells_its_home_and_its_moment(millis: int, home: int, random: int) -> None:
    made = ids.make_id(millis, home, random)
    assert ids.is_id(made)
    assert ids.home_of(made) == home
    assert ids.millis_of(made) == millis


@given(MILLIS, MILLIS, HOMES, RANDOM, RANDOM)
def test_ids_sort_by_their_moment(one: int, other: int, home: int, first: int, second: int) -> None:
    if one < other:
        assert ids.make_id(one, home, first) < ids.make_id(other, home, second)


@given(MILLIS, HOMES, HOMES, RANDOM)
def test_an_id_is_moved_to_a_home_without_changing_its_moment(millis: int, home: int, other: int, random: int) -> None:
    moved = ids.with_home(ids.make_id(millis, home, random), other)
    assert (ids.millis_of(moved), ids.home_of(moved)) == (millis, other)


@given(st.text(max_size=40))
def test_what_is_no_id_is_told_from_one(text: str) -> None:
    assert ids.is_id(text) == (len(text) == 26 and set(text) <= set(ids.ALPHABET))


def test_fresh_ids_differ_and_derived_ids_do_not() -> None:
    assert len({sojourn.new_id("alice") for _ in range(1000)}) == 1000
    assert ids.derived_id(5, 7, "openjarvis/abc") == ids.derived_id(5, 7, "openjarvis/abc")
    assert ids.derived_id(5, 7, "openjarvis/abc") != ids.derived_id(5, 7, "openjarvis/abd")


def test_tenants_spread_the_same_home_differently() -> None:
    numbers = {ids.home_number(f"tenant {n}", "alice") for n in range(200)}
    assert len(numbers) > 100


def test_people_are_shown_the_tail() -> None:
    made = sojourn.new_id()
    assert ids.tail(made) == made[-8:]
