"""``sojourn login``: what each command does, as its user sees it, and that tokens are shown once."""

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import sojourn
from tests.cli.conftest import EVIL, User

TOKEN = re.compile(r"sjl_[0-9A-Z]{26}\.[A-Za-z0-9_-]{43}")


def sign_in(user: User, *more: str, name: str = "alice") -> str:
    """A token."""
    found = user.fine("login", "create", "--username", name, "--add-user", *more).out
    assert TOKEN.fullmatch(found.removesuffix("\n"))
    return found.strip()


def logins(user: User, *more: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = user.fine("login", "list", "--json", *more).data
    return found


@pytest.fixture
def world(user: User) -> tuple[str, str]:
    """A user with two characters in a world; their ids."""
    with user.store() as store:
        alice = store.directory.add_user("alice")
        store.directory.add_world("reeds", "The Reeds")
        return store.directory.add_character(alice, "reeds", "Aldis"), store.directory.add_character(alice, "reeds", "Brenna")


# -- signing in --------------------------------------------------------------------------------------------------------


def test_a_token_is_all_there_is_on_standard_output(user: User) -> None:
    result = user.fine("login", "create", "--username", "alice", "--add-user", "--client", "api", "--amr", "pwd")
    assert TOKEN.fullmatch(result.out.strip())
    assert "not shown again" in result.err
    assert "of alice" in result.err
    with user.store() as store:
        login = store.logins.authenticate(result.out.strip())
        assert (login.client_type, login.amr) == ("api", ("pwd",))
        (entry,) = store.logins.history(login.id)
        assert entry.by is not None
        assert entry.by.startswith("cli:")


def test_in_json_the_token_is_beside_the_login(user: User) -> None:
    found = user.fine("login", "create", "42", "--any-user", "--json", "--session", "admin").data
    assert TOKEN.fullmatch(found["token"])
    assert (found["user_id"], found["state"]) == ("42", "active")
    history = user.fine("login", "show", found["id"], "--json").data["history"]
    assert history[0]["by"] == "admin"


def test_a_user_must_be_known_unless_said_otherwise(user: User) -> None:
    result = user("login", "create", "42")
    assert (result.code, "--any-user" in result.err) == (3, True)
    assert user("login", "create", "--username", "alice").code == 3
    first = sign_in(user)
    second = user.fine("login", "create", "--username", "alice").out.strip()
    assert first != second
    assert len({row["user_id"] for row in logins(user)}) == 1


def test_timeouts_are_chosen(user: User) -> None:
    def lasts(*words: str) -> timedelta | None:
        found = user.fine("login", "create", "1", "--any-user", "--json", *words).data
        end = found["expires_at"]
        return None if end is None else datetime.fromisoformat(end) - datetime.fromisoformat(found["created_at"])

    assert lasts() == timedelta(hours=8)
    assert lasts("--preset", "aal2") == timedelta(hours=1)
    assert lasts("--preset", "aal2", "--idle", "never") == timedelta(hours=24)
    assert lasts("--idle", "1m", "--absolute", "2d") == timedelta(minutes=1)
    assert lasts("--idle", "never", "--absolute", "never") is None


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["1", "--username", "a"],
        ["1", "--add-user"],
        ["--username", "a", "--any-user"],
        ["1", "--any-user", "--token", "s3cret-of-my-own-that-is-long-enough"],
        ["1", "--any-user", "-q"],
        ["1", "--any-user", "--preset", "aal4"],
        ["1", "--any-user", "--idle", "0"],
        ["1", "--any-user", "--idle", "soon"],
        ["1", "--any-user", "--world", "w"],
        ["1", "--any-user", "--client", "\x1b[31m"],
        ["1", "--any-user", "--client", "x" * 65],
    ],
)
def test_what_makes_no_sense_is_refused(user: User, words: list[str]) -> None:
    result = user("login", "create", *words)
    assert result.code in (2, 7), result.err
    assert "s3cret" not in result.err
    assert not logins(user, "--all")


def test_a_token_of_ones_own_is_read_and_not_printed(user: User) -> None:
    own = "a-token-of-my-own_with-more-than-128-bits-0123456789"
    result = user.fine("login", "create", "42", "--any-user", "--token", "-", "-q", stdin=own + "\n")
    (login,) = logins(user)
    assert result.out == login["id"] + "\n"
    shown = user.fine("login", "create", "43", "--any-user", "--token", "-", "--json", stdin=own[::-1])
    assert own[::-1] not in shown.out + shown.err
    assert user.fine("login", "show", "-", "--json", stdin=own).data["user_id"] == "42"
    weak = user("login", "create", "44", "--any-user", "--token", "-", stdin="hunter2")
    assert (weak.code, "hunter2" in weak.err) == (2, False)
    assert user("login", "create", "45", "--any-user", "--token", "-", stdin="").code == 2
    taken = user("login", "create", "46", "--any-user", "--token", "-", stdin=own)
    assert (taken.code, own in taken.err) == (7, False)


