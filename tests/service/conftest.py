"""A service over a fresh store, asked in this process or over a real socket."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import uvicorn

import sojourn
from sojourn import AsyncStore
from sojourn.engines.locate import EngineOptions
from sojourn.service import Credential, SecretKeys, ServiceOptions, application, openapi
from sojourn.service.keys import LoginKeys
from sojourn.testing.clocks import ManualClock
from sojourn.testing.engines import EnginePlaces

KEYS = SecretKeys(
    {
        "admin-key": Credential("admin", "default", frozenset({"admin"})),
        "reader-key": Credential("reader", "default", frozenset({"read"})),
        "talker-key": Credential("talker", "default", frozenset({"conversations:read", "conversations:write"})),
        "other-key": Credential("other", "elsewhere"),
    }
)


class Desk:
    """A client of a service, its store and its clock."""

    def __init__(self, client: httpx.AsyncClient, store: AsyncStore, app: Any, keys: LoginKeys) -> None:
        self.keys = keys
        self.client = client
        self.store = store
        self.app = app

    async def ask(self, method: str, path: str, *, key: str = "admin-key", **more: Any) -> httpx.Response:
        """One request under a key (an empty one: under none)."""
        headers = {**more.pop("headers", {}), **({"authorization": f"Bearer {key}"} if key else {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def fine(self, method: str, path: str, **more: Any) -> Any:
        """What a request that must succeed gives."""
        response = await self.ask(method, path, **more)
        assert response.status_code < 300, response.text
        if response.headers["content-type"] == "application/json":
            self.is_described(method, path.partition("?")[0], response)
        return response.json()

    def is_described(self, method: str, path: str, response: httpx.Response) -> None:
        """What is answered is what the OpenAPI document says of this status."""
        document = openapi.document(self.app.state.service.calls)
        fitting = [shape for shape in document["paths"] if re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", shape), path)]
        for shape in sorted(fitting, key=lambda shape: shape.count("{"))[:1]:  # the most literal one is asked
            content = document["paths"][shape][method.lower()]["responses"][str(response.status_code)]["content"]
            schema = {**content["application/json"]["schema"], "components": document["components"]}
            jsonschema_rs.validate(schema, response.json())

    async def problem(self, status: int, method: str, path: str, **more: Any) -> Any:
        """The problem of a request that must be refused."""
        response = await self.ask(method, path, **more)
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        return response.json()


@asynccontextmanager
async def desk(
    *,
    clock: ManualClock | None = None,
    url: str = "memory:",
    engine: EngineOptions | None = None,
    own_keys: bool = False,
    **options: Any,
) -> AsyncIterator[Desk]:
    """A service that is asked in this process. ``own_keys``: with the API keys of its store, and 'admin-key' beside them."""
    async with sojourn.aopen(url, clock=clock, engine=engine) as store:
        keys = LoginKeys(store, admin_secret="admin-key")
        app = application(store, keys=keys if own_keys else KEYS, options=ServiceOptions(**options))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield Desk(client, store, app, keys)
            await app.state.service.close()


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """An application on a real socket; its address."""
    with socket.socket(proto=socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(
            uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=5, ws="websockets-sansio")
        )
        task = asyncio.create_task(server.serve([listening]))
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.005)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            app.state.service.streams.stop()
            server.should_exit = True
            await task


EVERYWHERE = ("test_api", "test_house", "test_keys", "test_telling")
"""Files whose services stand on each engine in turn."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A desk on memory; in some files on each server as well."""
    if "desk" in metafunc.fixturenames:
        servers = [name for name in EnginePlaces.available() if name not in ("memory", "sqlite")]
        everywhere = metafunc.module.__name__.rpartition(".")[2] in EVERYWHERE
        metafunc.parametrize("desk", ["memory", *(servers if everywhere else ())], indirect=True)


@pytest.fixture(scope="module")
def service_places() -> Iterator[EnginePlaces]:
    """Where the stores of services are."""
    with EnginePlaces() as places:
        yield places


@pytest.fixture(name="desk")
def desk_fixture(
    request: pytest.FixtureRequest, service_places: EnginePlaces, tmp_path: Path
) -> Callable[..., AbstractAsyncContextManager[Desk]]:
    """`desk`, for a test to enter, on an engine."""

    def enter(**more: Any) -> AbstractAsyncContextManager[Desk]:
        if request.param != "memory":
            place = service_places.fresh(request.param, tmp_path)
            more = {"url": place.url, "engine": place.options, **more}
        return desk(**more)

    return enter


@pytest.fixture(name="served")
def served_fixture() -> Callable[..., AbstractAsyncContextManager[str]]:
    """`served`, for a test to enter."""
    return served
