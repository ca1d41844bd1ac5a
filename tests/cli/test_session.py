"""``sojourn session``: sessions of every kind."""

import pytest

from tests.cli.conftest import User


def test_list_takes_filters(user: User, talk: str) -> None:
    bob = user.append(user="bob")
    user.fine("session", "end", bob)
    assert user.fine("session", "list", "-q").lines == [talk]
    assert sorted(user.fine("session", "list", "-q", "state:all").lines) == sorted([talk, bob])
    assert user.fine("session", "list", "-q", "kind:conversation", "owner:bob", "state:ended").lines == [bob]
    assert user.fine("session", "list", "-q", "kind:game").lines == []
    assert user.fine("session", "list", "-q", "idle>1h").lines == []
    assert "Terms:" in user("session", "list", "colour:red").err


def test_show_is_what_is_stored(user: User, talk: str) -> None:
    data = user.fine("session", "show", talk[-6:], "--json").data
    assert (data["id"], data["kind"], data["owner"], data["entries"]) == (talk, "conversation", "alice", 3)
    assert f"id:            {talk}" in user.fine("session", "show", talk).out


def test_events_tell_what_happened_oldest_first(user: User, talk: str) -> None:
    user.fine("session", "end", talk, "--reason", "moved away")
    rows = user.fine("session", "events", talk, "--json").data
    assert [row["change"] for row in rows] == ["created", "appended", "appended", "appended", "ended"]
    assert rows[-1]["reason"] == "moved away"
    assert [row["change"] for row in user.fine("session", "events", talk, "--limit", "1", "--json").data] == ["ended"]
    assert "moved away" in user.fine("session", "events", talk).out


def test_end_closes_once(user: User, talk: str) -> None:
    assert user.fine("session", "end", talk).out.startswith("Ended conversation")
    first = user.fine("session", "show", talk, "--json").data["ended_at"]
    assert "was ended already" in user.fine("session", "end", talk).out
    assert user.fine("session", "show", talk, "--json").data["ended_at"] == first


def test_rm_takes_several_and_needs_a_yes(user: User, talk: str) -> None:
    bob = user.append(user="bob")
    assert user("session", "rm", talk, bob).code == 2
    assert user.fine("session", "rm", talk, bob[-8:], talk, "--yes", "--json").data == {"removed": [talk, bob]}
    assert user("session", "show", talk).code == 3
    assert user("session", "rm", talk, "--yes").code == 3


def test_rm_of_one_that_is_missing_removes_none(user: User, talk: str) -> None:
    assert user("session", "rm", talk, "ZZZZZZ", "--yes").code == 3
    user.fine("session", "show", talk)


@pytest.mark.parametrize(("typed", "code"), [("y\n", 0), ("YES\n", 0), ("n\n", 1), ("\n", 1), ("", 1), ("yess\n", 1)])
def test_a_question_is_asked_on_a_terminal(user: User, talk: str, typed: str, code: int) -> None:
    result = user("session", "rm", talk, stdin=typed, terminal=True)
    assert result.code == code
    assert f"Remove conversation {talk[-8:]} of alice (3 entries) for good? [y/N] " in result.err
    assert (user("session", "show", talk).code == 3) == (code == 0)
    if code:
        assert "nothing was changed" in result.err
