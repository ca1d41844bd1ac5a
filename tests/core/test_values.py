"""Times, cursors, names and queries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn import InvalidCursorError, InvalidNameError, InvalidValueError, generate_name, validate_name
from sojourn.core import query, times


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001  # zone given beside
def test_an_instant_survives_to_the_microsecond(moment: datetime) -> None:
    assert times.to_datetime(times.to_micros(moment)) == moment


def test_instants_are_one_whatever_the_zone() -> None:
    there = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    assert times.to_micros(there) == times.to_micros(there.astimezone(UTC))
    with pytest.raises(InvalidValueError, match="without a time zone"):
        times.to_micros(datetime(2026, 5, 1, 12))  # noqa: DTZ001  # the mistake itself


@pytest.mark.parametrize("wrong", [5, "1h", None, timedelta(microseconds=-1)])
def test_a_duration_is_a_timedelta_that_is_not_negative(wrong: timedelta) -> None:
    with pytest.raises(InvalidValueError, match="ttl must"):
        times.span(wrong, "ttl")


@given(st.lists(st.one_of(st.text(st.characters(categories=["L", "N", "P"])), st.integers(-(2**63), 2**63 - 1))))
def test_a_cursor_gives_back_what_it_was_made_of(values: list[str | int]) -> None:
    assert query.read_cursor(query.make_cursor(*values), *map(type, values)) == values


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, "\ud800", "a\0b", "a\nb"])
def test_a_cursor_of_what_no_engine_can_compare_with_is_refused(value: str | int) -> None:
    with pytest.raises(InvalidCursorError):
        query.read_cursor(query.make_cursor(value), type(value))


@given(st.text())
def test_what_is_no_cursor_is_refused_whatever_it_is(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        query.read_cursor(text, str, int, int)


@pytest.mark.parametrize("wrong", [0, 1001, -1, True, "5", None])
def test_a_page_has_1_to_1000_rows(wrong: object) -> None:
    with pytest.raises(InvalidValueError, match="from 1 to 1000"):
        query.page_limit(wrong)


def test_a_page_is_iterated_like_its_items() -> None:
    page = query.Page([1, 2, 3], "next")
    assert list(page) == [1, 2, 3]
    assert len(page) == 3


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "must not be empty"),
        ("a" * 33, "at most 32 characters, this one has 33"),
        ("Alice", "has 'A'"),
        ("a b", "has ' '"),
        ("alice\n", "has '\\\\n'"),
        ("-a", "must not begin"),
        ("a-", "must not end"),
        ("a--b", "two hyphens in a row"),
        ("а", "has 'а'"),  # a Cyrillic letter that looks Latin
        (None, "must be text"),
    ],
)
def test_each_broken_rule_of_names_has_its_own_message(name: object, says: str) -> None:
    with pytest.raises(InvalidNameError, match=says):
        validate_name(name)


def test_generated_names_keep_the_rules() -> None:
    for _ in range(200):
        assert validate_name(generate_name()).count("-") == 1
        assert validate_name(generate_name(suffix=True)).count("-") == 2
