"""``sojourn conversation``: what each command does, as its user sees it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import User


def messages(user: User, talk: str, *more: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = user.fine("conversation", "show", talk, "--json", *more).data["messages"]
    return found


def texts(user: User, talk: str, *more: str) -> list[object]:
    return [message["content"] for message in messages(user, talk, *more)]


# -- append ----------------------------------------------------------------------------------------------------------


def test_append_by_user_goes_to_the_current_conversation(user: User) -> None:
    first = user.append("one")
    assert user.append("two") == first
    assert user.append("one", user="bob") != first
    assert texts(user, first) == ["one", "two"]


def test_append_keeps_everything_it_was_given(user: User, talk: str) -> None:
    result = user.fine(
        "conversation", "append", talk, "tool", "42", "--channel", "web", "--author", "calc", "--key", "k1",
        "--metadata", '{"unit":"€"}', "--json",
    )  # fmt: skip
    row = messages(user, talk, "--last", "1")[0]
    assert result.data == {"conversation_id": talk, **row}
    assert (row["role"], row["channel"], row["author"], row["key"]) == ("tool", "web", "calc", "k1")
    assert row["metadata"] == {"unit": "€"}


def test_append_with_a_key_adds_once(user: User, talk: str) -> None:
    for _ in range(3):
        assert user.fine("conversation", "append", talk, "user", "once", "--key", "k").out.startswith("Message #4 in")
    assert len(messages(user, talk)) == 4
    assert user("conversation", "append", talk, "user", "something else", "--key", "k").code == 7


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (b"from a pipe\n", "from a pipe"),
        (b"two\nlines\n\n", "two\nlines\n"),
        (b"windows\r\n", "windows"),
        (b"", ""),
        ("é日".encode(), "é日"),
    ],
)
def test_append_reads_standard_input_without_its_last_line_end(user: User, talk: str, typed: bytes, stored: str) -> None:
    user.fine("conversation", "append", talk, "user", "-", stdin=typed)
    assert texts(user, talk, "--last", "1") == [stored]


def test_append_reads_a_large_message(user: User, talk: str) -> None:
    user.fine("conversation", "append", talk, "user", "-", stdin=b"x" * 5_000_000)
    assert len(str(texts(user, talk, "--last", "1")[0])) == 5_000_000
    result = user("conversation", "append", talk, "user", "-", stdin=b"x" * 16_000_001, terminal=False)
    assert (result.code, len(messages(user, talk))) == (1, 4)
    assert "16,000,000" in result.err


def test_append_says_on_a_terminal_how_to_end_what_is_typed(user: User, talk: str) -> None:
    result = user.fine("conversation", "append", talk, "user", "-", stdin=b"typed\n", terminal=True)
    assert "Ctrl-D" in result.err
    assert texts(user, talk, "--last", "1") == ["typed"]


# -- list, show, search ----------------------------------------------------------------------------------------------


def test_list_shows_who_and_how_much(user: User, talk: str) -> None:
    row = user.fine("conversation", "list").lines[1]
    assert row.split()[:3] == [talk[-8:], "alice", "3"]


def test_list_narrows_by_user_channel_and_state(user: User, talk: str) -> None:
    bob = user.append(user="bob")
    assert user.fine("conversation", "list", "-q", "--user", "bob").lines == [bob]
    assert user.fine("conversation", "list", "-q", "--channel", "telegram").lines == [talk]
    user.fine("session", "end", talk)
    assert user.fine("conversation", "list", "-q").lines == [bob]
    assert sorted(user.fine("conversation", "list", "-q", "--all").lines) == sorted([bob, talk])
    assert "ended" in user.fine("conversation", "list", "--all").out


def test_list_of_nothing_active_mentions_all(user: User, talk: str) -> None:
    user.fine("session", "end", talk)
    assert "--all" in user.fine("conversation", "list").err


def test_show_reads_like_a_conversation(user: User, talk: str) -> None:
    out = user.fine("conversation", "show", talk).out
    assert out.startswith(f"Conversation {talk[-8:]} with alice\n")
    assert "state:         active\n" in out
    assert "#3 user · telegram · " in out
    assert out.endswith("\n  Thank you\n")


def test_show_takes_the_newest_only(user: User, talk: str) -> None:
    assert texts(user, talk, "--last", "1") == ["Thank you"]
    assert texts(user, talk, "--last", "0") == []


def test_show_unfolds_without_changing_anything(user: User, talk: str) -> None:
    user.fine("conversation", "consolidate", talk, "--keep", "1")
    summary, last = messages(user, talk)
    assert (summary["covers"], last["content"]) == ([1, 2], "Thank you")
    out = user.fine("conversation", "show", talk, "--unfold").out
    assert "#4 summary of #1 to #2" in out
    assert "#1 user · " in out
    assert "· folded" in out
    assert len(messages(user, talk)) == 2


def test_show_tells_tool_calls_and_parts(user: User, talk: str) -> None:
    with user.store() as store:
        call = {"id": "c1", "function": {"name": "weather", "arguments": "{}"}}
        store.conversations.append(talk, "assistant", "", tool_calls=[call])
        store.conversations.append(talk, "tool", "sunny", tool_call_id="c1")
        store.conversations.append(talk, "user", [{"type": "image_url", "image_url": "http://x/y.png"}])
    out = user.fine("conversation", "show", talk).out
    assert '[calls {"id": "c1"' in out
    assert "[result of c1]\n  sunny" in out
    assert "y.png" in out


def test_search_finds_words_in_any_case_and_beginnings(user: User, talk: str) -> None:
    rows = user.fine("conversation", "search", "INVOICE", "apr", "--json").data
    assert [(row["conversation_id"], row["message"]["sequence"]) for row in rows] == [(talk, 2)]
    assert "invoice for April" in user.fine("conversation", "search", "invoice").out
    assert user.fine("conversation", "search", "invoice", "--user", "bob").err == "Nothing found.\n"
    assert user("conversation", "search", "!!!").code == 2


# -- fork, rewind, link, consolidate, decay ----------------------------------------------------------------------------


def test_fork_shares_what_came_before(user: User, talk: str) -> None:
    made = user.fine("conversation", "fork", talk, "--at", "2", "--title", "What if", "-q").out.strip()
    assert len(texts(user, made)) == 2
    assert user.fine("conversation", "show", made, "--json").data["forked_from"] == talk
    assert "What if" in user.fine("conversation", "list").out
    assert user("conversation", "fork", talk, "--at", "9").code == 2


def test_rewind_hides_and_says_how_to_bring_it_back(user: User, talk: str) -> None:
    result = user.fine("conversation", "rewind", talk, "1")
    assert texts(user, talk) == ["Hello"]
    assert len(texts(user, talk, "--hidden")) == 3
    user.fine(*result.out.split("To bring it back: sojourn ")[1].split())
    assert len(texts(user, talk)) == 3


def test_rewind_goes_to_a_checkpoint(user: User, talk: str) -> None:
    assert "has no checkpoints" in user("conversation", "rewind", talk, "before").err
    with user.store() as store:
        store.conversations.checkpoint(talk, "Before")
    user.append("too much")
    assert "Its checkpoints: Before." in user("conversation", "rewind", talk, "behind").err
    assert "checkpoint 'Before'" in user.fine("conversation", "rewind", talk, "Before").out
    assert len(texts(user, talk)) == 3


def test_link_ties_and_unties_a_handle(user: User, talk: str) -> None:
    assert user.fine("conversation", "link", talk, "telegram", "t1").out == "alice is t1 in telegram.\n"
    with user.store() as store:
        assert store.conversations.resolve("telegram", "t1") == "alice"
    assert user.fine("conversation", "list", "--json").data[0]["identity"]["channel_ids"] == {"telegram": "t1"}
    user.fine("conversation", "link", talk, "telegram", "--remove")
    with user.store() as store:
        assert store.conversations.resolve("telegram", "t1") is None


def test_consolidate_says_what_was_folded_or_why_nothing_was(user: User, talk: str) -> None:
    assert "--keep N" in user.fine("conversation", "consolidate", talk).out
    assert user.fine("conversation", "consolidate", talk, "--json").data is None
    result = user.fine("conversation", "consolidate", talk, "--keep", "1")
    assert result.out == f"Messages #1 to #2 of conversation {talk[-8:]} are folded into summary #4.\n"


def _aged(user: User, days: int) -> str:
    then = datetime.now(UTC) - timedelta(days=days)
    with user.store(clock=lambda: then) as store:
        made = store.conversations.create("old")
        store.conversations.append(made.id, "user", "long ago")
    return made.id


def test_decay_archives_what_is_old_and_asks_before(user: User) -> None:
    old, new = _aged(user, 3), user.append()
    refused = user("conversation", "decay")
    assert (refused.code, user.fine("conversation", "list", "-q").lines) == (2, [new, old])
    assert user.fine("conversation", "decay", "--dry-run", "--json").data["conversations"] == 1
    assert user.fine("conversation", "decay", "--yes", "--json").data == {"archived": 1}
    assert user.fine("conversation", "list", "-q").lines == [new]
    assert user.fine("session", "list", "state:archived", "-q").lines == [old]
    assert user.fine("conversation", "decay").out.startswith("Archived 0 conversations")


def test_decay_by_another_age(user: User) -> None:
    _aged(user, 3)
    assert user.fine("conversation", "decay", "--max-age", "7d", "--json").data == {"archived": 0}
    assert user.fine("conversation", "decay", "--max-age", "0", "--yes", "--json").data == {"archived": 1}


# -- export ----------------------------------------------------------------------------------------------------------


def test_export_writes_forms_for_people_and_models(user: User, talk: str) -> None:
    assert json.loads(user.fine("conversation", "export", talk, "--format", "openai").out)[0] == {
        "role": "user",
        "content": "Hello",
    }
    assert json.loads(user.fine("conversation", "export", talk, "--format", "anthropic").out).keys() == {"system", "messages"}
    assert user.fine("conversation", "export", talk, "--format", "md").out.startswith("# Conversation with alice")
    lines = user.fine("conversation", "export", talk).lines
    assert [json.loads(line).get("sequence") for line in lines] == [None, 1, 2, 3]


def test_export_to_a_file_is_private_and_asks_before_it_replaces_one(user: User, talk: str) -> None:
    target = user.project / "talk.md"
    words = ["conversation", "export", talk, "--format", "md", "--output", "talk.md"]
    assert "talk.md" in user.fine(*words).out
    assert target.stat().st_mode & 0o777 == 0o600
    target.write_text("mine")
    assert (user(*words).code, target.read_text()) == (2, "mine")
    user.fine(*words, "--yes")
    assert target.read_text().startswith("# Conversation")
    assert user(*words[:-1], "missing/talk.md").code == 3
    assert user(*words[:-1], ".").code == 1
    assert not list(user.project.glob("*.partial"))
