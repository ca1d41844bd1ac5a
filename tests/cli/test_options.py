"""Options stand anywhere; what is typed wrongly is answered with what to type."""

import pytest

from tests.cli.conftest import User


@pytest.mark.parametrize(
    "words",
    [
        ["--json", "conversation", "list"],
        ["conversation", "--json", "list"],
        ["conversation", "list", "--json"],
        ["conversation", "list", "--user", "alice", "--json", "--all"],
    ],
)
def test_an_option_of_every_command_may_stand_anywhere(user: User, talk: str, words: list[str]) -> None:
    assert [row["id"] for row in user.fine(*words).data] == [talk]


def test_options_may_stand_among_the_words(user: User, talk: str) -> None:
    user.fine("conversation", "append", talk, "user", "--channel", "discord", "Between")
    user.fine("conversation", "append", "--author", "eve", talk, "user", "--key=k", "--", "--json")
    last, newest = user.fine("conversation", "show", talk, "--last", "2", "--json").data["messages"]
    assert (last["channel"], last["content"]) == ("discord", "Between")
    assert (newest["author"], newest["key"], newest["content"]) == ("eve", "k", "--json")


def test_the_last_of_two_stores_counts(user: User, talk: str) -> None:
    assert user.fine("--store", "other.db", "conversation", "list", "-q", "--store", str(user.path)).out == f"{talk}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["append"], "sojourn conversation append"),
        (["conversatoin", "list"], "Did you mean conversation?"),
        (["conversation", "apend"], "Did you mean append?"),
        (["import", "openjarvi", "x"], "no format 'openjarvi'"),
        (["conversation", "list", "--nope"], "no option --nope"),
        (["conversation", "list", "--user"], "--user needs a value"),
        (["conversation", "list", "--user", "--json"], "--user needs a value"),
        (["conversation", "append", "ABCD", "user", "-hello"], "goes behind --"),
        (["conversation", "append", "ABCD", "user"], "missing: TEXT"),
        (["conversation", "append"], "missing: ID and ROLE and TEXT"),
        (["conversation", "append", "ABCD", "user", "Hello", "there"], "quotes around the text"),
        (["conversation", "append", "--user", "alice", "ABCD", "user", "Hello"], "leave ID away"),
        (["conversation", "append", "ABCD", "user", "x", "--metadata", "[1]"], "must be a JSON object"),
        (["conversation", "append", "ABCD", "user", "x", "--metadata", "{"], "is not JSON"),
        (["conversation", "show"], "missing: ID"),
        (["conversation", "list", "--limit", "1001"], "from 1 to 1000"),
        (["conversation", "list", "--limit", "-1"], "from 1 to 1000"),
        (["conversation", "list", "--limit", "٣"], "from 1 to 1000"),
        (["conversation", "list", "--order", "size"], "activity, created"),
        (["conversation", "decay", "--max-age", "soon"], "90s, 5m, 24h or 7d"),
        (["conversation", "decay", "--max-age", "999999999d"], "a hundred years at most"),
        (["conversation", "rewind", "ABCD"], "either N or --undo"),
        (["conversation", "rewind", "ABCD", "3", "--undo"], "either N or --undo"),
        (["conversation", "link", "ABCD", "telegram"], "either HANDLE or --remove"),
        (["conversation", "tail"], "either ID or --all"),
        (["conversation", "tail", "--all", "--json"], "Use --jsonl"),
        (["conversation", "list", "--json", "-q"], "exclude each other"),
        (["conversation", "show", "12345678901234567890123456789"], "is not an id"),
        (["completion", "fish"], "bash, zsh"),
    ],
)
def test_what_is_typed_wrongly_is_answered_with_what_to_type(user: User, talk: str, words: list[str], said: str) -> None:
    result = user(*words)
    assert result.code == 2
    assert said in (result.err if "--json" not in words else result.error["message"] + result.error["hint"])
    assert result.out == ""


@pytest.mark.parametrize("words", [[], ["conversation"], ["session", "--json"], ["import"]])
def test_a_noun_alone_shows_its_help_and_is_no_success(user: User, words: list[str]) -> None:
    result = user(*words)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("usage: sojourn")


@pytest.mark.parametrize("text", ["-5 degrees", "-hello there", "-7", "-", "--json"])
def test_text_that_begins_with_a_hyphen_can_be_said(user: User, talk: str, text: str) -> None:
    words = ["--", text] if text == "--json" else [text]
    user.fine("conversation", "append", talk, "user", *words, stdin="-\n")
    assert user.fine("conversation", "show", talk, "--last", "1", "--json").data["messages"][0]["content"] == text


def test_a_store_may_be_a_url_a_path_or_in_the_environment(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    other = user.project / "100%41 #?.db"
    monkeypatch.setenv("SOJOURN_URL", "sqlite:///env.db")
    user.append("in the environment's")
    assert (user.project / "env.db").exists()
    user.append("in a path with a percent sign", "--store", str(other))
    assert other.exists()
    user.append("relative", "--store", "./relative.db")
    assert (user.project / "relative.db").exists()
    assert not user.path.exists()


def test_the_project_s_store_is_found_from_below(user: User, talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    below = user.project / "src" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert user.fine("conversation", "list", "-q").out == f"{talk}\n"


def test_nothing_reaches_across_tenants(user: User, talk: str) -> None:
    assert user.fine("conversation", "list", "--json", "--tenant", "other").data == []
    assert user("conversation", "show", talk, "--tenant", "other").code == 3


def test_a_password_in_a_url_is_not_repeated(user: User) -> None:
    assert "hunter2" not in user("conversation", "list", "--store", "redis://me:hunter2@host/0").err
