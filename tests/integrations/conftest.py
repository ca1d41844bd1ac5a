"""A small Starlette application around a store on each engine, asked by a real HTTP client."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import sojourn
from sojourn.integrations.asgi import LoginMiddleware, visit_of
from sojourn.testing.clocks import ManualClock
from sojourn.testing.engines import EnginePlaces

KEY = "k" * 32
HERE = "https://shop.example"


@dataclass
class Site:
    """The application, its store, and how to ask it."""

    store: sojourn.AsyncStore
    clock: ManualClock
    app: Any
    writes: list[str]
    """One for each commit that the application has made."""

    def browser(self, *, site: str | None = "same-origin", **headers: str) -> httpx.AsyncClient:
        """A client that keeps cookies, and says where its requests come from as browsers do."""
        said = {"Sec-Fetch-Site": site} if site else {}
        transport = httpx.ASGITransport(self.app, client=("203.0.113.7", 4321))
        return httpx.AsyncClient(transport=transport, base_url=HERE, headers={"User-Agent": "Fire/1", **said, **headers})


Sites: TypeAlias = Callable[..., AbstractAsyncContextManager[Site]]


async def who(request: Request) -> Response:
    """Who is signed in, and what is kept."""
    visit = visit_of(request)
    assert visit.login is request.state.login
    user = None if visit.login is None else visit.login.user_id
    return JSONResponse({"user": user, "data": dict(visit.data), "refusal": visit.refusal, "by": visit.by})


async def sign_in(request: Request) -> Response:
    """Sign in whoever is named."""
    visit = visit_of(request)
    made = await visit.sign_in(request.query_params["user"], amr=["pwd"], carry=["cart"])
    return JSONResponse({"id": made.login.id, "token": str(made.token)})


async def sign_out(request: Request) -> Response:
    """Sign out."""
    return JSONResponse(await visit_of(request).sign_out(everywhere="everywhere" in request.query_params))


async def rotate(request: Request) -> Response:
    """Another token."""
    made = await visit_of(request).rotate(reauthenticated="anew" in request.query_params)
    return JSONResponse({"id": made.login.id, "token": str(made.token)})


async def keep(request: Request) -> Response:
    """Keep a value."""
    await visit_of(request).update(dict(request.query_params))
    return JSONResponse({})


async def token(request: Request) -> Response:
    """A token for a form."""
    return JSONResponse(visit_of(request).csrf_token)


async def echo(request: Request) -> Response:
    """The body, which the middleware may have looked into."""
    return Response(await request.body())


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime.now(UTC))


@pytest.fixture(scope="session")
def places() -> Iterator[EnginePlaces]:
    """Servers are started once."""
    with EnginePlaces() as found:
        yield found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every engine there is here; in tests with cases of their own, those without a server."""
    if "site" in metafunc.fixturenames:
        cases = metafunc.definition.get_closest_marker("parametrize")
        engines = ["memory", "sqlite"] if cases else EnginePlaces.available()
        metafunc.parametrize("site", engines, indirect=True)


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, places: EnginePlaces) -> Sites:
    """Opens a store, and an application around it: ``async with site(csrf="token") as here``."""
    place = places.fresh(request.param, tmp_path)

    @asynccontextmanager
    async def open_site(policy: sojourn.LoginPolicy | None = None, **settings: Any) -> AsyncIterator[Site]:
        opened = sojourn.aopen(place.url, engine=place.options, clock=clock, logins=policy, directory=False)
        async with opened as store:
            writes: list[str] = []
            commit = store._engine.commit

            async def counted(batch: Any) -> Any:
                writes.append(type(batch.changes[0]).__name__)
                return await commit(batch)

            store._engine.commit = counted  # type: ignore[method-assign]
            methods = ["GET", "POST"]
            handlers = (who, sign_in, sign_out, rotate, keep, token, echo)
            app = Starlette(routes=[Route(f"/{found.__name__}", found, methods=methods) for found in handlers])
            wrapped = LoginMiddleware(app, **{"store": store, "secret_key": KEY, **settings})
            yield Site(store, clock, wrapped, writes)

    return open_site


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run coroutine functions in a loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
