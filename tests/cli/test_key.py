"""Keys of the HTTP API at the command line."""

import asyncio

import pytest

import sojourn
from sojourn.service.keys import LoginKeys
from tests.cli.conftest import User


def _finds(user: User, token: str) -> tuple[str, str, frozenset[str]] | None:
    """What the service makes of a key."""

    async def look() -> tuple[str, str, frozenset[str]] | None:
        async with sojourn.aopen(f"sqlite:///{user.path}") as store:
            found = await LoginKeys(store).find(token)
            return None if found is None else (found.name, found.tenant, found.scopes)

    return asyncio.run(look())


def test_a_key_is_printed_once_and_opens_what_it_says(user: User) -> None:
    made = user.fine("key", "create", "bot", "--scope", "games:read", "--tenant", "acme")
    token = made.out.strip()
    assert token not in made.err
    assert "not shown again" in made.err
    assert _finds(user, token) == ("bot", "acme", frozenset({"games:read"}))
    listed = user.fine("key", "list")
    assert token.rpartition(".")[2] not in listed.out + listed.err
    assert "games:read" in listed.out
    assert token.encode() not in b"".join(path.read_bytes() for path in user.path.parent.iterdir() if path.is_file())


def test_a_key_without_scopes_reads_and_writes(user: User) -> None:
    made = user.fine("key", "create", "bot", "--json").data
    assert made["scopes"] == ["read", "write"]
    assert _finds(user, made["key"]) == ("bot", "default", frozenset({"read", "write"}))


def test_rotating_takes_the_old_one_from_standard_input(user: User) -> None:
    old = user.fine("key", "create", "bot").out
    new = user.fine("key", "rotate", stdin=old).out.strip()
    assert _finds(user, old.strip()) is None
    assert _finds(user, new) is not None
    assert user("key", "rotate", stdin=old).code == 3
    assert user("key", "rotate", stdin=" \n").code == 2
    assert user("key", "rotate", stdin="guess").code != 0
    before = user.fine("key", "list").out
    user.fine("key", "rotate", "--dry-run", stdin=new)
    assert user.fine("key", "list").out == before


def test_revoking_asks_and_takes_the_end_of_an_id(user: User) -> None:
    first = user.fine("key", "create", "bot", "--json").data
    second = user.fine("key", "create", "other", "--json").data
    assert user("key", "revoke", first["id"][-8:]).code == 2, "nobody could be asked"
    user.fine("key", "revoke", first["id"][-8:], "--dry-run")
    assert _finds(user, first["key"]) is not None
    assert "Revoked" in user.fine("key", "revoke", first["id"][-8:], "--yes").out
    assert _finds(user, first["key"]) is None
    assert [item["name"] for item in user.fine("key", "list", "--json").data] == ["other"]
    gone = user("key", "revoke", first["id"][-8:], "--yes")
    assert gone.code == 3
    assert "key list" in gone.err
    assert user("key", "revoke", "", "--yes").code == 3
    user.fine("key", "revoke", second["id"], "--yes")


@pytest.mark.parametrize("words", [["create", "bot", "-q"], ["rotate", "-q"]])
def test_a_key_that_nobody_would_see_is_not_made(user: User, words: list[str]) -> None:
    user.fine("key", "create", "first")
    assert user("key", *words, stdin="x").code == 2
    assert len(user.fine("key", "list", "--json").data) == 1


def test_what_is_wrong_is_told(user: User) -> None:
    refused = user("key", "create", "bot", "--scope", "fly")
    assert refused.code != 0
    assert "conversations:read" in refused.err
    assert user("key", "create", "bot", "--tenant", "sojourn.service").code != 0
    empty = user.fine("key", "list")
    assert "key create NAME" in empty.err
    assert user.fine("key", "list", "--json").data == []


def test_the_service_has_to_be_installed(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("sojourn.service")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette.requests", None)
    refused = user("key", "create", "bot")
    assert refused.code == 78
    assert "pip install 'sojourn[service]'" in refused.err