def test_a_key_signs_in_once(user: User) -> None:
    first = user.fine("login", "create", "42", "--any-user", "--key", "k", "--json").data
    second = user.fine("login", "create", "42", "--any-user", "--key", "k", "--json").data
    assert first["id"] == second["id"]
    assert first["token"] != second["token"]
    with user.store() as store:
        assert store.logins.authenticate(second["token"]).id == first["id"]


# -- looking -----------------------------------------------------------------------------------------------------------


def test_logins_are_listed_by_whose_and_where(user: User, world: tuple[str, str]) -> None:
    sign_in(user, "--character", world[0], "--client", "tui")
    sign_in(user, name="bob")
    assert len(logins(user)) == 2
    assert len(logins(user, "--username", "alice")) == len(logins(user, "--world", "reeds")) == 1
    assert [row["character_id"] for row in logins(user, "--character", world[0])] == [world[0]]
    assert logins(user, "--username", "bob")[0]["character_id"] is None
    table = user.fine("login", "list").lines
    assert table[0].split() == ["ID", "USER", "DEVICE", "CHARACTER", "WORLD", "STATE", "ACTIVE"]
    assert {line.split()[1] for line in table[1:]} == {"alice", "bob"}
    assert user("login", "list", "--username", "nobody").code == 3
    assert user.fine("login", "list", "--json", "--user", "nobody").data == []


def test_a_login_is_shown_with_its_history_and_looking_is_no_activity(user: User, world: tuple[str, str]) -> None:
    token = sign_in(user, "--metadata", '{"ci":true}')
    (row,) = logins(user)
    user.fine("login", "bind", row["id"][-8:], world[0])
    for words in (["show", row["id"][-8:]], ["show", "-"]):
        text = user.fine("login", *words, stdin=token).out
        assert text.startswith(f"Login {row['id'][-8:]} of alice\n")
        assert '{"ci": true}' in text
        assert "created" in text
        assert "bound" in text
    assert logins(user)[0]["last_activity_at"] == row["last_activity_at"]
    assert user("login", "show", "-", stdin="sjl_nobody").code == 3
    assert user("login", "show", "ZZZZZZZZ").code == 3
    assert user("login", "show", token).code == 2  # a token is no argument


def test_who_is_there(user: User, world: tuple[str, str]) -> None:
    assert user.fine("login", "online").out == "0 logins active.\n"
    sign_in(user)
    assert user.fine("login", "online", "--username", "alice").out.startswith("alice is online (signed in last ")
    sign_in(user, "--character", world[1])
    assert user.fine("login", "online", "--username", "alice", "--json").data["world_ids"] == ["reeds"]
    assert user.fine("login", "online", "--world", "reeds").lines == ["1 login active.", "  Brenna"]
    found = user.fine("login", "online", "--world", "reeds", "--json").data
    assert found == {"active": 1, "world_id": "reeds", "characters": ["Brenna"]}
    assert user.fine("login", "online", "nobody").out == "nobody is not there.\n"
    assert user("login", "online", "x", "--world", "reeds").code == 2


def test_nothing_is_made_by_looking_where_there_is_no_store(user: User) -> None:
    assert user.fine("login", "list", "--json").data == []
    assert user.fine("login", "online", "--world", "w", "--json").data["characters"] == []
    assert user.fine("login", "online", "alice", "--json").data["account"] is False
    assert user("login", "show", "ABCDEFGH").code == 3
    assert not user.path.exists()


# -- changing ----------------------------------------------------------------------------------------------------------


def test_a_character_is_bound_taken_over_shared_and_left(user: User, world: tuple[str, str]) -> None:
    sign_in(user)
    sign_in(user)
    first, second = (row["id"] for row in logins(user))
    assert "plays" in user.fine("login", "bind", first, world[0]).out
    result = user("login", "bind", second, world[0])
    assert (result.code, "--on-conflict take_over" in result.err) == (7, True)
    user.fine("login", "bind", second, world[0], "--on-conflict", "take_over")
    assert {row["id"]: row["character_id"] for row in logins(user)} == {first: None, second: world[0]}
    user.fine("login", "bind", first, world[0], "--on-conflict", "share")
    assert all(row["shared_character"] for row in logins(user))
    assert user("login", "bind", first, world[0], "--world", "other").code == 7
    assert user("login", "bind", first, "999").code == 3
    assert "no character" in user.fine("login", "unbind", first).out
    user.fine("login", "unbind", first)


def test_a_token_is_rotated_from_standard_input(user: User) -> None:
    old = sign_in(user)
    before = user.path.read_bytes()
    assert "would" in user.fine("login", "rotate", "--dry-run", "--json", stdin=old).out
    assert user("login", "rotate", "--dry-run", stdin="sjl_nobody").code == 3
    assert user.path.read_bytes() == before
    fresh = user.fine("login", "rotate", "--reauthenticated", stdin=old + "\n").out.strip()
    assert TOKEN.fullmatch(fresh)
    assert fresh != old
    assert user("login", "rotate", "-q", stdin=fresh).code == 2
    assert user("login", "rotate", stdin="").code == 2
    assert user("login", "rotate", old).code == 2  # an argument it does not take
    reused = user("login", "rotate", "--json", stdin=old)
    assert (reused.code, reused.error["code"]) == (5, "session.ended")
    assert old not in reused.err
    assert user("login", "rotate", stdin=fresh).code == 5  # reuse has ended the login


