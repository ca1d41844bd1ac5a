"""What may be stored, and what is refused before it reaches an engine."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sojourn import CorruptError, InvalidValueError, LimitError
from sojourn.core import codec

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=20,
)


@given(PLAIN)
def test_plain_json_comes_back_as_it_was(value: Any) -> None:
    assert codec.decode(codec.encode(value)) == value


@given(PLAIN)
def test_a_copy_is_equal_and_shares_nothing_that_can_be_changed(value: Any) -> None:
    def parts(value: Any) -> set[int]:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        mine = {id(value)} if isinstance(value, (dict, list)) else set()
        return mine.union(*map(parts, inner))

    made = codec.copied(value)
    assert made == value
    assert not parts(made) & parts(value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (math.nan, "not plain JSON"),
        (math.inf, "not plain JSON"),
        ({1: "one"}, "keys are text"),
        (OrderedDict({1: "one"}), "keys are text"),
        ({"a": ({"b": {2: "two"}},)}, r"value\['a'\]\[0\]\['b'\] has the key 2"),
        ({"a": [1, {"b": "x\0y"}]}, r"value\['a'\]\[1\]\['b'\] contains a NUL"),
        ({"a\0": 1}, "key with a NUL"),
        (b"bytes", "not plain JSON"),
        ({"when": object()}, "not plain JSON"),
        (["\ud800"], "lone surrogate"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_place(value: Any, says: str) -> None:
    with pytest.raises(InvalidValueError, match=says):
        codec.encode(value)


def test_a_backslash_before_u0000_is_text_like_any_other() -> None:
    assert codec.decode(codec.encode({"a": "\\u0000"})) == {"a": "\\u0000"}


def test_what_refers_to_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidValueError):
        codec.encode(loop)


def test_limits_count_bytes_of_utf8() -> None:
    assert codec.check_text("ä" * 5, "name", 10) == "ä" * 5
    with pytest.raises(LimitError, match="12 bytes; the limit is 10"):
        codec.check_text("ä" * 6, "name", 10)


@pytest.mark.parametrize("value", [None, 3, b"x", ["x"]])
def test_text_must_be_text(value: object) -> None:
    with pytest.raises(InvalidValueError, match="name must be text"):
        codec.check_text(value, "name")


@pytest.mark.parametrize(("value", "kept"), [("alice", "alice"), (7, "7"), ("göran 🙂", "göran 🙂")])
def test_a_callers_own_id_is_kept_as_text(value: object, kept: str) -> None:
    assert codec.check_key(value, "user_id") == kept


@pytest.mark.parametrize("value", ["", "a\nb", "a\x7f", "\0", True, None, 1.5])
def test_a_callers_own_id_has_no_control_characters(value: object) -> None:
    with pytest.raises(InvalidValueError):
        codec.check_key(value, "user_id")


@pytest.mark.parametrize("value", [True, -1, 1.0, "1", None, 11])
def test_a_number_is_whole_and_in_its_range(value: object) -> None:
    with pytest.raises(InvalidValueError, match="whole number from 0 to 10"):
        codec.check_number(value, "last", 0, 10)


def test_upcasters_lead_an_old_document_to_this_version() -> None:
    schema = codec.Schema(3, {1: lambda old: {**old, "b": old["a"] + 1}, 2: lambda old: {"b": old["b"]}})
    assert schema.read({"v": 1, "a": 1}) == {"v": 3, "b": 2}
    assert schema.read({"a": 1}) == {"v": 3, "b": 2}
    assert schema.read({"v": 3, "b": 5}) == {"v": 3, "b": 5}


def test_a_document_of_a_newer_release_is_refused() -> None:
    with pytest.raises(CorruptError, match="version 4, and this release knows versions up to 3"):
        codec.Schema(3).read({"v": 4})


def test_stored_text_that_is_no_json_is_damage() -> None:
    with pytest.raises(CorruptError):
        codec.decode("{")
