"""What the console does, asked without a browser: every action, and what a browser's address bar or a stranger may send."""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

import sojourn
from sojourn import AsyncStore, GamePolicy
from sojourn.errors import UnavailableError
from sojourn.service import SecretKeys, ServiceOptions, application
from sojourn.service.console.operators import LinkOperators
from sojourn.service.console.pages import Operator
from sojourn.service.house import STORY_POLICY
from sojourn.testing.engines import EnginePlaces, Place


class Visitor:
    """A browser without script: follows links and sends forms."""

    def __init__(self, client: httpx.AsyncClient, store: AsyncStore, operators: LinkOperators, base: str) -> None:
        self.client = client
        self.store = store
        self.operators = operators
        self.base = base

    async def sign_in(self) -> None:
        answer = await self.client.get(self.base + self.operators.link())
        assert answer.status_code == 303, answer.text

    async def see(self, path: str, status: int = 200) -> str:
        answer = await self.client.get(self.base + path, follow_redirects=True)
        assert answer.status_code == status, answer.text
        return answer.text

    async def send(self, path: str, form: dict[str, Any], *, csrf: str | None = None, **more: Any) -> httpx.Response:
        """Post a form with the token that the console's pages carry."""
        if csrf is None:
            csrf = (re.findall(r'name="csrf" value="([^"]+)"', await self.see("/")) or [""])[0]
        return await self.client.post(self.base + path, data={"csrf": csrf, **form}, **more)

    async def act(self, path: str, **form: Any) -> str:
        """An action; the page that it leads to."""
        answer = await self.send(path, form)
        assert answer.status_code == 303, answer.text
        found = await self.client.get(answer.headers["location"])
        assert found.status_code == 200, found.text
        return found.text


_fresh: ContextVar[Callable[[], Place]] = ContextVar("_fresh")
"""Gives an empty place on the engine that a test runs on."""


