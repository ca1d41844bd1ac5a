"""Requests that another site has begun: refused by what the browser says, or by a token where it says nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx
import pytest

from sojourn.integrations.asgi import LoginMiddleware, visit_of
from sojourn.integrations.signing import Signing

if TYPE_CHECKING:
    from tests.integrations.conftest import Site, Sites

KEY = "k" * 32
OWN = "https://shop.example"


async def status(browser: httpx.AsyncClient, method: str = "POST", **headers: str) -> int:
    return (await browser.request(method, "/echo", headers=headers)).status_code


async def test_what_the_browser_says_decides(site: Sites) -> None:
    async with site() as here, here.browser(site=None) as browser:
        await browser.post("/sign_in?user=alice")
        for said, expected in (("same-origin", 200), ("none", 200), ("same-site", 403), ("cross-site", 403), ("x", 403)):
            assert await status(browser, **{"Sec-Fetch-Site": said}) == expected
            assert await status(browser, "GET", **{"Sec-Fetch-Site": said}) == 200
        # what it says is believed before where it says it is
        assert await status(browser, **{"Sec-Fetch-Site": "cross-site", "Origin": OWN}) == 403


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (OWN, 200),
        ("https://SHOP.example", 200),
        ("https://shop.example:443", 200),
        ("http://shop.example", 200),  # a proxy may have ended TLS
        ("https://shop.example:8443", 403),
        ("https://shop.example.evil.example", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
        ("https://[", 403),
    ],
)
async def test_an_older_browsers_origin_decides(site: Sites, origin: str, expected: int) -> None:
    async with site() as here, here.browser(site=None) as browser:
        await browser.post("/sign_in?user=alice")
        assert await status(browser, Origin=origin) == expected


async def test_a_forged_request_reaches_neither_the_application_nor_the_store(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        await browser.post("/sign_in?user=alice")
        here.writes.clear()
        answer = await browser.post("/sign_out", headers={"Sec-Fetch-Site": "cross-site"})
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "csrf"
        assert not here.writes
        assert (await browser.get("/who")).json()["user"] == "alice"


async def test_signing_in_from_another_site_is_refused_too(site: Sites) -> None:
    async with site() as here, here.browser(site="cross-site") as victim:
        assert (await victim.post("/sign_in?user=mallory")).status_code == 403


async def test_where_nothing_is_said_a_token_is_needed(site: Sites) -> None:
    async with site() as here, here.browser(site=None) as browser:
        assert (await browser.post("/sign_in?user=alice")).status_code == 200  # no cookie, nothing to live on
        assert await status(browser) == 403
        token = (await browser.get("/token")).json()
        assert await status(browser, **{"X-CSRF-Token": token}) == 200
        assert await status(browser, **{"X-CSRF-Token": token[:-1]}) == 403
        assert (await browser.post("/echo", headers=[(b"x-csrf-token", "é.é".encode())])).status_code == 403
        body = urlencode({"text": "größer", "csrf_token": token})
        answer = await browser.post("/echo", content=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
        assert (answer.status_code, answer.text) == (200, body)  # the application gets the body all the same


async def test_a_form_alone_leaves_nothing_that_outlives_the_browser(site: Sites) -> None:
    async with site() as here, here.browser() as browser:
        for path, lasts in (("/token", False), ("/token", False), ("/keep?cart=3", True), ("/keep?cart=4", True)):
            answer = await browser.get(path)
            assert ("Max-Age" in answer.headers.get("set-cookie", "")) == lasts
        token = (await browser.get("/token")).json()
        assert await status(browser, **{"X-CSRF-Token": token}) == 200  # data that came since has not changed the nonce


async def test_a_token_is_good_for_one_login_only(site: Sites) -> None:
    async with site() as here, here.browser(site=None) as one, here.browser(site=None) as two:
        before = (await one.get("/token")).json()
        assert await status(one, **{"X-CSRF-Token": before}) == 200
        await one.post("/sign_in?user=alice", headers={"X-CSRF-Token": before})
        assert await status(one, **{"X-CSRF-Token": before}) == 403  # another login, another token
        mine = (await one.get("/token")).json()
        assert mine != (await one.get("/token")).json()
        await one.post("/rotate", headers={"X-CSRF-Token": mine})
        assert await status(one, **{"X-CSRF-Token": mine}) == 200  # forms that are open go on working
        await two.post("/sign_in?user=bob")
        assert await status(two, **{"X-CSRF-Token": mine}) == 403


async def test_a_token_can_be_demanded_always(site: Sites) -> None:
    async with site(csrf="token") as here, here.browser() as browser:
        assert (await browser.post("/sign_in?user=alice")).status_code == 403
        token = (await browser.get("/token")).json()
        assert (await browser.post("/sign_in?user=alice", headers={"X-CSRF-Token": token})).status_code == 200
        assert await status(browser) == 403
        token = (await browser.get("/token")).json()
        assert await status(browser, **{"X-CSRF-Token": token}) == 200
        assert await status(browser, **{"X-CSRF-Token": token, "Sec-Fetch-Site": "cross-site"}) == 403
        made = await here.store.logins.create("bob")
        assert await status(browser, Authorization=f"Bearer {made.token}") == 200


async def test_only_small_forms_are_looked_into(site: Sites) -> None:
    async with site(csrf="token") as here, here.browser() as browser:
        token = (await browser.get("/token")).json()
        form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        small = urlencode({"csrf_token": token}).encode()
        large = small + b"&x=" + b"x" * (1 << 20)

        async def chunks(body: bytes) -> Any:
            for start in range(0, len(body), 1 << 16):
                yield body[start : start + (1 << 16)]

        assert (await browser.post("/echo", content=small, headers=form)).content == small
        assert (await browser.post("/echo", content=chunks(small), headers=form)).content == small
        assert (await browser.post("/echo", content=large, headers=form)).status_code == 403
        assert (await browser.post("/echo", content=chunks(large), headers=form)).status_code == 403
        assert (await browser.post("/echo", content=small + b"&" + small, headers=form)).status_code == 403
        assert (await browser.post("/echo", content=small + b"&a=1" * 2000, headers=form)).status_code == 403
        assert (await browser.post("/echo", content=b"\xff&" + small, headers=form)).status_code == 403
        assert (await browser.post("/echo", content=small, headers={"Content-Type": "text/plain"})).status_code == 403
        answer = await browser.post("/echo", content=large, headers={"X-CSRF-Token": token, **form})
        assert answer.content == large


async def test_trusted_origins_may_and_off_is_off(site: Sites) -> None:
    admin = {"Origin": "https://admin.example", "Sec-Fetch-Site": "same-site"}
    for csrf in ("auto", "token"):
        async with site(csrf=csrf, trusted_origins=["https://admin.example/"]) as here, here.browser() as browser:
            assert await status(browser, **admin) == 200
            assert await status(browser, **{**admin, "Origin": "https://admin.example.evil"}) == 403
    async with site(csrf="off") as here, here.browser(site="cross-site") as browser:
        assert await status(browser) == 200


async def test_a_bearer_token_is_sent_by_no_browser_by_itself(site: Sites) -> None:
    async with site() as here, here.browser(site="cross-site") as client:
        made = await here.store.logins.create("alice")
        assert await status(client, Authorization=f"Bearer {made.token}") == 200


async def connect(here: Site, *headers: tuple[bytes, bytes]) -> tuple[list[str], str | None]:
    """Open a WebSocket; what the server sends, and who is signed in."""
    users: list[str | None] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        login = visit_of(scope).login
        users.append(None if login is None else login.user_id)
        await send({"type": "websocket.accept"})

    wrapped = LoginMiddleware(app, store=here.store, secret_key=KEY)
    sent: list[str] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message["type"])

    own = [(b"host", b"shop.example"), *headers]
    await wrapped({"type": "websocket", "headers": own, "client": ("203.0.113.7", 1), "path": "/live"}, receive, send)
    return sent, users[0] if users else None


async def test_a_websocket_from_another_site_is_closed_before_it_opens(site: Sites) -> None:
    async with site() as here:
        made = await here.store.logins.create("alice")
        cookie = (b"cookie", f"__Host-sid={made.token}".encode())
        assert await connect(here, cookie, (b"origin", b"https://shop.example")) == (["websocket.accept"], "alice")
        assert await connect(here, cookie, (b"origin", b"https://evil.example")) == (["websocket.close"], None)
        assert await connect(here, (b"authorization", f"Bearer {made.token}".encode())) == (["websocket.accept"], "alice")


async def test_lifespan_and_other_scopes_pass(site: Sites) -> None:
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async with site() as here:
        await LoginMiddleware(app, store=here.store, secret_key=KEY)({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
    assert seen == ["lifespan"]


def test_tokens_are_checked_by_any_key_and_made_by_the_first() -> None:
    from datetime import timedelta

    old, new = Signing("o" * 32, timedelta(1)), Signing(["n" * 32, "o" * 32], timedelta(1))
    assert new.is_token(old.token("login 1"), "login 1")
    assert not old.is_token(new.token("login 1"), "login 1")
    assert not new.is_token(old.token("login 1"), "login 2")
    assert not any(new.is_token(wrong, "login 1") for wrong in ("", ".", "a.b", "a", "é.é", old.token("login 1") + "x"))
