"""The middleware for web applications: cookies, what may be cached, signing in and out, and what is never done."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import time_machine
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import sojourn
from sojourn import EndedError, InvalidValueError, LimitError, LoginPolicy
from sojourn.integrations.asgi import LoginMiddleware, visit_of

if TYPE_CHECKING:
    from tests.integrations.conftest import Sites

KEY = "k" * 32


def cookies(answer: httpx.Response) -> dict[str, Any]:
    """What an answer sets, by name."""
    found: dict[str, Any] = {}
    for header in answer.headers.get_list("set-cookie"):
        parsed: SimpleCookie = SimpleCookie(header)
        found |= parsed
    return found


def directives(answer: httpx.Response, header: str) -> set[str]:
    return {part.strip() for part in answer.headers.get(header, "").split(",") if part.strip()}


# -- signing in and out ------------------------------------------------------------------------------------------------


async def test_signing_in_sets_a_cookie_that_only_https_and_no_script_sees(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        answer = await browser.post("/sign_in?user=alice")
        (name,) = cookies(answer)
        set_to = cookies(answer)[name]
        assert name == "__Host-sid"
        assert (set_to["secure"], set_to["httponly"], set_to["samesite"], set_to["path"]) == (True, True, "Lax", "/")
        assert not set_to["domain"]  # or browsers refuse the prefix
        assert not set_to["max-age"]  # gone when the browser is closed
        assert not set_to["expires"]
        assert set_to.value == answer.json()["token"]
        assert answer.headers["cache-control"] == "no-store"
        login = await here.store.logins.get(answer.json()["id"])
        assert login is not None
        assert (login.client_type, login.ip, login.user_agent, login.amr) == ("web", "203.0.113.7", "Fire/1", ("pwd",))


async def test_the_cookie_is_set_when_it_changes_and_only_then(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        await browser.post("/sign_in?user=alice")
        for _ in range(3):
            here.clock.advance(timedelta(minutes=5))  # so that each one touches
            answer = await browser.get("/who")
            assert answer.json()["user"] == "alice"
            assert not cookies(answer)
            assert directives(answer, "vary") == {"Cookie"}
            assert directives(answer, "cache-control") == {"private", "no-cache"}
            assert "clear-site-data" not in answer.headers


async def test_signing_out_takes_everything_away(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        token = (await browser.post("/sign_in?user=alice")).json()["token"]
        answer = await browser.post("/sign_out")
        assert answer.json() == 1
        assert cookies(answer)["__Host-sid"].value == ""
        assert cookies(answer)["__Host-sid"]["max-age"] == "0"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["clear-site-data"] == '"cache", "storage"'
        assert (await browser.get("/who")).json()["user"] is None
        async with here.browser() as other:  # whoever has copied the cookie
            other.cookies.set("__Host-sid", token)
            answer = await other.get("/who")
        assert answer.json() == {"user": None, "data": {}, "refusal": "session.ended", "by": "cookie"}


async def test_signing_out_everywhere_ends_all_devices(site: Sites) -> None:
    async with site() as here, here.browser() as one, here.browser() as two, here.browser() as bobs:
        for browser, user in ((one, "alice"), (two, "alice"), (bobs, "bob")):
            await browser.post(f"/sign_in?user={user}")
        assert (await one.post("/sign_out?everywhere=1")).json() == 2
        users = [(await browser.get("/who")).json()["user"] for browser in (one, two, bobs)]
        assert users == [None, None, "bob"]


async def test_signing_in_again_ends_the_login_before(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        first = (await browser.post("/sign_in?user=alice")).json()
        second = (await browser.post("/sign_in?user=bob")).json()
        assert first["id"] != second["id"]
        with pytest.raises(EndedError, match="signed_in_again"):
            await here.store.logins.authenticate(first["token"])
        assert (await browser.get("/who")).json()["user"] == "bob"


async def test_a_request_that_was_on_its_way_takes_no_cookie_from_who_has_signed_in_again(site: Sites) -> None:
    async with site() as here, here.browser() as browser, here.browser() as late:
        await browser.get("/sign_in?user=ann")
        late.cookies.set("__Host-sid", browser.cookies["__Host-sid"], domain="shop.example")
        await browser.get("/sign_in?user=ann")
        answer = await late.get("/who")
        assert (answer.json()["user"], answer.json()["refusal"]) == (None, "session.ended")
        assert "set-cookie" not in answer.headers, "the browser has another one by now"


async def test_signing_in_again_takes_the_character_along(tmp_path: Path) -> None:
    async with sojourn.aopen(f"sqlite:///{tmp_path / 'store.db'}") as store:
        user = await store.directory.add_user("ann")
        await store.directory.add_world("w", "W")
        character = await store.directory.add_character(user, "w", "One")

        async def sign_in(request: Request) -> Response:
            made = await visit_of(request).sign_in(user, character_id=character)
            return JSONResponse(made.login.character_id)

        app = LoginMiddleware(Starlette(routes=[Route("/", sign_in)]), store=store, secret_key=KEY)
        async with (
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://shop.example") as browser,
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://shop.example") as other,
        ):
            assert [(await browser.get("/")).json() for _ in range(2)] == [character, character]
            with pytest.raises(sojourn.ConflictError):
                await other.get("/")


async def test_signing_in_again_makes_room_where_there_is_none(site: Sites) -> None:
    async with site(LoginPolicy(max_per_user=1, at_limit="refuse")) as here, here.browser() as one, here.browser() as two:
        await one.post("/sign_in?user=alice")
        assert (await one.post("/sign_in?user=alice")).status_code == 200
        with pytest.raises(LimitError):
            await two.post("/sign_in?user=alice")
        assert (await one.get("/who")).json()["user"] == "alice"


async def test_a_rotated_cookie_replaces_the_one_before(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        before = (await browser.post("/sign_in?user=alice")).json()
        answer = await browser.post("/rotate?anew=1")
        assert answer.json()["id"] == before["id"]
        assert cookies(answer)["__Host-sid"].value == answer.json()["token"] != before["token"]
        assert answer.headers["cache-control"] == "no-store"
        assert (await browser.get("/who")).json()["user"] == "alice"
        async with here.browser() as thief:
            thief.cookies.set("__Host-sid", before["token"])
            assert (await thief.get("/who")).json()["refusal"] == "session.ended"
        assert (await browser.get("/who")).json()["refusal"] == "session.ended"  # both are out, and have to prove who they are
        (*_, last) = await here.store.logins.history(before["id"])
        assert (last.change, last.reason, last.ip) == ("revoked", "reuse", "203.0.113.7")


async def test_expired_is_said_and_the_cookie_goes(site: Sites) -> None:
    async with site(LoginPolicy(idle=timedelta(minutes=30))) as here, here.browser() as browser:
        await browser.post("/sign_in?user=alice")
        here.clock.advance(timedelta(minutes=31))
        answer = await browser.get("/who")
        assert answer.json()["refusal"] == "session.expired"
        assert cookies(answer)["__Host-sid"]["max-age"] == "0"
        assert (await browser.get("/who")).json()["refusal"] is None


# -- what must never happen --------------------------------------------------------------------------------------------


async def test_an_id_that_we_did_not_issue_is_never_adopted(site: Sites) -> None:
    """Fixation: the client chooses, the victim signs in, the client knows the token."""
    planted = "sjl_" + "0" * 26 + "." + "A" * 43
    async with site() as here, here.browser() as browser:
        browser.cookies.set("__Host-sid", planted)
        answer = await browser.get("/who")
        assert answer.json() == {"user": None, "data": {}, "refusal": "session.not_found", "by": "cookie"}
        assert cookies(answer)["__Host-sid"].value == ""
        browser.cookies.set("__Host-sid", planted)
        made = (await browser.post("/sign_in?user=alice")).json()
        assert made["token"] != planted
        assert await here.store.logins.find(planted) is None
        assert len(await here.store.logins.list(active_only=False)) == 1


async def test_signing_in_with_an_attackers_cookie_does_not_keep_it(site: Sites) -> None:
    async with site() as here, here.browser() as attacker, here.browser() as victim:
        known = (await attacker.post("/sign_in?user=mallory")).json()["token"]
        victim.cookies.set("__Host-sid", known)
        fresh = (await victim.post("/sign_in?user=alice")).json()["token"]
        assert fresh != known
        assert (await attacker.get("/who")).json()["user"] is None


async def test_of_two_cookies_by_one_name_none_is_believed(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        mine = (await browser.post("/sign_in?user=alice")).json()["token"]
        other = await here.store.logins.create("mallory")
        async with here.browser() as planted:
            answer = await planted.get("/who", headers={"Cookie": f"__Host-sid={other.token}; __Host-sid={mine}"})
        assert answer.json()["user"] is None


async def test_a_cookie_of_another_name_is_not_ours(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        made = await here.store.logins.create("alice")
        for name in ("x__Host-sid", "__Host-sid2", "sid", "__host-sid", "__Host-sid "):
            answer = await browser.get("/who", headers={"Cookie": f"{name}={made.token}; y"})
            assert answer.json()["user"] == ("alice" if name.strip() == "__Host-sid" else None)


async def test_what_a_server_shares_between_requests_is_not_written_to(site: Sites) -> None:
    shared: dict[str, Any] = {"pool": 1}
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["state"]["pool"], scope["state"]["login"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})

    async def nothing(message: Any) -> None: ...

    async with site() as here:
        made = await here.store.logins.create("alice")
        wrapped = LoginMiddleware(app, store=here.store, secret_key=KEY)
        for headers in ([(b"cookie", f"__Host-sid={made.token}".encode())], []):
            await wrapped({"type": "http", "method": "GET", "headers": headers, "state": shared}, nothing, nothing)  # type: ignore[arg-type]
    assert shared == {"pool": 1}
    assert [(pool, login is None) for pool, login in seen] == [(1, False), (1, True)]


async def test_an_anonymous_hit_makes_no_record_and_reads_nothing(site: Sites, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site() as here, here.browser() as browser:
        reads: list[str] = []
        for verb in ("load", "follow", "list", "count", "now"):
            monkeypatch.setattr(here.store._engine, verb, lambda *args, verb=verb, **more: reads.append(verb))
        for path in ("/who", "/keep?cart=3", "/who", "/token", "/keep?seen=1"):
            assert (await browser.get(path)).status_code == 200
        assert (await browser.get("/who")).json()["data"] == {"cart": "3", "seen": "1"}
        assert not reads
        assert not here.writes
    async with site() as here:
        assert [line async for line in here.store.export()][1:] == []


async def test_reads_write_at_most_every_touch_every(site: Sites) -> None:
    async with site(LoginPolicy(touch_every=timedelta(minutes=1))) as here, here.browser() as browser:
        await browser.post("/sign_in?user=alice")
        here.writes.clear()
        for _ in range(50):
            await browser.get("/who")
        assert here.writes == []
        here.clock.advance(timedelta(seconds=61))
        for _ in range(50):
            await browser.get("/who")
        assert here.writes == ["Touch"]


@pytest.mark.parametrize(
    "shape",
    ["", " ", "x", "sjl_", "sjl_x.y", "sjl_" + "Z" * 500, "x" * 5000, "%00", "a;b", '"', "é", "sjh0_" + "A" * 43, "..", "=="],
)
async def test_cookies_of_every_wrong_shape_sign_nobody_in(site: Sites, shape: str) -> None:
    async with site() as here, here.browser() as browser:
        answer = await browser.get("/who", headers=[(b"cookie", b"__Host-sid=" + shape.encode()), (b"cookie", b"other")])
        assert answer.status_code == 200
        assert answer.json()["user"] is None
        assert not here.writes


async def test_a_stored_digest_is_no_token(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        await browser.post("/sign_in?user=alice")
        (row,) = [session async for page in here.store.logins._reader.pages() for session in page]
        digest = row.data["secret"]
        for headers in ({"Cookie": f"__Host-sid={digest}"}, {"Authorization": f"Bearer {digest}"}):
            async with here.browser() as other:
                assert (await other.get("/who", headers=headers)).json()["refusal"] == "session.not_found"


async def test_a_token_in_a_url_or_a_form_is_not_looked_at(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        made = await here.store.logins.create("alice")
        for answer in (
            await browser.get(f"/who?sid={made.token}&token={made.token}&access_token={made.token}"),
            await browser.post("/who", data={"sid": str(made.token), "access_token": str(made.token)}),
        ):
            assert answer.json() == {"user": None, "data": {}, "refusal": None, "by": None}


async def test_no_secret_is_in_logs_reprs_or_answers(site: Sites, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with site() as here, here.browser() as browser:
        tokens = [(await browser.post("/sign_in?user=alice")).json()["token"]]
        tokens.append((await browser.post("/rotate")).json()["token"])
        seen = [(await browser.get("/who")).text]
        await browser.post("/sign_out")
        for token in tokens:
            async with here.browser() as thief:
                thief.cookies.set("__Host-sid", token)
                seen.append((await thief.get("/who")).text)
                seen.append((await thief.post("/who", headers={"Sec-Fetch-Site": "cross-site"})).text)
        seen.append(caplog.text)
    assert "session.ended" in caplog.text  # something was logged
    assert "refused as forged" in caplog.text
    for token in tokens:
        assert not any(token in text or token.partition(".")[2] in text for text in seen)


# -- anonymous data ----------------------------------------------------------------------------------------------------


async def test_anonymous_data_is_in_a_signed_cookie_and_comes_along_where_it_is_wanted(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        answer = await browser.get("/keep?cart=3&seen=yes")
        set_to = cookies(answer)["__Host-anon"]
        assert (set_to["secure"], set_to["httponly"], set_to["samesite"], set_to["path"]) == (True, True, "Lax", "/")
        assert answer.headers["cache-control"] == "no-store"
        assert (await browser.get("/who")).json()["data"] == {"cart": "3", "seen": "yes"}
        answer = await browser.post("/sign_in?user=alice")
        assert cookies(answer)["__Host-anon"]["max-age"] == "0"
        assert (await browser.get("/who")).json()["data"] == {"cart": "3"}
        await browser.post("/keep?cart=4")
        assert (await browser.get("/who")).json()["data"] == {"cart": "4"}
        (login,) = await here.store.logins.list()
        assert login.metadata == {"cart": "4"}


async def test_a_changed_cookie_is_dropped(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        packed = cookies(await browser.get("/keep?cart=3"))["__Host-anon"].value
        middle = len(packed) - 20  # in the signature; the last character has bits that say nothing
        other_one = packed[:middle] + ("A" if packed[middle] != "A" else "B") + packed[middle + 1 :]
        for changed in (other_one, "x" + packed, packed[1:], "a.b.c", "é", "x" * 5000):
            async with here.browser() as other:
                answer = await other.get("/who", headers=[(b"cookie", b"__Host-anon=" + changed.encode())])
            assert answer.json()["data"] == {}
            assert cookies(answer)["__Host-anon"].value == ""
        async with site(secret_key="another key, of more than 32 bytes") as there, there.browser() as stranger:
            stranger.cookies.set("__Host-anon", packed)
            assert (await stranger.get("/who")).json()["data"] == {}
        async with site(secret_key=["another key, of more than 32 bytes", KEY]) as there, there.browser() as stranger:
            stranger.cookies.set("__Host-anon", packed)
            assert (await stranger.get("/who")).json()["data"] == {"cart": "3"}


async def test_anonymous_data_grows_old(site: Sites) -> None:
    start = datetime(2026, 11, 20, 12, tzinfo=UTC)
    with time_machine.travel(start, tick=False) as now:
        async with site(anonymous_max_age=timedelta(days=2)) as here, here.browser() as browser:
            packed = cookies(await browser.get("/keep?cart=3"))["__Host-anon"]
            assert packed["max-age"] == str(2 * 86400)
            for age, data in ((timedelta(days=2), {"cart": "3"}), (timedelta(days=2, seconds=2), {})):
                now.move_to(start + age)
                async with here.browser() as other:  # which keeps what it should have dropped
                    other.cookies.set("__Host-anon", packed.value)
                    assert (await other.get("/who")).json()["data"] == data


async def test_what_does_not_fit_into_a_cookie_is_refused_and_changes_nothing(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        await browser.get("/keep?cart=3")
        noise = "".join(str(number * number) for number in range(1500))
        with pytest.raises(LimitError, match="does not fit into a cookie"):
            await browser.post("/keep", params={"noise": noise})
        assert (await browser.get("/who")).json()["data"] == {"cart": "3"}


# -- bearer tokens -----------------------------------------------------------------------------------------------------


async def test_a_bearer_token_signs_in_without_cookies(site: Sites) -> None:
    async with site() as here, here.browser(site=None) as client:
        made = await here.store.logins.create("alice", client_type="api")
        answer = await client.post("/who", headers={"Authorization": f"bearer {made.token}"})
        assert (answer.json()["user"], answer.json()["by"]) == ("alice", "bearer")
        answer = await client.post("/rotate", headers={"Authorization": f"Bearer {made.token}"})
        assert not cookies(answer)
        assert (await here.store.logins.authenticate(answer.json()["token"])).id == made.login.id
        for header in ("Bearer", "Bearer ", "Bearer nonsense", "Bearer a b"):
            answer = await client.get("/who", headers={"Authorization": header})
            assert answer.json() == {"user": None, "data": {}, "refusal": "session.not_found", "by": "bearer"}
            assert not cookies(answer)
        assert (await client.get("/who", headers={"Authorization": "Basic YTpi"})).json()["refusal"] is None


async def test_a_bearer_token_comes_before_the_cookie(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        await browser.post("/sign_in?user=alice")
        bob = await here.store.logins.create("bob")
        assert (await browser.get("/who", headers={"Authorization": f"Bearer {bob.token}"})).json()["user"] == "bob"
        assert (await browser.get("/who", headers={"Authorization": "Bearer wrong"})).json()["user"] is None
        assert (await browser.get("/who")).json()["user"] == "alice"
    async with site(bearer=False) as here, here.browser() as browser:
        bob = await here.store.logins.create("bob")
        assert (await browser.get("/who", headers={"Authorization": f"Bearer {bob.token}"})).json()["user"] is None


# -- what it is given --------------------------------------------------------------------------------------------------


async def test_headers_of_the_application_are_respected(site: Sites) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"Vary", b"Accept-Encoding"), (b"Cache-Control", b"public, max-age=60"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async with site() as here:
        made = await here.store.logins.create("alice")
        here.app = LoginMiddleware(app, store=here.store, secret_key=KEY)
        async with here.browser() as browser:
            browser.cookies.set("__Host-sid", str(made.token))
            answer = await browser.get("/")
            assert directives(answer, "vary") == {"Accept-Encoding", "Cookie"}
            assert answer.headers["cache-control"] == "public, max-age=60"
            browser.cookies.set("__Host-sid", "dead")
            answer = await browser.get("/")  # a cookie is taken away, so nobody else may have this answer
            assert answer.headers["cache-control"] == "no-store"


async def test_too_late_is_said(site: Sites) -> None:
    found: list[Exception] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        visit = visit_of(scope)
        for late in (visit.sign_in("alice"), visit.sign_out(), visit.rotate(), visit.update({"a": 1})):
            try:
                await late
            except InvalidValueError as error:
                found.append(error)
        await send({"type": "http.response.body"})

    async with site() as here:
        here.app = LoginMiddleware(app, store=here.store, secret_key=KEY)
        async with here.browser() as browser:
            await browser.get("/")
        assert len(found) == 4
        assert not here.writes


async def test_plain_http_has_cookies_without_the_prefix(site: Sites) -> None:
    async with site(secure=False, max_age=timedelta(days=1), same_site="strict") as here, here.browser() as browser:
        set_to = cookies(await browser.post("/sign_in?user=alice"))["sid"]
        assert (set_to["secure"], set_to["max-age"], set_to["samesite"]) == ("", "86400", "Strict")


def test_a_blocking_store_is_refused() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with sojourn.open("memory:") as store, pytest.raises(InvalidValueError, match=r"from sojourn\.aopen"):
        LoginMiddleware(app, store=store, secret_key=KEY)  # type: ignore[arg-type]


async def test_a_function_that_gives_a_blocking_store_is_refused() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    with sojourn.open("memory:") as store:
        wrapped = LoginMiddleware(app, store=lambda scope: store, secret_key=KEY)  # type: ignore[arg-type,return-value]
        async with httpx.AsyncClient(transport=httpx.ASGITransport(wrapped), base_url="https://x") as client:
            with pytest.raises(InvalidValueError, match=r"from sojourn\.aopen"):
                await client.get("/")


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret_key": "short"},
        {"secret_key": []},
        {"secret_key": 7},
        {"secret_key": [KEY, b"short"]},
        {"csrf": "yes"},
        {"same_site": "none"},
        {"cookie": "a b"},
        {"anonymous_cookie": ""},
        {"trusted_origins": "https://a.example"},
        {"max_age": timedelta(seconds=-1)},
    ],
)
async def test_wrong_settings_are_refused_at_once(site: Sites, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        async with site(**wrong):
            pass


async def test_tenants_are_told_apart_by_the_request(site: Sites) -> None:
    async with site() as here:
        tenants = {"a.example": here.store.for_tenant("a"), "b.example": here.store.for_tenant("b")}

        def of(scope: Any) -> sojourn.AsyncStore:
            return tenants[dict(scope["headers"])[b"host"].decode()]

        here.app = LoginMiddleware(here.app._app, store=of, secret_key=KEY)
        async with here.browser() as browser:
            token = (await browser.post("https://a.example/sign_in?user=alice")).json()["token"]
            for host, user in (("a", "alice"), ("b", None)):
                found = await browser.get(f"https://{host}.example/who", headers={"Cookie": f"__Host-sid={token}"})
                assert found.json()["user"] == user


async def test_odd_agents_and_addresses_are_no_reason_to_refuse(site: Sites) -> None:
    async with site() as here:
        transport = httpx.ASGITransport(here.app, client=("x" * 200 + "\x1b[31m", 1))
        headers = [(b"user-agent", b"<script>\x1b[31m\xe2\x80\xae" + b"A" * 5000), (b"sec-fetch-site", b"same-origin")]
        async with httpx.AsyncClient(transport=transport, base_url="https://shop.example") as client:
            made = (await client.post("/sign_in?user=alice", headers=headers)).json()
        login = await here.store.logins.get(made["id"])
        assert login is not None
        assert login.ip == "x" * 64
        assert login.user_agent is not None
        assert login.user_agent.startswith("<script>[31m")
        assert len(login.user_agent) == 1024
        assert login.user_agent.isprintable()


def test_without_a_middleware_the_visit_is_missed() -> None:
    with pytest.raises(InvalidValueError, match="LoginMiddleware"):
        visit_of({"type": "http"})
