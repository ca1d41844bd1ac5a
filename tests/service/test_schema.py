"""Every endpoint is asked what its own document says, and much that it does not say: no fault, no undocumented answer."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import schemathesis.checks as checks
import uvicorn
from hypothesis import HealthCheck, given, settings

import sojourn
from sojourn.service import Credential, SecretKeys, ServiceOptions, application
from sojourn.service.operations import OPERATIONS

KEYS = SecretKeys({"key": Credential("tester", "default", frozenset({"admin"}))})

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]
"""What every answer must hold. That data which fits is taken, and keys are asked for, is tested by hand beside this."""


class _Running:
    """A service in a thread of its own."""

    def __init__(self) -> None:
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        self.ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        async with sojourn.aopen("memory:") as store:
            app = application(store, keys=KEYS, options=ServiceOptions(per_second=None, strangers_per_second=None))
            self.server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
            task = asyncio.create_task(self.server.serve([self.socket]))
            while not self.server.started:  # noqa: ASYNC110  # uvicorn has no event for it
                await asyncio.sleep(0.005)
            self.ready.set()
            await task


@pytest.fixture(scope="module")
def api() -> Iterator[schemathesis.BaseSchema]:
    running = _Running()
    running.thread.start()
    assert running.ready.wait(20)
    yield schemathesis.openapi.from_url(f"{running.address}/openapi.json", headers={"authorization": "Bearer key"})
    running.server.should_exit = True
    running.thread.join(20)
    running.socket.close()


@pytest.mark.parametrize("place", [f"{operation.method} /v1{operation.path}" for operation in OPERATIONS])
def test_answers_are_what_the_document_says(api: schemathesis.BaseSchema, place: str) -> None:
    method, path = place.split(" ")
    operation = api[path][method]

    @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case[Any]) -> None:
        assert case.call(headers={"authorization": "Bearer wrong"}).status_code == 401
        case.call_and_validate(headers={"authorization": "Bearer key"}, checks=CHECKS)

    ask()