def test_one_login_or_all_of_a_user_are_ended(user: User) -> None:
    tokens = [sign_in(user) for _ in range(3)]
    bobs = sign_in(user, name="bob")
    assert user.fine("login", "revoke", "-", "--reason", "lost phone", stdin=tokens[0]).out.endswith("of alice is ended.\n")
    assert "had ended already" in user.fine("login", "revoke", "-", stdin=tokens[0]).out
    keep = user.fine("login", "show", "-", "-q", stdin=tokens[1]).out.strip()
    result = user("login", "revoke-user", "--username", "alice")
    assert (result.code, "End 2 logins of alice?" in result.err) == (2, True)
    assert (
        user.fine("login", "revoke-user", "--username", "alice", "--keep", keep[-8:], "--yes").out
        == "Ended 1 login of alice.\n"
    )
    assert {row["id"] for row in logins(user, "--username", "alice")} == {keep}
    assert len(logins(user, "--username", "alice", "--all")) == 3
    assert user("login", "revoke-user", "--yes").code == 2
    with user.store() as store:
        assert store.logins.authenticate(bobs).state == "active"
        with pytest.raises(sojourn.EndedError, match="lost phone"):
            store.logins.authenticate(tokens[0])


# -- secrets and strangers' text ---------------------------------------------------------------------------------------


def every_answer(user: User, token: str) -> Iterator[str]:
    """What all commands say about a store with a login, in every form."""
    (row,) = logins(user)
    for mode in ([], ["--json"], ["--jsonl"], ["-q"], ["--no-color"]):
        for words in (
            ["login", "list", "--all"],
            ["login", "show", row["id"]],
            ["login", "show", "-"],
            ["login", "online", row["user_id"]],
            ["login", "bind", row["id"], "7"],
            ["login", "revoke", "-", "--dry-run"],
            ["login", "revoke-user", row["user_id"], "--dry-run"],
            ["login", "rotate", "--dry-run"],
            ["login", "create", "9", "--any-user", "--token", "-", "--dry-run"],
            ["login", "create", "9", "--any-user", "--token", "-"],
            ["session", "list"],
            ["session", "show", row["id"]],
            ["session", "events", row["id"]],
            ["export"],
            ["doctor"],
        ):
            result = user(*words, *mode, stdin=token)
            yield result.out + result.err


def test_nothing_that_is_printed_holds_a_secret_but_the_one_just_made(user: User) -> None:
    token = user.fine("login", "create", "42", "--any-user", "--json").data["token"]
    with user.store() as store:
        (digest,) = [row.data["secret"] for row in _rows(store)]
    secret = token.partition(".")[2]
    texts = list(every_answer(user, token))
    assert any("42" in text for text in texts)
    for text in texts:
        assert secret not in text
        assert digest.partition("_")[2] not in text


def _rows(store: sojourn.Store) -> list[Any]:
    from sojourn.shell.bridge import run_sync

    async def rows() -> list[Any]:
        return [row async for page in store.logins._aio._reader.pages() for row in page]

    return run_sync(rows())


def test_a_strangers_text_steers_no_terminal(user: User) -> None:
    agent = "Mozilla <script>alert(1)</script> $(reboot)"
    with user.store(directory=False) as store:
        with pytest.raises(sojourn.InvalidValueError):
            store.logins.create("mallory", user_agent=EVIL)
        store.logins.create("mallory\u202e", user_agent=agent, metadata={"x": EVIL})
    for words in (["login", "list"], ["login", "show", logins(user)[0]["id"]]):
        for mode in ([], ["--json"]):
            out = user.fine(*words, *mode).out
            assert "\x1b" not in out
            assert "\u202e" not in out
            assert agent in out


def test_help_of_what_reads_standard_input(user: User) -> None:
    text = user.fine("login", "rotate", "--help").out
    assert "sojourn login rotate < token.txt" in text


def test_the_import_is_told_in_json_without_tokens(user: User) -> None:
    mud = Path(__file__).parent.parent / "formats" / "data" / "mud"
    tokens = json.loads((mud / "expected.json").read_text())["live_tokens"]
    result = user.fine("import", "mud", mud, "--json")
    assert result.data["tables"]["sessions"] == {"read": 22, "imported": 22, "skipped": 0}
    assert user.fine("import", "mud", mud / "mud.db").out.count("22 skipped") == 1
    for token in tokens:
        assert token not in result.out
        assert user.fine("login", "show", "-", "--json", stdin=token).data["user_id"]
    assert user.fine("login", "online", "--world", "pipeworks_web", "--json").data["characters"][0] == "Aldis of the Reeds"
