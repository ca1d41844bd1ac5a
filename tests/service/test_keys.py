"""API keys as logins of the store."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

import sojourn
from sojourn import InvalidValueError, NotFoundError
from sojourn.service.keys import SCOPES, TENANT, LoginKeys
from sojourn.testing.clocks import ManualClock


def test_a_key_opens_what_its_scopes_say(desk: Any) -> None:
    async def scene() -> None:
        async with desk(own_keys=True) as it:
            made = await it.keys.create("reader", scopes=["contexts:read"])
            key = str(made.token)
            assert key not in repr(made)
            await it.fine("GET", "/v1/contexts", key=key)
            problem = await it.problem(403, "POST", "/v1/contexts", key=key, json={"name": "n"})
            assert "contexts:write" in problem["detail"]
            await it.problem(403, "GET", "/v1/conversations", key=key)
            await it.problem(403, "GET", "/v1/store/facts", key=key)
            admin = str((await it.keys.create("boss", scopes=["admin"])).token)
            await it.fine("GET", "/v1/store/facts", key=admin)

    asyncio.run(scene())


def test_a_key_reaches_its_tenant_only(desk: Any) -> None:
    async def scene() -> None:
        async with desk(own_keys=True) as it:
            made = await it.fine("POST", "/v1/conversations", json={"user_id": "ann"})
            key = str((await it.keys.create("acme bot", tenant="acme")).token)
            assert (await it.fine("GET", "/v1/conversations", key=key))["items"] == []
            await it.problem(404, "GET", f"/v1/conversations/{made['id']}", key=key)
            await it.fine("POST", "/v1/conversations", json={"user_id": "bo"}, key=key)
            assert len((await it.store.for_tenant("acme").conversations.list()).items) == 1
            with pytest.raises(InvalidValueError, match=r"service's own"):
                await it.keys.create("thief", tenant=TENANT)

    asyncio.run(scene())


def test_keys_are_in_no_list_of_any_tenant(desk: Any) -> None:
    async def scene() -> None:
        async with desk(own_keys=True) as it:
            made = await it.keys.create("bot", tenant="default")
            assert (await it.fine("GET", "/v1/logins"))["items"] == []
            assert (await it.fine("GET", "/v1/sessions", params={"filter": "kind:login state:all"}))["items"] == []
            await it.problem(404, "GET", f"/v1/sessions/{made.login.id}")
            assert [line async for line in it.store.export()][1:] == []

    asyncio.run(scene())


def test_revoked_and_rotated_keys_are_nobodys(desk: Any) -> None:
    async def scene() -> None:
        async with desk(own_keys=True) as it:
            first = await it.keys.create("bot", scopes=["read"])
            second = await it.keys.rotate(str(first.token))
            await it.problem(401, "GET", "/v1/contexts", key=str(first.token))
            with pytest.raises(NotFoundError):
                await it.keys.rotate(str(first.token))
            await it.fine("GET", "/v1/contexts", key=str(second.token))
            await it.problem(403, "POST", "/v1/contexts", key=str(second.token), json={"name": "n"})
            assert [key.id for key in await it.keys.list()] == [second.login.id]
            assert await it.keys.revoke(first.login.id) is False
            assert await it.keys.revoke(second.login.id) is True
            await it.problem(401, "GET", "/v1/contexts", key=str(second.token))
            assert await it.keys.list() == []
            with pytest.raises(NotFoundError):
                await it.keys.rotate(str(second.token))
            with pytest.raises(NotFoundError):
                await it.keys.revoke("01ZZZZZZZZZZZZZZZZZZZZZZZZ")

    asyncio.run(scene())


def test_a_login_of_an_application_is_no_key(desk: Any) -> None:
    async def scene() -> None:
        async with desk(own_keys=True) as it:
            user = await it.store.directory.add_user("ann")
            metadata = {"tenant": "default", "scopes": ["admin"]}
            login = await it.store.logins.create(user, client_type="api", metadata=metadata)
            await it.problem(401, "GET", "/v1/contexts", key=str(login.token))
            with pytest.raises(NotFoundError):
                await it.keys.revoke(login.login.id)

    asyncio.run(scene())


@pytest.mark.parametrize("scopes", [[], ["fly"], ["read", "conversation:read"]])
def test_scopes_that_are_none(scopes: list[str]) -> None:
    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            with pytest.raises(InvalidValueError, match="scope") as caught:
                await LoginKeys(store).create("bot", scopes=scopes)
            assert all(scope in caught.value.hint for scope in SCOPES)

    asyncio.run(scene())


def test_keys_do_not_run_out_and_are_in_every_page_of_the_list() -> None:
    async def scene() -> None:
        clock = ManualClock()
        async with sojourn.aopen("memory:", clock=clock) as store:
            keys = LoginKeys(store)
            made = await keys.create("old")
            clock.advance(timedelta(days=4000))
            await store.sweep()
            assert (await keys.find(str(made.token))) is not None
            for number in range(205):
                await keys.create(f"bot {number:03}")
            assert len(await keys.list()) == 206

    asyncio.run(scene())


@pytest.mark.parametrize(
    "token", ["", "guess", "sjl_", "Bearer", "\u00ff\u00fe", "x" * 5000, "sjl_01M7W8GNKWMDZTAW9VVNEK46W1.x"]
)
def test_what_is_no_key(token: str) -> None:
    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            assert await LoginKeys(store, admin_secret="secret").find(token) is None
            assert await LoginKeys(store).find(token) is None

    asyncio.run(scene())


def test_an_application_without_keys_of_its_own_asks_for_those_of_the_store() -> None:
    import httpx

    from sojourn.service import application

    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            transport = httpx.ASGITransport(application(store))
            async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
                assert (await client.get("/v1/contexts")).status_code == 401
                key = str((await LoginKeys(store).create("bot")).token)
                assert (await client.get("/v1/contexts", headers={"authorization": f"Bearer {key}"})).status_code == 200

    asyncio.run(scene())
