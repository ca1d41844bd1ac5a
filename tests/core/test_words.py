"""Words: the same on every engine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn.core import words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hello, World!", ["hello", "world"]),
        ("snake_case kebab-case", ["snake", "case", "kebab", "case"]),
        ("STRASSE straße", ["strasse", "strasse"]),
        ("ﬁne Ａｂｃ", ["fine", "abc"]),
        ("été İstanbul", ["été", "i", "stanbul"]),
        ("日本語 42nd", ["日本語", "42nd"]),
        ("", []),
        ('"quoted" OR (x*)', ["quoted", "or", "x"]),
    ],
)
def test_words_are_folded_runs_of_letters_and_digits(text: str, found: list[str]) -> None:
    assert words.words(text) == found


@given(st.text())
def test_a_word_is_found_by_itself_and_by_its_beginning(text: str) -> None:
    for word in words.words(text):
        assert words.matches(words.words(text), (word,), prefix=False)
        assert words.matches(words.words(text), (word[:1],), prefix=True)


@given(st.text())
def test_folding_twice_changes_nothing(text: str) -> None:
    once = words.words(text)
    assert words.words(" ".join(once)) == once


def test_all_words_must_match_and_only_the_last_may_be_a_beginning() -> None:
    found = words.words("the quick brown fox")
    assert words.matches(found, ("quick", "fo"), prefix=True)
    assert not words.matches(found, ("qui", "fox"), prefix=True)
    assert not words.matches(found, ("quick", "fo"), prefix=False)
    assert not words.matches(found, ("quick", "cat"), prefix=True)


def test_only_the_first_part_of_a_large_text_is_searched() -> None:
    assert "end" not in words.words("a " * 200_000 + "end")
    assert "end" not in words.words("ä " * 200_000 + "end")


def test_a_snippet_shows_the_word_in_one_line() -> None:
    text = "start " + "x " * 200 + "\nthe zeppelin\nrose " + "y " * 200
    piece = words.snippet(text, ("zeppelin",))
    assert "the zeppelin rose" in piece
    assert piece.startswith("…")
    assert piece.endswith("…")
    assert "\n" not in piece
    assert len(piece) < 140
