"""Data on standard output, everything else on standard error, in four ways."""

import json

import pytest

from tests.cli.conftest import User


def test_json_is_an_envelope(user: User, talk: str) -> None:
    document = json.loads(user.fine("conversation", "list", "--json").out)
    assert document.keys() == {"schema_version", "data", "next"}
    assert document["data"][0]["identity"]["user_id"] == "alice"
    assert document["next"] is None


def test_an_empty_list_is_an_empty_list(user: User, talk: str) -> None:
    for words in (
        ["conversation", "list", "--user", "bob"],
        ["conversation", "search", "zebra"],
        ["session", "list", "owner:bob"],
    ):
        result = user.fine(*words, "--json")
        assert result.data == []
        assert user.fine(*words).out == ""
        assert user.fine(*words, "--jsonl").out == ""
        assert user.fine(*words, "-q").out == ""
        assert user.fine(*words, "-q").err == ""


def test_jsonl_is_a_document_a_line(user: User, talk: str) -> None:
    rows = [json.loads(line) for line in user.fine("conversation", "show", talk, "--jsonl").lines]
    assert [row["sequence"] for row in rows] == [1, 2, 3]


def test_quiet_gives_whole_ids_and_nothing_else(user: User, talk: str) -> None:
    for words in (["list"], ["show", talk], ["append", talk, "user", "x"], ["search", "hello"]):
        assert user.fine("conversation", *words, "-q").out == f"{talk}\n"


def test_errors_are_an_envelope_too(user: User, talk: str) -> None:
    result = user("conversation", "show", "ZZZZ", "--json")
    assert result.error.keys() == {"code", "message", "hint"}
    assert user("conversation", "show", "--jsonl").error["code"] == "usage"


def test_an_error_for_people_names_the_program_and_what_to_do(user: User, talk: str) -> None:
    first, second = user("conversation", "show", "ZZZZ").err.splitlines()
    assert first.startswith("sojourn: ")
    assert second == "  See: sojourn conversation list --all"


def test_columns_are_aligned_also_where_letters_are_wide(user: User) -> None:
    user.append("x", user="アリス")
    user.append("x", user="bob")
    head, *rows = user.fine("conversation", "list").lines
    assert head.split() == ["ID", "USER", "MESSAGES", "LAST", "ACTIVITY", "CHANNELS", "TITLE"]
    assert {row.split()[1] for row in rows} == {"アリス", "bob"}
    assert rows[0].index("just now") + (3 if "アリス" in rows[0] else 0) == rows[1].index("just now") + (
        3 if "アリス" in rows[1] else 0
    )


def test_colours_and_tables_are_for_terminals(user: User, talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = user.fine("conversation", "list")
    assert "\x1b" not in plain.out
    assert "\x1b[" in user.fine("conversation", "list", terminal=True).out
    assert "\x1b" not in user.fine("conversation", "list", "--no-color", terminal=True).out
    assert "\x1b[" in user.fine("conversation", "show", talk, terminal=True).out
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in user.fine("conversation", "list", terminal=True).out
    assert "\x1b" not in user.fine("conversation", "show", talk, terminal=True).out
    assert "\x1b" not in user("conversation", "show", "ZZZZ", terminal=True).err


def test_a_dumb_terminal_gets_plain_columns(user: User, talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert user.fine("conversation", "list", terminal=True).out == user.fine("conversation", "list").out


def test_without_rich_a_terminal_gets_plain_columns(user: User, talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "sojourn.cli.tables", raising=False)
    monkeypatch.setitem(sys.modules, "rich.table", None)
    assert user.fine("conversation", "list", terminal=True).out == user.fine("conversation", "list").out


def test_json_on_a_terminal_is_indented(user: User, talk: str) -> None:
    assert '\n  "data"' in user.fine("conversation", "list", "--json", terminal=True).out


def test_a_page_says_how_to_go_on_and_the_next_one_does(user: User) -> None:
    made = [user.append(user=name) for name in ("a", "b", "c")]
    first = user.fine("conversation", "list", "--order", "created", "--limit", "2")
    assert "--after " in first.err
    cursor = first.err.split("--after ")[1].strip()
    rest = user.fine("conversation", "list", "--order", "created", "--limit", "2", "-q", "--after", cursor)
    assert (rest.out, rest.err) == (f"{made[0]}\n", "")
    assert json.loads(user.fine("conversation", "list", "--limit", "2", "--json").out)["next"]


@pytest.mark.slow
def test_ten_thousand_conversations_are_listed_one_page_at_a_time(user: User, many_talks: list[str]) -> None:
    result = user.fine("conversation", "list")
    assert len(result.lines) == 51
    assert "There are more" in result.err
    newest = user.fine("conversation", "list", "-q", "--limit", "1000", "--order", "created").lines
    assert newest == many_talks[:1000]


@pytest.mark.slow
def test_the_tail_of_an_id_is_shown_and_taken(user: User, many_talks: list[str]) -> None:
    wanted = many_talks[5_000]
    for given in (wanted, wanted.lower(), wanted[-8:], wanted[-8:].lower()):
        assert user.fine("conversation", "show", given, "-q").out == f"{wanted}\n"
    assert wanted[-8:] in user.fine("conversation", "show", wanted).out


@pytest.mark.slow
def test_the_end_of_an_id_that_fits_several_is_answered_with_6_and_all_of_them(user: User, many_talks: list[str]) -> None:
    by_end: dict[str, list[str]] = {}
    for identifier in many_talks:
        by_end.setdefault(identifier[-4:], []).append(identifier)
    end, fitting = next((end, ids) for end, ids in by_end.items() if len(ids) > 1)
    result = user("conversation", "show", end, "--json")
    assert (result.code, result.error["code"]) == (6, "id.ambiguous")
    assert sorted(result.error["candidates"]) == sorted(fitting)
    assert result.error["message"] == f"{len(fitting)} conversations have an id that ends in {end}."
    for line in user("session", "rm", end, "--yes").err.splitlines()[2:]:
        unique = line.split()[0]
        assert user.fine("session", "show", unique, "-q").out.strip() in fitting
    assert user.fine("conversation", "list", "-q", "--limit", "1").code == 0


def test_letters_that_look_like_digits_are_taken_for_them(user: User) -> None:
    ids: list[str] = []
    while not any("0" in identifier[-6:] or "1" in identifier[-6:] for identifier in ids):
        ids.append(user.append(user=f"u{len(ids)}"))
    end = ids[-1][-6:].replace("0", "o").replace("1", "l")
    assert user.fine("conversation", "show", end, "-q").out == f"{ids[-1]}\n"
