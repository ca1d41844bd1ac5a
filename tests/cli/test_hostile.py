"""What people wrote, and what is typed, can neither steer a terminal nor crash a command."""

import json
import re

import pytest

from tests.cli.conftest import EVIL, User

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u2028\u2029]")
OWN = re.compile(r"\x1b\[[0-9;]*m")
"""The colours that a command itself sets."""


@pytest.fixture
def evil(user: User) -> str:
    """A conversation in which everything that can be chosen is meant to steer a terminal."""
    with user.store() as store:
        talk = store.conversations.get_or_create("mallory\u202e", display_name=EVIL)
        store.conversations.update(talk.id, {"note": EVIL}, title=EVIL)
        store.conversations.append(
            talk.id, "user", EVIL, channel="web\u202e", author="m\u009b31m", metadata={"x": EVIL},
            tool_calls=[{"id": EVIL}], tool_call_id="c\u202e",
        )  # fmt: skip
        store.conversations.append(talk.id, "user", [{"type": "text", "text": EVIL}, {"type": "x", "data": EVIL}])
        store.conversations.checkpoint(talk.id, "label\u202e")
    return talk.id


COMMANDS = [
    ["conversation", "list", "--all"],
    ["conversation", "show", "ID"],
    ["conversation", "search", "red"],
    ["conversation", "export", "ID"],
    ["conversation", "export", "ID", "--format", "md"],
    ["conversation", "export", "ID", "--format", "openai"],
    ["conversation", "export", "ID", "--format", "anthropic"],
    ["conversation", "tail", "ID", "--no-follow"],
    ["conversation", "rewind", "ID", "unknown"],
    ["conversation", "link", "ID", "web", "h\u202e"],
    ["session", "list"],
    ["session", "show", "ID"],
    ["session", "events", "ID"],
    ["session", "rm", "ID"],
    ["export"],
    ["erase", "mallory\u202e"],
    ["conversation", "list", "--user", "x\x1b[2Jy"],
    ["conversation", "show", "\x1b[2J"],
    ["\x1b[2J"],
    ["conversation", "list", "--\x1b[2J"],
    ["conversation", "list", "--store", "\x1b[2J.db"],
    ["conversation", "list", "--store", "\x1b:x"],
    ["conversation", "list", "--tenant", "\x1b[2J"],
    ["load", "\x1b[2J"],
    ["restore", "\x1b[2J"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=repr)
@pytest.mark.parametrize("mode", [[], ["--json"], ["--jsonl"], ["-q"], ["--no-color"]], ids=str)
def test_nothing_that_was_stored_or_typed_steers_the_terminal(user: User, evil: str, words: list[str], mode: list[str]) -> None:
    result = user(*[evil if word == "ID" else word for word in words], *mode, terminal=True)
    shown = result.out + result.err
    if "--no-color" not in mode:
        shown = OWN.sub("", shown)
    assert not STEERING.search(shown), ascii(STEERING.search(shown))


def test_what_would_steer_is_made_visible(user: User, evil: str) -> None:
    out = user.fine("conversation", "show", evil, terminal=True).out
    assert r"red \x1b[31m title \x1b]0;owned\x07 c1 \x9b31m turned \u202eabc bell \x07" in out


def test_programs_get_it_as_it_was_said(user: User, evil: str) -> None:
    rows = user.fine("conversation", "show", evil, "--json", terminal=True).data["messages"]
    assert rows[0]["content"] == EVIL
    lines = user.fine("conversation", "export", evil, terminal=True).lines
    assert json.loads(lines[1])["content"] == EVIL
    assert EVIL in user.fine("conversation", "export", evil, "--format", "md").out


def test_letters_of_every_script_and_joined_pictures_stay_as_they_are(user: User) -> None:
    text = "नमस्ते שלום مرحبا می‌خواهم 日本語 ﬁ e\u0301 \U0001f469\u200d\U0001f4bb"
    user.append(text)
    assert text in user.fine("conversation", "show", user.append("x"), terminal=True).out


def test_lines_stay_lines_and_are_set_apart_from_headings(user: User) -> None:
    talk = user.append("first\r\n#99 system · forged\n\tindented")
    assert "\n  first\n  #99 system · forged\n  \tindented\n" in user.fine("conversation", "show", talk).out


@pytest.mark.parametrize("bad", ["nul\x00nul", "lone \udcff surrogate"])
@pytest.mark.parametrize(
    "words",
    [
        ["conversation", "append", "--user", "alice", "user", "BAD"],
        ["conversation", "append", "--user", "BAD", "user", "x"],
        ["conversation", "append", "--user", "alice", "BAD", "x"],
        ["conversation", "append", "--user", "alice", "user", "x", "--channel", "BAD"],
        ["conversation", "append", "--user", "alice", "user", "x", "--key", "BAD"],
        ["conversation", "append", "--user", "alice", "user", "x", "--metadata", '{"a":"BAD"}'],
        ["conversation", "append", "BAD", "user", "x"],
        ["conversation", "list", "--user", "BAD"],
        ["conversation", "list", "--tenant", "BAD"],
        ["conversation", "search", "BAD"],
        ["conversation", "list", "--after", "BAD"],
        ["erase", "BAD", "--yes"],
        ["BAD"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_stored_is_refused_with_a_sentence(user: User, talk: str, words: list[str], bad: str) -> None:
    result = user(*[word.replace("BAD", bad) for word in words], "--json")
    assert result.code == 2, result.err
    assert result.error["message"]
    result.err.encode()  # no lone surrogate is left
    assert len(user.fine("conversation", "list", "-q").lines) == 1


def test_file_names_may_be_any_bytes(user: User, talk: str) -> None:
    name = "caf\udce9.db"
    result = user.fine("backup", name)
    result.out.encode()
    assert (user.project / name).exists()
    user.fine("restore", name, "--yes")


def test_standard_input_that_is_no_text_is_refused(user: User, talk: str) -> None:
    result = user("conversation", "append", talk, "user", "-", stdin=b"ok \xff")
    assert (result.code, "byte 4" in result.err) == (2, True)
    assert user("conversation", "append", talk, "user", "-", stdin=b"nul \x00").code == 2


def test_deep_json_is_refused_with_a_sentence(user: User, talk: str) -> None:
    deep = '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"
    assert user("conversation", "append", talk, "user", "x", "--metadata", deep).code == 2
    assert user("conversation", "append", talk, "user", "x", "--metadata", '{"a":NaN}').code == 2
