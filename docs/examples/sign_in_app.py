"""A web application with sign-in, a device list, sign-out here and everywhere, and nothing that another site could forge.

    pip install 'sojourn[web]' fastapi python-multipart uvicorn
    uvicorn sign_in_app:app

Then open http://localhost:8000 and sign in as alice, with the password below. Run by itself, it visits itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import re
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, Form, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse

import sojourn
from sojourn.integrations.asgi import LoginMiddleware, Visit, visit_of

RECENT = timedelta(minutes=10)
"""How fresh a proof must be for what touches other devices or the password."""

# -- users: your own table, and a password hash that is meant for passwords ---------------------------------------------


@dataclass
class Account:
    """A user of this application."""

    id: str
    salt: bytes
    digest: bytes


COST = 1 << 17
"""Slow on purpose (OWASP Password Storage Cheat Sheet: scrypt with N=2^17, r=8, p=1)."""


def digest_of(password: str, salt: bytes) -> bytes:
    """What is kept of a password."""
    return hashlib.scrypt(password.encode(), salt=salt, n=COST, r=8, p=1, maxmem=1 << 28)


def account(id: str, password: str) -> Account:
    """A new account."""
    salt = secrets.token_bytes(16)
    return Account(id, salt, digest_of(password, salt))


ACCOUNTS = {"alice": account("1001", "correct horse battery staple"), "bob": account("1002", "tr0ub4dor&3-is-too-short")}
NOBODY = account("", secrets.token_urlsafe())


def proven(name: str, password: str) -> Account | None:
    """The account, if this is its password; for a name that nobody has it takes as long to say no."""
    found = ACCOUNTS.get(name, NOBODY)
    right = hmac.compare_digest(digest_of(password, found.salt), found.digest)
    return found if right and found is not NOBODY else None


# -- the application ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Open the store when the application starts, and close it when it stops."""
    policy = sojourn.LoginPolicy.preset("owasp-low", max_per_user=5)
    async with sojourn.aopen(os.environ.get("STORE", "sqlite:///sign_in_app.db"), logins=policy, directory=False) as store:
        app.state.store = store
        yield


app = FastAPI(lifespan=lifespan, openapi_url=None)
app.add_middleware(
    LoginMiddleware,
    store=lambda _: app.state.store,
    secret_key=os.environ.get("SECRET_KEY") or secrets.token_urlsafe(32),  # without a key of its own: good until a restart
    csrf="token",
)


def visitor(request: Request) -> Visit:
    """Whoever it is."""
    return visit_of(request)


def signed_in(visit: Annotated[Visit, Depends(visitor)]) -> sojourn.Login:
    """Who is signed in; 401 for everybody else."""
    if visit.login is None:
        raise HTTPException(401, visit.refusal or "sign in first", headers={"WWW-Authenticate": "Bearer"})
    return visit.login


async def recently(login: Annotated[sojourn.Login, Depends(signed_in)], visit: Annotated[Visit, Depends(visitor)]) -> None:
    """403 for who has not just proved who they are (OWASP ASVS 5.0, 7.5)."""
    try:
        await visit.store.logins.require_fresh(login, RECENT)
    except sojourn.StaleAuthenticationError as error:
        raise HTTPException(403, "confirm your password first") from error


Here = Annotated[Visit, Depends(visitor)]
SignedIn = Annotated[sojourn.Login, Depends(signed_in)]


def back() -> RedirectResponse:
    """To the first page, which is asked for anew (so that going back sends no form again)."""
    return RedirectResponse("/", 303)


def button(visit: Visit, action: str, label: str, fields: str = "") -> str:
    """A form that changes something, with the token that says it is ours."""
    return (
        f'<form method="post" action="{action}">{fields}'
        f'<input type="hidden" name="csrf_token" value="{visit.csrf_token}"><button>{label}</button></form>'
    )


@app.get("/", response_class=HTMLResponse)
async def home(visit: Here) -> str:
    """The devices of who is signed in, or the form to sign in. Whatever strangers wrote is escaped."""
    if visit.login is None:
        said = "<p>You were signed out.</p>" if visit.refusal else ""
        fields = '<input name="name" autocomplete="username"><input name="password" type="password">'
        return f"<title>Sign in</title>{said}{button(visit, '/sign-in', 'Sign in', fields)}"
    rows = ""
    for login in await visit.store.logins.list(user_id=visit.login.user_id):
        device = escape(f"{login.client_type}, {login.user_agent or 'unknown'}, {login.ip or 'unknown'}")
        here = " (this one)" if login.id == visit.login.id else button(visit, f"/devices/{login.id}/end", "Sign out")
        rows += f"<li>{device}, active {login.last_activity_at:%Y-%m-%d %H:%M} UTC{here}</li>"
    out = button(visit, "/sign-out", "Sign out") + button(visit, "/sign-out-everywhere", "Sign out everywhere")
    return f"<title>Devices</title><ul>{rows}</ul>{out}"


