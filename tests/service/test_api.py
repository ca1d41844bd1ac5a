"""The operations over HTTP."""

from __future__ import annotations

import asyncio
import inspect
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

import sojourn
from sojourn import GamePolicy
from sojourn.service import ServiceOptions
from sojourn.service.application import OWNERS
from sojourn.service.operations import ELSEWHERE, LEFT_OUT, OPERATIONS

MINE = {"user_id": "ann", "title": "Trip"}


def test_a_conversation_from_its_beginning_to_its_end(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            made = await it.fine("POST", "/v1/conversations", json=MINE)
            place = f"/v1/conversations/{made['id']}"
            said = await it.fine("POST", f"{place}/messages", json={"role": "user", "content": "Hello", "channel": "web"})
            assert (said["sequence"], said["content"]) == (1, "Hello")
            listed = await it.fine("GET", f"{place}/messages")
            assert [item["content"] for item in listed["items"]] == ["Hello"]
            found = await it.fine("GET", "/v1/conversations", params={"user_id": "ann"})
            assert [item["id"] for item in found["items"]] == [made["id"]]
            ended = await it.fine("POST", f"{place}/end", json={"reason": "done"})
            assert ended["state"] == "ended"
            problem = await it.problem(409, "POST", f"{place}/messages", json={"role": "user", "content": "more"})
            assert problem["code"] == "session.ended"
            assert await it.fine("DELETE", place) == {"result": True}
            assert (await it.problem(404, "GET", place))["code"] == "session.not_found"

    asyncio.run(scene())


def test_the_same_key_does_nothing_twice(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            headers = {"Idempotency-Key": "once"}
            first = await it.fine("POST", "/v1/conversations", json=MINE, headers=headers)
            assert await it.fine("POST", "/v1/conversations", json=MINE, headers=headers) == first
            problem = await it.problem(422, "POST", "/v1/conversations", json={"user_id": "ann"}, headers=headers)
            assert problem["code"] == "key.reused"

    asyncio.run(scene())


def test_a_version_is_an_entity_tag(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            made = await it.ask("POST", "/v1/conversations", json=MINE)
            place, tag = f"/v1/conversations/{made.json()['id']}/messages", made.headers["etag"]
            message = {"role": "user", "content": "Hello"}
            await it.fine("POST", place, json=message, headers={"If-Match": tag})
            problem = await it.problem(412, "POST", place, json=message, headers={"If-Match": tag})
            assert (problem["code"], problem["version"]) == ("conflict", 2)
            await it.problem(422, "POST", place, json=message, headers={"If-Match": "tomorrow"})

    asyncio.run(scene())


def test_pages_follow_one_another(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            for number in range(5):
                await it.fine("POST", "/v1/conversations", json={"user_id": f"user {number}"})
            seen, after = [], None
            while True:
                query = {"limit": 2, **({"after": after} if after else {})}
                page = await it.fine("GET", "/v1/conversations", params=query)
                seen += [item["identity"]["user_id"] for item in page["items"]]
                after = page["next"]
                if after is None:
                    break
            assert sorted(seen) == [f"user {number}" for number in range(5)]

    asyncio.run(scene())


def test_a_name_may_have_slashes_and_percent_signs(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            await it.fine("POST", "/v1/contexts/named/src%2Fcore%20100%25/artifacts", json={"kind": "note", "content": "n"})
            found = await it.fine("GET", "/v1/contexts/named/src%2Fcore%20100%25")
            assert (found["name"], found["artifact_count"]) == ("src/core 100%", 1)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "says"),
    [
        ("POST", "/v1/conversations", {"content": b"{"}, 400, "not JSON"),
        ("POST", "/v1/conversations", {"content": b"[1]"}, 422, "must be a JSON object"),
        ("POST", "/v1/conversations", {"json": {"title": "ann"}}, 422, "missing required field `user_id`"),
        ("POST", "/v1/conversations", {"json": {"user_id": "ann", "titel": ""}}, 422, "unknown field `titel`"),
        ("POST", "/v1/conversations", {"json": {"user_id": ["ann"]}}, 422, "`$.user_id`"),
        ("POST", "/v1/conversations", {"json": {"user_id": ""}}, 422, "user_id must not be empty"),
        ("GET", "/v1/conversations?limit=many", {}, 422, "`$.limit`"),
        ("GET", "/v1/conversations?after=zzz", {}, 422, "cursor"),
        ("GET", "/v1/conversations/nothing", {}, 404, "nothing"),
        ("GET", "/v1/conversations/handles/web/w1", {}, 404, "nothing"),
        ("GET", "/v1/sessions?filter=nonsense", {}, 422, "nonsense"),
        ("GET", "/nowhere", {}, 404, "no such path"),
        ("PUT", "/v1/conversations", {}, 405, "not for this path"),
        ("POST", "/v1/contexts", {"content": b"x" * 2000}, 413, "more than 1,000 bytes"),
        ("POST", "/v1/contexts/named/n/artifacts", {"json": {"kind": "", "content": ""}}, 422, "kind must be text"),
    ],
)
def test_what_is_wrong_is_a_problem_that_says_so(
    method: str, path: str, more: dict[str, object], status: int, says: str, desk: Any
) -> None:
    async def scene() -> None:
        async with desk(max_body=1000) as it:
            problem = await it.problem(status, method, path, **more)
            assert says in problem["detail"]
            assert problem["status"] == status
            assert problem["type"] == f"urn:sojourn:{problem['code']}"

    asyncio.run(scene())


def test_a_path_says_which_methods_it_is_for(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            refused = await it.ask("PUT", "/v1/conversations")
            assert refused.status_code == 405
            assert refused.headers["allow"] == "GET, HEAD, OPTIONS, POST"
            asked = await it.ask("OPTIONS", "/v1/conversations", key="")
            assert (asked.status_code, asked.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
            assert (await it.ask("HEAD", "/v1/conversations")).status_code == 200
            assert (await it.ask("HEAD", "/v1/conversations", key="")).status_code == 401
            assert (await it.ask("OPTIONS", "/nowhere")).status_code == 404

    asyncio.run(scene())


def test_any_version_is_a_star(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            made = await it.fine("POST", "/v1/conversations", json=MINE)
            place, message = f"/v1/conversations/{made['id']}/messages", {"role": "user", "content": "Hello"}
            for _ in range(2):
                await it.fine("POST", place, json=message, headers={"If-Match": "*"})

    asyncio.run(scene())


@pytest.mark.parametrize("value", ["\u00fc", "\u00ff" * 50, "x" * 5000, "a b", "'\"<>"])
def test_headers_that_are_odd(value: str, desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            raw = value.encode("latin-1")
            answer = await it.ask("POST", "/v1/conversations", json=MINE, headers={"idempotency-key": raw})
            assert answer.status_code in (201, 413, 422)
            await it.problem(422, "POST", f"/v1/conversations/{'0' * 26}/messages", json={}, headers={"if-match": raw})
            assert (await it.ask("GET", "/v1/contexts", key="", headers={"authorization": b"Bearer " + raw})).status_code == 401
            assert (await it.ask("GET", "/v1/events", headers={"last-event-id": raw})).status_code == 422

    asyncio.run(scene())


def test_who_waits_for_a_turn_is_told_and_asks_again(desk: Any, served: Any) -> None:
    async def scene() -> None:
        headers = {"authorization": "Bearer admin-key"}
        limits = {"long_poll": timedelta(seconds=0.2), "timeout": timedelta(seconds=0.1)}
        async with desk(**limits) as it, served(it.app) as address:  # noqa: SIM117  # it would be too long
            async with httpx.AsyncClient(base_url=address, headers=headers, timeout=20) as client:
                game = await it.store.games.boot("table", "Grey", policy=GamePolicy(countdown=None, close_when="deadline"))
                await it.store.games.submit_choice("table", "ann", "Ann", "up")
                place = f"/v1/games/{game.id}/turns/next"
                late = await client.get(place)
                assert (late.status_code, late.json()["code"]) == (504, "service.timeout")

                async def told(**params: int) -> Any:
                    for _ in range(150):
                        answer = await client.get(place, params=params)
                        if answer.status_code != 504:
                            return answer.json()
                    raise AssertionError("nobody ever told")

                waiting = asyncio.create_task(told())
                await it.store.games.close("table")
                assert (await waiting)["number"] == 1
                assert (await told(turn=1))["number"] == 1

    asyncio.run(scene())


def test_who_waits_is_told_that_the_service_stops(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            game = await it.store.games.boot("table", "Grey", policy=GamePolicy(countdown=None))
            await it.store.games.submit_choice("table", "ann", "Ann", "up")
            waiting = asyncio.create_task(it.problem(503, "GET", f"/v1/games/{game.id}/turns/next"))
            await asyncio.sleep(0.05)
            it.app.state.service.streams.stop()
            assert (await waiting)["code"] == "service.stopping"
            await it.fine("GET", f"/v1/games/{game.id}")
            assert (await it.problem(503, "GET", "/v1/events"))["code"] == "service.stopping"

    asyncio.run(scene())


def test_only_so_many_streams(desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk(max_streams=1) as it, served(it.app) as address, httpx.AsyncClient(base_url=address) as client:
            headers = {"authorization": "Bearer admin-key"}
            async with client.stream("GET", "/v1/events", headers=headers) as response:
                assert await anext(response.aiter_lines())
                refused = await client.get("/v1/events", headers=headers)
                assert (refused.status_code, refused.json()["code"]) == (503, "service.streams")

    asyncio.run(scene())


@pytest.mark.parametrize("options", [{"max_body": 0}, {"timeout": timedelta(0)}, {"per_second": -1.0}, {"max_streams": 0}])
def test_limits_that_are_none(options: dict[str, Any]) -> None:
    with pytest.raises(sojourn.InvalidValueError, match=next(iter(options))):
        ServiceOptions(**options)


def test_whoever_guesses_keys_is_slowed_down(desk: Any) -> None:
    async def scene() -> None:
        async with desk(strangers_per_second=1) as it:
            answers = [(await it.ask("GET", "/v1/contexts", key=f"guess {number}")).status_code for number in range(15)]
            assert answers[:10] == [401] * 10
            assert 429 in answers[10:]
            await it.fine("GET", "/v1/contexts")

    asyncio.run(scene())


# -- who may -----------------------------------------------------------------------------------------------------------


def test_keys_allow_what_their_scopes_say(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            assert (await it.problem(401, "GET", "/v1/conversations", key=""))["code"] == "service.unauthorized"
            await it.problem(401, "GET", "/v1/conversations", key="guess")
            await it.fine("GET", "/v1/conversations", key="reader-key")
            assert (await it.problem(403, "POST", "/v1/conversations", key="reader-key", json=MINE))[
                "code"
            ] == "service.forbidden"
            await it.fine("POST", "/v1/conversations", key="talker-key", json=MINE)
            await it.problem(403, "GET", "/v1/contexts", key="talker-key")
            for path in ("/v1/store/facts", "/metrics"):
                await it.problem(403, "GET", path, key="other-key")
                assert (await it.ask("GET", path)).status_code == 200

    asyncio.run(scene())


def test_a_tenant_reaches_nothing_of_another(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            made = await it.fine("POST", "/v1/conversations", json=MINE)
            await it.fine("POST", f"/v1/conversations/{made['id']}/messages", json={"role": "user", "content": "secret word"})
            cursor = (await it.fine("GET", "/v1/conversations", params={"limit": 1}))["next"]
            assert cursor is None
            for path in ("", "/messages", "/export", "/checkpoints"):
                await it.problem(404, "GET", f"/v1/conversations/{made['id']}{path}", key="other-key")
            await it.problem(404, "GET", f"/v1/sessions/{made['id']}", key="other-key")
            assert (await it.fine("GET", "/v1/conversations", key="other-key"))["items"] == []
            search = ("GET", "/v1/conversations/search")
            if not it.store.capabilities.search:
                assert (await it.problem(501, *search, params={"query": "secret"}))["type"] == "urn:sojourn:engine.unsupported"
                return
            assert (await it.fine(*search, params={"query": "secret"}, key="other-key"))["items"] == []
            assert len((await it.fine(*search, params={"query": "secret"}))["items"]) == 1

    asyncio.run(scene())


def test_too_many_requests_are_told_when_to_come_again(desk: Any) -> None:
    async def scene() -> None:
        async with desk(per_second=0.2) as it:
            assert [(await it.ask("GET", "/v1/conversations")).status_code for _ in range(3)] == [200, 200, 429]
            response = await it.ask("GET", "/v1/conversations")
            assert response.headers["retry-after"] == "1"
            assert (await it.ask("GET", "/v1/conversations", key="other-key")).status_code == 200

    asyncio.run(scene())


# -- the whole of it ---------------------------------------------------------------------------------------------------


def test_every_operation_is_reachable() -> None:
    reachable = {(operation.kind, operation.name) for operation in OPERATIONS}
    for kind, owner in OWNERS.items():
        for name, function in vars(owner).items():
            if name.startswith("_") or not inspect.isfunction(function) or name in LEFT_OUT.get(kind, {}):
                continue
            assert (kind, ELSEWHERE.get(kind, {}).get(name, name)) in reachable, f"{kind}.{name} has no route"


def test_the_document_names_every_route(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            document = await it.fine("GET", "/openapi.json")
            named = {(method.upper(), path) for path, entry in document["paths"].items() for method in entry}
            assert {(operation.method, f"/v1{operation.path}") for operation in OPERATIONS} < named
            assert document["openapi"] == "3.1.0"
            references = set(json.dumps(document).split('"$ref": "#/components/schemas/')[1:])
            assert {text.partition('"')[0] for text in references} <= document["components"]["schemas"].keys()

    asyncio.run(scene())


def test_health_and_metrics(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            assert (await it.ask("GET", "/healthz", key="")).json() == {"status": "ok"}
            assert (await it.ask("GET", "/readyz", key="")).json() == {"status": "ready"}
            await it.fine("GET", "/v1/conversations")
            page = (await it.ask("GET", "/metrics")).text
            assert 'sojourn_requests_total{method="GET",route="/v1/conversations",status="200"} 1.0' in page
            await it.store.close()
            response = await it.ask("GET", "/readyz", key="")
            assert (response.status_code, response.json()["code"]) == (503, "engine.closed")
            assert (await it.problem(503, "GET", "/v1/conversations"))["code"] == "engine.closed"

    asyncio.run(scene())


def test_it_can_be_mounted_under_a_path(desk: Any) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    async def scene() -> None:
        async with desk() as it:
            outer = Starlette(routes=[Mount("/sub/sojourn", it.app)])
            async with httpx.AsyncClient(transport=httpx.ASGITransport(outer), base_url="http://service") as client:
                headers = {"authorization": "Bearer admin-key"}
                path = "/sub/sojourn/v1/contexts/named/a%2Fb/artifacts"
                made = await client.post(path, json={"kind": "note", "content": "n"}, headers=headers)
                assert made.status_code == 201, made.text
                document = (await client.get("/sub/sojourn/openapi.json", headers=headers)).json()
                assert document["servers"] == [{"url": "/sub/sojourn"}]

    asyncio.run(scene())


# -- events ------------------------------------------------------------------------------------------------------------


async def _read(response: httpx.Response, count: int) -> list[dict[str, str]]:
    """So many server-sent events."""
    found: list[dict[str, str]] = []
    current: dict[str, str] = {}
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name in ("id", "event", "data"):
            current[name] = value
        if not line and "data" in current:
            found.append(current)
            current = {}
            if len(found) == count:
                break
    return found


def test_events_arrive_and_go_on_where_they_stopped(desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk() as it, served(it.app) as address, httpx.AsyncClient(base_url=address, timeout=20) as client:
            headers = {"authorization": "Bearer admin-key"}
            async with client.stream("GET", "/v1/events?kind=conversation", headers=headers) as response:
                assert response.headers["content-type"].startswith("text/event-stream")
                reading = asyncio.create_task(_read(response, 2))
                made = await it.store.conversations.create("ann")
                await it.store.conversations.append(made.id, "user", "one")
                seen = await reading
            assert [event["event"] for event in seen] == ["created", "appended"]
            await it.store.conversations.append(made.id, "user", "two")
            again = {**headers, "last-event-id": seen[0]["id"]}
            async with client.stream("GET", f"/v1/events?id={made.id}", headers=again) as response:
                rest = await _read(response, 2)
            assert [json.loads(event["data"])["sequences"] for event in rest] == [[1, 1], [2, 2]]
            assert rest[0]["id"] == seen[1]["id"]

    asyncio.run(scene())


def test_a_stream_ends_when_the_service_stops(desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk() as it, served(it.app) as address, httpx.AsyncClient(base_url=address, timeout=20) as client:
            async with client.stream("GET", "/v1/events", headers={"authorization": "Bearer admin-key"}) as response:
                lines = response.aiter_lines()
                assert await anext(lines) == "retry: 1000"
                assert it.app.state.service.streams.open == 1
                it.app.state.service.streams.stop()
                assert not [line async for line in lines if line.startswith("data")]
            assert (await client.get("/readyz")).status_code == 503

    asyncio.run(scene())


def test_a_bad_cursor_or_kind_is_told_before_the_stream_begins(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            assert (await it.problem(422, "GET", "/v1/events?after=zzz"))["code"] == "cursor.invalid"
            assert (await it.problem(422, "GET", "/v1/events?kind=cat"))["code"] == "value.invalid"

    asyncio.run(scene())


def test_events_of_one_kind_need_the_scope_of_that_kind(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            it.app.state.service.streams.stop()
            for path, status in (("?kind=conversation", 503), ("?kind=context", 403), ("", 403), ("?kind=cat", 403)):
                await it.problem(status, "GET", f"/v1/events{path}", key="talker-key")

    asyncio.run(scene())


def test_nothing_is_missed_by_a_stream_while_many_write(desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk(per_second=None) as it, served(it.app) as address:
            async with httpx.AsyncClient(base_url=address, timeout=30) as client:
                headers = {"authorization": "Bearer admin-key"}
                ids = [(await it.store.conversations.create(f"user {number}")).id for number in range(8)]
                async with client.stream("GET", "/v1/events", headers=headers) as response:
                    reading = asyncio.create_task(_read(response, 160))

                    async def write(id: str) -> None:
                        for number in range(20):
                            body = {"role": "user", "content": str(number)}
                            answer = await client.post(f"/v1/conversations/{id}/messages", json=body, headers=headers)
                            assert answer.status_code == 201

                    await asyncio.gather(*map(write, ids))
                    seen = [json.loads(event["data"]) for event in await reading]
            assert len(seen) == 160
            for id in ids:
                assert [event["sequences"][0] for event in seen if event["id"] == id] == list(range(1, 21))

    asyncio.run(scene())


def test_a_version_of_sojourn_is_told(desk: Any) -> None:
    async def scene() -> None:
        async with desk() as it:
            assert (await it.fine("GET", "/openapi.json"))["info"]["version"] == sojourn.__version__

    asyncio.run(scene())
