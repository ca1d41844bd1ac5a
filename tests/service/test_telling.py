"""What the service says of itself: logs in which no secret is, and spans."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import reload
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sojourn.service import logs
from sojourn.service.logs import JsonFormatter, without_secrets

SECRET = "a-secret-of-the-test-that-is-long-enough"


def _line(record: logging.LogRecord) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(JsonFormatter().format(record))
    return found


def test_a_request_is_a_line_without_ids_names_or_queries(desk: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        async with desk() as it:
            with caplog.at_level(logging.INFO, logs.LOGGER):
                made = await it.fine("POST", "/v1/conversations", json={"user_id": "ann of the secret garden"})
                await it.ask("GET", f"/v1/conversations/{made['id']}", params={"who": "what is asked"})
                await it.ask("GET", "/v1/contexts", key="a-guess-at-a-key")
            lines = [_line(record) for record in caplog.records if record.name == logs.LOGGER]
            assert [(line["method"], line["route"], line["status"], line["key"]) for line in lines] == [
                ("POST", "/v1/conversations", 201, "admin"),
                ("GET", "/v1/conversations/{id}", 422, "admin"),
                ("GET", "/v1/contexts", 401, ""),
            ]
            text = json.dumps(lines)
            for private in ("garden", made["id"], "what is asked", "admin-key", "a-guess"):
                assert private not in text

    asyncio.run(scene())


def test_a_fault_is_logged_with_its_cause_and_without_what_was_sent(
    desk: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the disk said no to sjl_01M7W8GNKWMDZTAW9VVNEK46W1.924zcu7Eo41HaZbbYThK3Rrz7uVYaI")

    async def scene() -> None:
        async with desk() as it:
            monkeypatch.setattr(it.store.conversations, "list", broken)
            answer = await it.ask("GET", "/v1/conversations")
            assert answer.status_code == 500
            assert "disk" not in answer.text
            line = _line(caplog.records[-1])
            assert "the disk said no" in line["exception"]
            assert "sjl_" not in json.dumps(line)

    asyncio.run(scene())


@pytest.mark.parametrize(
    "text",
    [
        "token sjl_01M7W8GNKWMDZTAW9VVNEK46W1.924zcu7Eo41HaZbbYThK3Rrz7uVYaI-VnOmqIe229DA here",
        "GET /signin?once=NBaU1CnVB5IVtcz84W7TaxqGkQykeylbrHNTI0qivrE&x=1",
        "authorization: Bearer whatever-it-is",
        "/play/14GHET68 was asked",
        "sja_eS70skInEIcmDRoCFnBIlAgETkLhrYgOkArzRnVQQOc",
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str) -> None:
    masked = without_secrets(text)
    assert "***" in masked
    for secret in re.findall(r"[0-9A-Za-z_.-]{20,}|14GHET68|whatever-it-is", text):
        assert secret not in masked


@pytest.mark.slow
def test_the_log_of_a_whole_server_has_no_secret(tmp_path: Path) -> None:
    """Everything secret that a server is sent, or makes, is searched for in everything that it writes."""
    import os
    import signal

    key = subprocess.run(
        [sys.executable, "-m", "sojourn", "key", "create", "bot", "--store", f"sqlite:///{tmp_path}/app.db"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sojourn",
            "serve",
            "--store",
            f"sqlite:///{tmp_path}/app.db",
            "--port",
            "0",
            "--log-requests",
            "--any-user",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "SOJOURN_ADMIN_SECRET": SECRET, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    said = ""
    while "stops." not in said:
        said += process.stdout.readline()
    address = (re.search(r"API +(http://\S+)/v1", said) or [""])[1]
    link = (re.search(r"Console +(http://\S+)", said) or [""])[1]
    secrets = {SECRET, key, link.partition("once=")[2]}
    with httpx.Client(base_url=address, timeout=30) as client:
        for token in (SECRET, key, "guess-guess-guess"):
            client.get("/v1/contexts", headers={"authorization": f"Bearer {token}"})
        headers = {"authorization": f"Bearer {SECRET}"}
        login = client.post("/v1/logins", json={"user_id": "ann"}, headers=headers).json()
        secrets.add(login["token"])
        client.post("/v1/logins/authenticate", json={"token": login["token"]}, headers=headers)
        client.post("/v1/logins/authenticate", json={"token": "sjl_" + "x" * 40}, headers=headers)
        client.get(link, follow_redirects=True)
        page = client.get("/").text
        csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        made = client.post("/games/boot", data={"csrf": csrf, "channel": "table"}, follow_redirects=True)
        code = re.findall(r"/play/([A-Z0-9]+)", made.text)[0]
        client.post(f"/play/{code}/join", data={"name": "Ann"})
        client.get(f"/play/{code}/nothing")
        client.get(f"/v1/games/codes/{code}", headers=headers)
        secrets |= {csrf, code, *client.cookies.values()}
    process.send_signal(signal.SIGINT)
    _, logged = process.communicate(timeout=40)
    assert process.returncode == 0
    lines = [json.loads(line) for line in logged.splitlines()]
    assert {line["route"] for line in lines if line["message"] == "request"} >= {"/v1/contexts", "/v1/logins"}
    for secret in secrets:
        assert secret
        assert secret not in logged


# -- spans -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What an application's own tracer is given."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer", provider.get_tracer)
    yield exporter
    provider.shutdown()


def test_a_request_is_a_span_of_the_caller_s_trace(desk: Any, spans: InMemorySpanExporter) -> None:
    async def scene() -> None:
        async with desk() as it:
            caller = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            await it.fine("POST", "/v1/conversations", json={"user_id": "ann"}, headers={"traceparent": caller})
            await it.store.close()
            await it.problem(503, "GET", "/v1/conversations")

    asyncio.run(scene())
    made, failed = spans.get_finished_spans()
    assert made.name == "POST /v1/conversations"
    assert made.kind is trace.SpanKind.SERVER
    assert made.parent is not None
    assert f"{made.parent.trace_id:x}" == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert dict(made.attributes or {}) == {
        "http.request.method": "POST",
        "http.route": "/v1/conversations",
        "http.response.status_code": 201,
        "sojourn.tenant": "default",
    }
    assert failed.status.status_code is trace.StatusCode.ERROR


def test_without_its_api_there_are_no_spans(desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from sojourn.service import tracing

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "opentelemetry", None)
        patch.setitem(sys.modules, "opentelemetry.trace", None)
        patch.setitem(sys.modules, "opentelemetry.propagate", None)
        reload(tracing)
        with tracing.request_span("GET", "/", {}) as span:
            span.finish(200)
    reload(tracing)