EVERYWHERE = ("ends", "is_there", "revoked", "bulk", "fork")
"""Words in the names of tests that run on each engine; the others ask nothing of a store that the service's tests do not."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """On memory, and some of them on each server as well."""
    everywhere = any(word in metafunc.function.__name__ for word in EVERYWHERE)
    engines = [name for name in EnginePlaces.available() if name not in ("memory", "sqlite")] if everywhere else []
    metafunc.parametrize("_stands_on", ["memory", *engines], indirect=True)


@pytest.fixture(autouse=True)
def _stands_on(request: pytest.FixtureRequest, service_places: EnginePlaces, tmp_path: Path) -> Iterator[None]:
    token = _fresh.set(lambda: service_places.fresh(request.param, tmp_path))
    yield
    _fresh.reset(token)


@asynccontextmanager
async def visit(base: str = "", *, signed_in: bool = True, scheme: str = "http", **options: Any) -> AsyncIterator[Visitor]:
    place = _fresh.get()()
    async with sojourn.aopen(place.url, directory=False, engine=place.options) as store:
        operators = LinkOperators(store)
        app = application(store, keys=SecretKeys({}), operators=operators, options=ServiceOptions(**options))
        outer = Starlette(routes=[Mount(base, app)]) if base else app
        transport = httpx.ASGITransport(outer, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=f"{scheme}://console") as client:
            visitor = Visitor(client, store, operators, base)
            if signed_in:
                await visitor.sign_in()
            yield visitor
        await app.state.service.close()


def at_console(scene: Callable[[Visitor], Awaitable[None]], *places: Any, **options: Any) -> None:
    async def whole() -> None:
        async with visit(*places, **options) as visitor:
            await scene(visitor)

    asyncio.run(whole())


def test_sessions_of_every_kind_end_the_way_their_kind_does() -> None:
    async def scene(it: Visitor) -> None:
        store = it.store
        talk = await store.conversations.create("ann")
        context = await store.contexts.create("notes")
        game = await store.games.boot("table", "Grey")
        login = await store.logins.create("ann")
        work = await store.workspaces.start("implementer", project_id="p1")
        ids = [talk.id, context.id, game.id, login.login.id, work.id]
        page = await it.act("/sessions/end", id=[*ids, "nonsense", "01ZZZZZZZZZZZZZZZZZZZZZZZZ"], back="/sessions")
        assert "5 ended." in page
        for id in ids:
            row = await store.sessions.get(id)
            assert row is not None
            assert row.state == "ended", row.kind
        assert await store.games.get("table") is None
        with pytest.raises(sojourn.EndedError):
            await store.logins.authenticate(login.token)
        assert await store.workspaces.count_active(project_id="p1") == {}
        assert "0 ended." in await it.act("/sessions/end", id=ids)
        assert "Nothing was chosen." in await it.act("/sessions/end")

    at_console(scene)


def test_logins_are_revoked_one_by_one_or_all_of_a_user() -> None:
    async def scene(it: Visitor) -> None:
        made = [await it.store.logins.create(user) for user in ("ann", "ann", "ann", "bo")]
        assert "1 revoked." in await it.act("/logins/revoke", id=made[0].login.id, back="/logins")
        assert "2 revoked." in await it.act("/logins/revoke", all="ann")
        assert "Nothing was chosen." in await it.act("/logins/revoke")
        page = await it.see("/logins")
        assert "ann" not in page.partition("<main")[2]
        assert made[3].login.id in page

    at_console(scene)


def test_a_conversation_is_forked_and_unfolded() -> None:
    async def scene(it: Visitor) -> None:
        talk = await it.store.conversations.create("ann", title="Trip")
        for number in range(60):
            await it.store.conversations.append(talk.id, "user", f"message {number}")
        folded = await it.store.conversations.consolidate(talk.id)
        assert folded is not None
        page = await it.see(f"/conversations/{talk.id}")
        sequence = re.findall(r'name="sequence" value="(\d+)"', page)[0]
        assert "Unfolded" in await it.act(f"/conversations/{talk.id}/unfold", sequence=sequence)
        assert "message 0" in await it.see(f"/conversations/{talk.id}")
        page = await it.act(f"/conversations/{talk.id}/fork")
        assert f">{talk.id[-8:]}<" in page

    at_console(scene)


def test_a_game_from_its_beginning_to_its_end() -> None:
    async def scene(it: Visitor) -> None:
        page = await it.act("/games/boot", channel="table")
        game = await it.store.games.get("table")
        assert game is not None
        link = re.findall(r'href="(/play/[A-Z0-9]+)"', page)[0]
        answer = await it.client.post(f"{link}/join", data={"name": "Ann"}, follow_redirects=True)
        assert "Turn 1" in answer.text
        for name, says in (
            ("pause", "The countdown stands."),
            ("unpause", "It goes on."),
            ("close", "The turn is closed."),
            ("invite", "Send the link"),
            ("shelve", "on the shelf"),
            ("resume", "shown in its channel again"),
            ("exit", "The game has ended."),
        ):
            page = await it.act(f"/games/{game.id}/{name}")
            assert says in page, name
        assert 'class="note bad"' in await it.act(f"/games/{game.id}/exit")
        assert 'class="note bad"' in await it.act(f"/games/{game.id}/dance")
        assert (await it.store.games.load(game.id)).state == "ended"

    at_console(scene)


def test_a_sweep_does_what_the_page_said(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(it: Visitor) -> None:
        assert "Nothing was due." in await it.act("/store/sweep", back="/store")
        page = await it.see("/store?check=1")
        assert "Nothing is damaged." in page

    at_console(scene)


def test_workspaces_of_a_project_with_their_claims() -> None:
    async def scene(it: Visitor) -> None:
        made = await it.store.workspaces.start("implementer", name="scout", project_id="p1")
        await it.store.workspaces.claim(made.id, "src/app.py")
        assert "p1" in await it.see("/workspaces")
        page = await it.see("/workspaces?project=p1")
        assert "scout" in page
        assert "src/app.py" in page
        twin = json.loads(await it.see("/workspaces.json?project=p1"))
        assert twin["counts"] == {"implementer": 1}

    at_console(scene)


# -- what is wrong ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        ("/conversations/nothing/fork", {}, 303),
        ("/conversations/nothing/unfold", {"sequence": "1"}, 303),
        ("/conversations/nothing/unfold", {}, 303),
        ("/conversations/nothing/unfold", {"sequence": "-1"}, 303),
        ("/games/boot", {}, 303),
        ("/games/boot", {"channel": "x" * 5000}, 303),
        ("/games/nothing/close", {}, 303),
        ("/logins/revoke", {"all": ""}, 303),
        ("/sessions/end", {"id": "x" * 200_000}, 413),
        ("/sessions/end", {f"f{number}": "" for number in range(3000)}, 413),
    ],
)
def test_a_form_that_does_not_fit_is_told(path: str, form: dict[str, str], status: int) -> None:
    async def scene(it: Visitor) -> None:
        answer = await it.send(path, form)
        assert answer.status_code == status, answer.text
        page = answer.text if status != 303 else (await it.client.get(answer.headers["location"])).text
        assert "That did not work" not in page
        assert status != 303 or 'class="note bad"' in page

    at_console(scene)


@pytest.mark.parametrize("token", ["", "0" * 64, "\u00fc"])
@pytest.mark.parametrize("path", ["/sessions/end", "/games/boot", "/logins/revoke", "/store/sweep", "/signout"])
def test_a_form_without_the_console_s_token_does_nothing(path: str, token: str) -> None:
    async def scene(it: Visitor) -> None:
        answer = await it.send(path, {"channel": "table", "all": "ann"}, csrf=token)
        assert answer.status_code == 403
        assert await it.store.games.get("table") is None
        assert "Overview" in await it.see("/")

    at_console(scene)


def test_a_form_from_another_site_does_nothing_even_with_the_token() -> None:
    async def scene(it: Visitor) -> None:
        answer = await it.send("/games/boot", {"channel": "table"}, headers={"sec-fetch-site": "cross-site"})
        assert answer.status_code == 403

    at_console(scene)


@pytest.mark.parametrize(
    "back", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "\t//evil.example"]
)
def test_a_form_leads_nowhere_else(back: str) -> None:
    async def scene(it: Visitor) -> None:
        answer = await it.send("/store/sweep", {"back": back})
        assert answer.headers["location"] == "/"

    at_console(scene)


def test_a_view_that_fails_is_a_page_and_is_logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    async def away(*_: object, **__: object) -> None:
        raise UnavailableError("the engine is away.", hint="Wait.")

    async def scene(it: Visitor) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(it.store.sessions, "list", broken)
            page = await it.see("/sessions", 500)
            assert "This page failed" in page
            assert "a fault of ours" not in page
            assert "a fault of ours" in caplog.text
            patch.setattr(it.store.sessions, "list", away)
            page = await it.see("/sessions", 503)
            assert "The store does not answer" in page
            assert json.loads(await it.see("/sessions.json", 503))["code"] == "engine.unavailable"
        assert "Sessions" in await it.see("/sessions")

    at_console(scene)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sessions/nothing", 404),
        ("/conversations/nothing", 404),
        ("/conversations/nothing?before=x", 404),
        ("/games/nothing", 404),
        ("/contexts/view", 422),
        ("/contexts/view?name=none", 404),
        ("/contexts/view?name=%00", 422),
        ("/sessions?filter=nonsense", 422),
        ("/sessions?after=zzz", 422),
        ("/logins?user=%00", 422),
        ("/workspaces?project=%00", 422),
        ("/play/NOSUCH12", 404),
        ("/play/in/sojourn.service/NOSUCH12", 404),
        ("/play/%00", 404),
        ("/static/nothing.css", 404),
        ("/static/..%2Fpages.py", 404),
    ],
)
def test_an_address_that_is_none_is_told(path: str, status: int) -> None:
    async def scene(it: Visitor) -> None:
        answer = await it.client.get(path)
        assert answer.status_code in ({status, 422, 404} if "%00" in path else {status}), answer.text

    at_console(scene)


# -- signing in ------------------------------------------------------------------------------------------------------------


def test_a_link_is_not_used_up_by_who_only_looks() -> None:
    async def scene(it: Visitor) -> None:
        link = it.operators.link()
        assert (await it.client.head(link)).status_code == 401
        assert (await it.client.get(link)).status_code == 303
        assert (await it.client.get(link)).status_code == 401

    at_console(scene, signed_in=False)


def test_a_link_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(it: Visitor) -> None:
        link = it.operators.link()
        now = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now + 601)
        assert (await it.client.get(link)).status_code == 401

    at_console(scene, signed_in=False)


@pytest.mark.parametrize(
    ("base", "scheme", "name", "path"),
    [
        ("", "http", "sojourn_console", "/"),
        ("", "https", "__Host-sojourn_console", "/"),
        ("/apps/sojourn", "http", "sojourn_console", "/apps/sojourn"),
        ("/apps/sojourn", "https", "__Secure-sojourn_console", "/apps/sojourn"),
    ],
)
def test_the_cookie_is_kept_to_the_console(base: str, scheme: str, name: str, path: str) -> None:
    async def scene(it: Visitor) -> None:
        answer = await it.client.get(base + it.operators.link())
        assert answer.headers["location"] == f"{base}/"
        cookie = answer.headers["set-cookie"].lower()
        assert cookie.startswith(f"{name.lower()}=sjl_")
        assert {"httponly", "samesite=lax", f"path={path}"} <= set(cookie.split("; "))
        assert ("secure" in cookie.split("; ")) == (scheme == "https")
        page = await it.see("/sessions")
        assert f'href="{base}/static/console.css"' in page
        assert "Sessions" in await it.act("/theme", to="dark", back="/sessions")
        answer = await it.send("/signout", {})
        assert answer.headers["location"] == f"{base}/signin"
        assert "Nobody is signed in" in await it.see("/", 401)

    at_console(scene, base, scheme=scheme, signed_in=False)


@pytest.mark.parametrize("cookie", ["", "guess", "sjl_01M7W8GNKWMDZTAW9VVNEK46W1.x", "\u00fc", "x" * 4000])
def test_a_cookie_that_is_nobody_s(cookie: str) -> None:
    async def scene(it: Visitor) -> None:
        headers = {b"cookie": f"sojourn_console={cookie}".encode("latin-1")}
        for path in ("/", "/live", "/sessions.json"):
            assert (await it.client.get(path, headers=headers)).status_code == 401
        assert (await it.client.post("/store/sweep", headers=headers)).status_code == 401

    at_console(scene, signed_in=False)


def test_who_plays_is_no_operator_and_a_key_is_none_either() -> None:
    async def scene(it: Visitor) -> None:
        from sojourn.service.keys import LoginKeys

        game = await it.store.games.boot("table", "Grey", policy=STORY_POLICY)
        code = await it.store.games.invite(None, game_id=game.id)
        answer = await it.client.post(f"/play/{code}/join", data={"name": "Ann"})
        guest = answer.cookies["sojourn_play"]
        key = str((await LoginKeys(it.store).create("bot", scopes=["admin"])).token)
        it.client.cookies.clear()
        for token in (guest, key):
            assert (await it.client.get("/", headers={"cookie": f"sojourn_console={token}"})).status_code == 401

    at_console(scene, signed_in=False)


# -- playing ---------------------------------------------------------------------------------------------------------------


async def _table(it: Visitor, policy: Any = STORY_POLICY) -> tuple[str, str]:
    game = await it.store.games.boot("table", "Grey", policy=policy)
    return game.id, await it.store.games.invite(None, game_id=game.id)


def test_a_choice_counts_once_and_only_in_its_turn() -> None:
    async def scene(it: Visitor) -> None:
        id, code = await _table(it)
        page = (await it.client.post(f"/play/{code}/join", data={"name": "Ann"}, follow_redirects=True)).text
        await it.store.games.join(None, "bo", "Bo", game_id=id)
        fields = dict(re.findall(r'name="(csrf|once|turn)" value="([^"]+)"', page))
        option = re.findall(r'name="choice" value="([^"]+)"', page)[0]
        for form, status in (
            ({}, 403),
            ({**fields, "csrf": "x"}, 403),
            ({**fields, "turn": "x"}, 303),
            ({**fields, "turn": "99"}, 303),
            ({**fields, "choice": "something else"}, 303),
        ):
            answer = await it.client.post(f"/play/{code}/choose", data={"choice": option, **form})
            assert answer.status_code == status, form
            assert "sojourn_chosen" not in answer.cookies
        for _ in range(2):
            answer = await it.client.post(f"/play/{code}/choose", data={**fields, "choice": option})
            assert answer.cookies["sojourn_chosen"] == f"{id}.1"
        assert "Your choice is in" in (await it.client.get(f"/play/{code}")).text or (await it.store.games.load(id)).turn == 1

    at_console(scene, signed_in=False)


def test_joining_needs_a_name_a_seat_and_a_form_of_ours() -> None:
    async def scene(it: Visitor) -> None:
        from dataclasses import replace

        _, code = await _table(it, replace(STORY_POLICY, max_players=1))
        assert (await it.client.post(f"/play/{code}/join", data={"name": " "})).status_code == 422
        assert (await it.client.post(f"/play/{code}/join", data={"name": "x" * 5000})).status_code == 413
        headers = {"sec-fetch-site": "cross-site"}
        assert (await it.client.post(f"/play/{code}/join", data={"name": "Ann"}, headers=headers)).status_code == 403
        assert not it.client.cookies
        assert (await it.client.post(f"/play/{code}/join", data={"name": "Ann"})).status_code == 303
        it.client.cookies.clear()
        answer = await it.client.post(f"/play/{code}/join", data={"name": "Bo"})
        assert answer.status_code == 409, "no seat is left: not a server without room (507)"
        assert "every seat of the game is taken" in answer.text
        assert not it.client.cookies, "who has no seat is signed in nowhere"

    at_console(scene, signed_in=False)


def test_whoever_guesses_codes_is_slowed_down() -> None:
    async def scene(it: Visitor) -> None:
        _, code = await _table(it)
        answers = [(await it.client.get(f"/play/GUESS{number:03}")).status_code for number in range(15)]
        assert answers[:5] == [404] * 5
        assert 429 in answers[5:]
        assert (await it.client.get(f"/play/{code}")).status_code == 200, "who has a code plays on"

    at_console(scene, signed_in=False, strangers_per_second=0.5)


def test_games_of_another_tenant_have_links_of_their_own() -> None:
    class Elsewhere:
        async def find(self, _: Any) -> Operator:
            return Operator("ann", "acme", "secret")

        async def sign_in(self, request: Any, back: str) -> None:
            raise NotImplementedError

        async def sign_out(self, request: Any, back: str) -> None:
            raise NotImplementedError

    async def scene() -> None:
        async with sojourn.aopen("memory:") as store:
            app = application(store, keys=SecretKeys({}), operators=Elsewhere())  # type: ignore[arg-type]
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://console") as client:
                it = Visitor(client, store, None, "")  # type: ignore[arg-type]
                page = await it.act("/games/boot", channel="table")
                link = re.findall(r'href="(/play/in/acme/[A-Z0-9]+)"', page)[0]
                assert await store.games.get("table") is None
                answer = await client.post(f"{link}/join", data={"name": "Ann"}, follow_redirects=True)
                assert "Turn 1" in answer.text
                assert (await client.get(f"/play/{link.rpartition('/')[2]}")).status_code == 404
            await app.state.service.close()

    asyncio.run(scene())


def test_every_page_that_a_link_leads_to_is_there() -> None:
    async def scene(it: Visitor) -> None:
        store = it.store
        talk = await store.conversations.create("ann", title="Trip")
        await store.conversations.extend(talk.id, [{"role": "user", "content": f"message {number}"} for number in range(60)])
        await store.conversations.consolidate(talk.id, keep=20)
        await store.conversations.link_channel(talk.id, "telegram", "t1")
        await store.conversations.fork(talk.id, at=5)
        await store.contexts.add("notes", "file", "one thing", metadata={"path": "a.py"})
        await store.games.boot("table", "Grey", policy=GamePolicy(countdown=None))
        for person in ("ann", "bob"):
            await store.games.join("table", person, person.title())
        for _ in range(2):
            await store.games.submit_choice("table", "ann", "Ann", "north")
            turn = await store.games.close("table")
            await store.games.record_turn("table", turn.number, "Told.")
        await store.logins.create("ann")
        await store.workspaces.start("implementer", project_id="p1")
        seen, todo = {"/"}, ["/"]
        while todo:
            page = await it.see(todo.pop())
            for link in map(html.unescape, re.findall(r'href="(/[^"#]*)', page)):
                shape = re.sub(r"((?:after|before|cursor)=)[^&]*", r"\1", link)
                if shape not in seen and "/static/" not in link and len(seen) < 200:
                    seen.add(shape)
                    todo.append(link)
        sections = {path.split("/")[1].partition("?")[0] for path in seen}
        assert {"conversations", "contexts", "games", "logins", "workspaces", "sessions"} <= sections
        can = store.capabilities.search
        assert ("Search what was said" in await it.see("/conversations")) == can
        found = await it.client.get(it.base + "/conversations?words=message")
        assert found.status_code == (200 if can else 501), found.text
        assert ("message 3" if can else "capabilities.search") in found.text

    at_console(scene)
