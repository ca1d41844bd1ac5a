"""Names of contexts, fuzzed; and what an assembly takes."""

from __future__ import annotations

from typing import Any
from unicodedata import category

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sojourn
from sojourn import Artifact, InvalidNameError
from sojourn.kinds.contexts.assembly import assemble
from sojourn.kinds.contexts.rules import LONGEST_NAME, check_name
from sojourn.testing.clocks import ManualClock

MOMENT = ManualClock()()

NAMES = st.text(min_size=1, max_size=140) | st.sampled_from(
    [
        "",
        " ",
        "a\n",
        "\na",
        "..",
        "../x",
        "a/b",
        "a\0b",
        "\ud800",
        "é",
        "e\u0301",
        "名前",
        "x" * 128,
        "x" * 129,
        "\u2028",
        "\x7f",
        "[]",
    ]
)


def allowed(name: str) -> bool:
    fine = all(category(character) not in ("Cc", "Cs", "Zl", "Zp") for character in name)
    return fine and 1 <= len(name.strip()) <= LONGEST_NAME


@given(NAMES)
def test_a_name_is_taken_or_refused_with_a_reason(name: str) -> None:
    if allowed(name):
        assert check_name(name) == name.strip()
        assert check_name(check_name(name)) == check_name(name)
    else:
        with pytest.raises(InvalidNameError) as caught:
            check_name(name)
        assert str(caught.value).strip()


@pytest.mark.parametrize("name", [None, 7, b"a", ["a"]])
def test_what_is_no_text_is_no_name(name: Any) -> None:
    with pytest.raises(InvalidNameError):
        check_name(name)


@given(st.lists(NAMES.filter(allowed), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_names_never_reach_one_another(names: list[str]) -> None:
    with sojourn.open("memory:") as store:
        for name in names:
            store.contexts.add(name, "note", name.strip())
        for name in names:
            assert {item.content for item in store.contexts.artifacts(name)} == {name.strip()}
        assert {item.name for item in store.contexts.list(limit=100)} == {name.strip() for name in names}


@given(st.lists(st.tuples(st.text(max_size=3), st.text(max_size=3)), min_size=2, max_size=6, unique=True))
@settings(max_examples=40, deadline=None)
def test_scopes_and_names_are_never_confused(pairs: list[tuple[str, str]]) -> None:
    with sojourn.open("memory:") as store:
        fine = []
        for scope, name in pairs:
            try:
                store.contexts.add(name, "note", repr((scope, name.strip())), scope=scope)
            except sojourn.InvalidValueError:
                continue
            fine.append((scope, name))
        for scope, name in fine:
            assert {item.content for item in store.contexts.artifacts(name, scope=scope)} == {repr((scope, name.strip()))}


# -- assemblies ----------------------------------------------------------------------------------------------------------


def made(sequence: int, content: str, *, pinned: bool = False, kind: str = "note") -> Artifact:
    return Artifact(sequence, kind, content, content, MOMENT, {}, pinned)


def test_the_newest_that_fit_are_taken_in_order() -> None:
    found = assemble([made(1, "aaa"), made(2, "bbb"), made(3, "c"), made(4, "dd")], 6, len)
    assert [item.sequence for item in found.artifacts] == [2, 3, 4]
    assert (found.tokens, [(left.sequence, left.reason) for left in found.left_out]) == (6, [(1, "budget")])
    assert found.as_text() == "[2 note]\nbbb\n\n[3 note]\nc\n\n[4 note]\ndd"


def test_pinned_ones_go_first_and_equal_ones_once() -> None:
    items = [made(1, "old", pinned=True), made(2, "same"), made(3, "same"), made(4, "x" * 9), made(5, "y")]
    found = assemble(items, 8, len)
    assert [item.sequence for item in found.artifacts] == [1, 3, 5]
    assert [(left.sequence, left.reason, left.tokens) for left in found.left_out] == [(2, "duplicate", 4), (4, "budget", 9)]


ARTIFACTS = st.lists(st.tuples(st.text("abc", max_size=6), st.booleans()), max_size=12).map(
    lambda rows: [made(place, text, pinned=pinned) for place, (text, pinned) in enumerate(rows, 1)]
)


@given(ARTIFACTS, st.integers(1, 30))
def test_an_assembly_accounts_for_every_artifact(items: list[Artifact], budget: int) -> None:
    found = assemble(items, budget, len)
    assert found.tokens == sum(len(item.content) for item in found.artifacts) <= budget
    assert sorted([*(item.sequence for item in found.artifacts), *(left.sequence for left in found.left_out)]) == [
        item.sequence for item in items
    ]
    digests = [item.digest for item in found.artifacts]
    assert len(set(digests)) == len(digests)
    for left in found.left_out:
        assert left.reason == "budget" or items[left.sequence - 1].digest in digests
        if left.reason == "budget":
            assert found.tokens + left.tokens > budget or items[left.sequence - 1].pinned


def test_an_assembly_of_a_store_takes_kinds_and_pins() -> None:
    with sojourn.open("memory:") as store:
        for number in range(10):
            store.contexts.add("a", "file" if number % 2 else "note", f"{number}" * 40)
        store.contexts.pin("a", 2)
        found = store.contexts.assemble("a", budget=30, kinds=["file"])
        assert [item.sequence for item in found.artifacts] == [2, 8, 10]
        assert {left.sequence for left in found.left_out} == {4, 6}