@app.post("/sign-in")
async def sign_in(visit: Here, name: Annotated[str, Form()], password: Annotated[str, Form()]) -> RedirectResponse:
    """Check the password, then sign in: under a fresh token, whatever the browser brought."""
    found = await asyncio.to_thread(proven, name, password)
    if found is None:
        raise HTTPException(403, "wrong name or password")
    await visit.sign_in(found.id, amr=["pwd"], metadata={"name": name})
    return back()


@app.post("/sign-out")
async def sign_out(visit: Here) -> RedirectResponse:
    """Here."""
    await visit.sign_out()
    return back()


@app.post("/sign-out-everywhere")
async def sign_out_everywhere(visit: Here, _: SignedIn) -> RedirectResponse:
    """On all devices."""
    await visit.sign_out(everywhere=True)
    return back()


@app.post("/confirm")
async def confirm(visit: Here, login: SignedIn, password: Annotated[str, Form()]) -> RedirectResponse:
    """The password once more: another token, and the old one ends."""
    if await asyncio.to_thread(proven, str(login.metadata["name"]), password) is None:
        raise HTTPException(403, "wrong password")
    await visit.rotate(reauthenticated=True)
    return back()


@app.post("/devices/{id}/end", dependencies=[Depends(recently)])
async def end_device(visit: Here, login: SignedIn, id: str) -> RedirectResponse:
    """Another device of the same user; somebody else's is as good as none."""
    other = await visit.store.logins.get(id)
    if other is None or other.user_id != login.user_id:
        raise HTTPException(404, "there is no such device")
    await visit.store.logins.revoke(id, reason="ended_by_user")
    return back()


@app.post("/password", dependencies=[Depends(recently)])
async def change_password(visit: Here, login: SignedIn, password: Annotated[str, Form(min_length=15)]) -> RedirectResponse:
    """Another password: all other devices have to prove who they are again."""
    ACCOUNTS[str(login.metadata["name"])] = await asyncio.to_thread(account, login.user_id, password)
    await visit.store.logins.revoke_user(login.user_id, keep=login.id, reason="password_changed")
    await visit.rotate(reauthenticated=True)
    return back()


@app.post("/api/token")
async def api_token(visit: Here, name: Annotated[str, Form()], password: Annotated[str, Form()]) -> JSONResponse:
    """A token for a program, which sends it as a bearer token and keeps no cookies."""
    found = await asyncio.to_thread(proven, name, password)
    if found is None:
        raise HTTPException(403, "wrong name or password")
    made = await visit.sign_in(found.id, client_type="api", amr=["pwd"], metadata={"name": name}, cookie=False)
    return JSONResponse({"token": str(made.token)}, headers={"Cache-Control": "no-store"})


@app.get("/api/me")
async def me(login: SignedIn) -> dict[str, object]:
    """Who asks, by cookie or bearer token."""
    return {"user": login.metadata["name"], "device": login.client_type, "until": login.expires_at}


# -- a visit ----------------------------------------------------------------------------------------------------------------


async def post(browser: httpx.AsyncClient, path: str, **fields: str) -> int:
    """Send a form as its page would: with the token that the page holds."""
    page = (await browser.get("/")).text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token is not None
    return (await browser.post(path, data={**fields, "csrf_token": token[1]})).status_code


async def walk() -> None:
    """Sign in on two devices, look at them, and sign out everywhere."""
    transport = httpx.ASGITransport(app)
    where = "https://localhost"  # cookies that begin with __Host- need HTTPS, or localhost in a browser
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url=where, headers={"User-Agent": "Laptop"}) as laptop,
        httpx.AsyncClient(transport=transport, base_url=where, headers={"User-Agent": "<b>Phone</b>"}) as phone,
    ):
        print("nobody:", (await laptop.get("/api/me")).status_code)
        print("wrong password:", await post(laptop, "/sign-in", name="alice", password="guess"))
        for browser in (laptop, phone):
            print("signed in:", await post(browser, "/sign-in", name="alice", password="correct horse battery staple"))
        page = (await laptop.get("/")).text
        print("devices:", page.count("<li>"), "- this one:", page.count("(this one)"), "- escaped:", "&lt;b&gt;Phone" in page)
        print("without the token of the form:", (await laptop.post("/sign-out")).status_code)
        print("signed out everywhere:", await post(laptop, "/sign-out-everywhere"))
        print("the phone:", (await phone.get("/api/me")).json()["detail"])


if __name__ == "__main__":
    asyncio.run(walk())
