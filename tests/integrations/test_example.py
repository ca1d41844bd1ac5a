"""The application of the documentation, as an attacker and as its users would use it."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import sojourn
from sojourn.testing.clocks import ManualClock

PATH = Path(__file__).parents[2] / "docs" / "examples" / "sign_in_app.py"
PASSWORD = "correct horse battery staple"  # the example's own
HERE = "https://shop.example"


@pytest.fixture(scope="module")
def example() -> Any:
    """The program, with passwords that are quick to check."""
    spec = importlib.util.spec_from_file_location("sign_in_app", PATH)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules["sign_in_app"] = module  # annotations are looked up there
    spec.loader.exec_module(module)
    module.COST = 1 << 4
    return module


@pytest.fixture
def app(example: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("STORE", f"sqlite:///{tmp_path / 'app.db'}")
    example.ACCOUNTS |= {"alice": example.account("1001", PASSWORD), "bob": example.account("1002", PASSWORD)}
    example.NOBODY = example.account("", "x")
    return example


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    async with app.app.router.lifespan_context(app.app):
        yield


def browser(app: Any, agent: str = "Fire/1") -> httpx.AsyncClient:
    headers = {"User-Agent": agent, "Sec-Fetch-Site": "same-origin"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app.app), base_url=HERE, headers=headers)


async def sign_in(app: Any, client: httpx.AsyncClient, name: str = "alice") -> None:
    assert await app.post(client, "/sign-in", name=name, password=PASSWORD) == 303
    assert (await client.get("/api/me")).json()["user"] == name


def devices(page: str) -> list[str]:
    return re.findall(r"<li>(.*?)</li>", page)


async def test_the_device_list_is_ones_own_and_escaped(app: Any) -> None:
    async with running(app), browser(app, "<script>alert(1)</script>") as evil, browser(app) as alice, browser(app) as bob:
        await sign_in(app, evil)
        await sign_in(app, alice)
        await sign_in(app, bob, "bob")
        page = (await alice.get("/")).text
        assert len(devices(page)) == 2
        assert "<script>" not in page
        assert "&lt;script&gt;" in page
        assert len(devices((await bob.get("/")).text)) == 1
        (other,) = re.findall(r"/devices/(\w+)/end", page)
        assert await app.post(bob, f"/devices/{other}/end") == 404
        assert await app.post(alice, f"/devices/{other}/end") == 303
        assert (await evil.get("/api/me")).status_code == 401
        assert len(devices((await alice.get("/")).text)) == 1


async def test_sign_out_everywhere_and_what_answers_after_it(app: Any) -> None:
    async with running(app), browser(app) as one, browser(app) as two:
        await sign_in(app, one)
        await sign_in(app, two)
        token = one.cookies["__Host-sid"]
        assert await app.post(one, "/sign-out-everywhere") == 303
        for client in (one, two):
            assert (await client.get("/api/me")).status_code == 401
        async with browser(app) as thief:
            answer = await thief.get("/api/me", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["detail"]) == (401, "session.ended")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", ["/sign-out", "/sign-out-everywhere", "/password", "/confirm", "/devices/x/end", "/sign-in"])
async def test_forged_forms_do_nothing(app: Any, path: str) -> None:
    async with running(app), browser(app) as alice:
        await sign_in(app, alice)
        fields = {"password": PASSWORD, "name": "bob"}
        assert (await alice.post(path, data=fields)).status_code == 403
        assert (await alice.post(path, data=fields, headers={"Sec-Fetch-Site": "cross-site"})).status_code == 403
        assert (await alice.get("/api/me")).json()["user"] == "alice"


async def test_signing_in_is_not_possible_with_the_form_of_another_visitor(app: Any) -> None:
    async with running(app), browser(app) as attacker, browser(app) as victim:
        token = re.search(r'csrf_token" value="([^"]+)"', (await attacker.get("/")).text)
        assert token is not None
        fields = {"name": "alice", "password": PASSWORD, "csrf_token": token[1]}
        await victim.get("/")
        assert (await victim.post("/sign-in", data=fields)).status_code == 403


async def test_a_wrong_password_says_nothing_about_the_name(app: Any) -> None:
    async with running(app), browser(app) as client:
        assert await app.post(client, "/sign-in", name="alice", password="wrong") == 403
        assert await app.post(client, "/sign-in", name="nobody", password="wrong") == 403
        assert await app.post(client, "/sign-in", name="nobody", password="x") == 403  # nobody's password, guessed
        assert len(await app.app.state.store.logins.list(active_only=False)) == 0


async def test_an_old_proof_is_not_enough_for_the_password(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(datetime.now(UTC))
    opened = sojourn.aopen

    def at(*words: Any, **more: Any) -> Any:
        return opened(*words, clock=clock, **more)

    monkeypatch.setattr(sojourn, "aopen", at)
    async with running(app), browser(app) as laptop, browser(app) as phone:
        await sign_in(app, laptop)
        await sign_in(app, phone)
        clock.advance(timedelta(minutes=11))
        assert await app.post(laptop, "/password", password="a new password of mine") == 403
        before = laptop.cookies["__Host-sid"]
        assert await app.post(laptop, "/confirm", password="wrong") == 403
        assert await app.post(laptop, "/confirm", password=PASSWORD) == 303
        assert laptop.cookies["__Host-sid"] != before
        assert await app.post(laptop, "/password", password="short") == 422
        assert await app.post(laptop, "/password", password="a new password of mine") == 303
        assert (await laptop.get("/api/me")).status_code == 200
        assert (await phone.get("/api/me")).json()["detail"] == "session.ended"
        assert app.proven("alice", "a new password of mine") is not None


async def test_a_program_gets_a_token_and_no_cookie(app: Any) -> None:
    async with running(app), browser(app) as client:
        page = (await client.get("/")).text
        token = re.search(r'csrf_token" value="([^"]+)"', page)
        assert token is not None
        fields = {"name": "alice", "password": PASSWORD, "csrf_token": token[1]}
        made = await client.post("/api/token", data=fields)
        assert "__Host-sid" not in client.cookies
        async with browser(app) as program:
            answer = await program.get("/api/me", headers={"Authorization": f"Bearer {made.json()['token']}"})
        assert (answer.json()["user"], answer.json()["device"]) == ("alice", "api")


async def test_reading_pages_makes_no_record_and_writes_nothing(app: Any) -> None:
    async with running(app), browser(app) as anonymous, browser(app) as alice:
        await sign_in(app, alice)
        writes: list[Any] = []
        engine = app.app.state.store._engine
        commit = engine.commit

        async def counted(batch: Any) -> Any:
            writes.append(batch)
            return await commit(batch)

        engine.commit = counted
        for client in (anonymous, alice):
            for _ in range(10):
                assert (await client.get("/")).status_code == 200
        assert not writes
        assert len(await app.app.state.store.logins.list(active_only=False)) == 1
