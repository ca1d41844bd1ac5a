"""A game's WebSocket, over a real socket."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sojourn import GamePolicy

POLICY = GamePolicy(countdown=timedelta(minutes=5), close_when="all")


def _line(address: str, place: str, *, key: str = "admin-key", **more: Any) -> connect:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return connect(f"{address.replace('http', 'ws')}/v1/games/{place}/live", additional_headers=headers, proxy=None, **more)


async def _next(socket: ClientConnection, type: str) -> Any:
    """The next message of a type; a game's events come in between."""
    async with asyncio.timeout(20):
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == type:
                return message


async def _ask(socket: ClientConnection, do: str, *, id: Any = 1, **arguments: Any) -> Any:
    """What an operation gives, or the problem of it."""
    await socket.send(json.dumps({"id": id, "do": do, **arguments}))
    async with asyncio.timeout(20):
        while True:
            message = json.loads(await socket.recv())
            if message.get("id") == id and message["type"] in ("answer", "problem"):
                return message.get("result") or message.get("problem")


@pytest.mark.parametrize("named", ["channel", "id"])
def test_a_turn_is_played_over_a_line(named: str, desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk() as it, served(it.app) as address:
            game = await it.store.games.boot("table 1/2", "Grey", policy=POLICY)
            await it.store.games.join("table 1/2", "bo", "Bo")
            place = "channels/table%201%2F2" if named == "channel" else game.id
            async with _line(address, place) as ann, _line(address, place) as bo:
                assert (await _next(ann, "game"))["game"]["name"] == "Grey"
                await _next(bo, "game")
                assert (await _ask(ann, "join", user_id="ann", user_name="Ann"))["user_name"] == "Ann"
                joined = await _next(bo, "event")
                assert set(joined["game"]["players"]) == {"ann", "bo"}
                pressed = await _ask(ann, "submit_choice", id="a", user_id="ann", user_name="Ann", choice="up", key="once")
                assert (pressed["status"], pressed["turn"]) == ("accepted", 1)
                again = await _ask(ann, "submit_choice", id="b", user_id="ann", user_name="Ann", choice="up", key="once")
                assert again["status"] == "duplicate"
                await _ask(bo, "submit_choice", user_id="bo", user_name="Bo", choice="down")
                while (event := await _next(ann, "event"))["game"]["turn"] != 1:
                    assert event["event"]["id"] == game.id
                assert event["game"]["window"] is None
                told = await _ask(ann, "history", id="c")
                assert told["items"][0]["choices"] == {"ann": "up", "bo": "down"}

    asyncio.run(scene())


def test_it_goes_on_where_it_broke(desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk() as it, served(it.app) as address:
            game = await it.store.games.boot("table", "Grey", policy=POLICY)
            async with _line(address, "channels/table") as socket:
                await _next(socket, "game")
                await it.store.games.join("table", "ann", "Ann")
                cursor = (await _next(socket, "event"))["event"]["cursor"]
            await it.store.games.join("table", "bo", "Bo")
            await it.store.games.join("table", "cy", "Cy")
            url = f"{address.replace('http', 'ws')}/v1/games/channels/table/live?after={cursor}"
            async with connect(url, additional_headers={"authorization": "Bearer admin-key"}, proxy=None) as socket:
                assert (await _next(socket, "game"))["cursor"] == cursor
                seen = [await _next(socket, "event") for _ in range(2)]
            assert [event["event"]["change"] for event in seen] == ["joined", "joined"]
            assert seen[0]["event"]["id"] == game.id
            assert len({event["event"]["cursor"] for event in seen} | {cursor}) == 3

    asyncio.run(scene())


def test_the_line_follows_the_channel_from_game_to_game(desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk() as it, served(it.app) as address, _line(address, "channels/table") as socket:
            assert (await _next(socket, "game"))["game"] is None
            problem = await _ask(socket, "submit_choice", user_id="ann", user_name="Ann", choice="up")
            assert problem["status"] == 404
            await it.store.games.boot("table", "first")
            assert (await _next(socket, "event"))["game"]["name"] == "first"
            await it.store.games.swap("table", "second")
            while (await _next(socket, "event"))["game"]["name"] != "second":
                pass

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("{", 400),
        ("[1]", 422),
        ("{}", 422),
        ('{"do": "delete"}', 422),
        ('{"do": ["join"]}', 422),
        ('{"do": "join", "user_id": 1.5, "user_name": "x"}', 422),
        ('{"do": "join", "user_id": "x", "user_name": "x", "game_id": "other"}', 422),
        ('{"do": "join", "user_id": "x", "user_name": "x", "colour": "red"}', 422),
        ('{"do": "submit_choice", "user_id": "x", "user_name": "x", "choice": "c", "key": 5}', 422),
    ],
)
def test_what_is_wrong_is_told_and_the_line_goes_on(text: str, status: int, desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk() as it, served(it.app) as address:
            await it.store.games.boot("table", "Grey")
            async with _line(address, "channels/table") as socket:
                await socket.send(text)
                assert (await _next(socket, "problem"))["problem"]["status"] == status
                assert (await _ask(socket, "players"))["items"] == []

    asyncio.run(scene())


def test_who_may(desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk() as it, served(it.app) as address:
            game = await it.store.games.boot("table", "Grey")
            for place, key, status in (
                ("channels/table", "", 401),
                ("channels/table", "guess", 401),
                ("channels/table", "talker-key", 403),
                (game.id, "other-key", 404),
                ("nothing", "admin-key", 404),
                ("channels/table", "reader-key", None),
            ):
                if status is None:
                    async with _line(address, place, key=key) as socket:
                        assert (await _ask(socket, "join", user_id="x", user_name="x"))["status"] == 403
                        assert (await _ask(socket, "players"))["items"] == []
                    continue
                with pytest.raises(InvalidStatus) as caught:
                    async with _line(address, place, key=key):
                        pass
                assert caught.value.response.status_code == status
            with pytest.raises(InvalidStatus) as caught:
                async with connect(
                    f"{address.replace('http', 'ws')}/v1/games/channels/table/live?after=zzz",
                    additional_headers={"authorization": "Bearer admin-key"},
                    proxy=None,
                ):
                    pass
            assert caught.value.response.status_code == 422, "a cursor that is none"
            async with _line(address, "channels/table", key="other-key") as socket:
                assert (await _next(socket, "game"))["game"] is None, "a channel of that name in another tenant"
            offered: Any = ["sojourn", "key.admin-key"]
            async with _line(address, "channels/table", key="", subprotocols=offered) as socket:
                assert socket.subprotocol == "sojourn"
                assert (await _next(socket, "game"))["game"]["id"] == game.id

    asyncio.run(scene())


def test_it_ends_when_the_service_stops(desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk() as it, served(it.app) as address:
            await it.store.games.boot("table", "Grey")
            async with _line(address, "channels/table") as socket:
                await _next(socket, "game")
                assert it.app.state.service.streams.open == 1
                it.app.state.service.streams.stop()
                with pytest.raises(ConnectionClosed) as closed:
                    await socket.recv()
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1012
            with pytest.raises(InvalidStatus) as caught:
                async with _line(address, "channels/table"):
                    pass
            assert caught.value.response.status_code == 503
            assert it.app.state.service.streams.open == 0

    asyncio.run(scene())


def test_a_revoked_key_says_nothing_more(desk: Any, served: Any) -> None:
    async def scene() -> None:
        async with desk(own_keys=True) as it, served(it.app) as address:
            await it.store.games.boot("table", "Grey")
            made = await it.keys.create("bot", scopes=["games:read", "games:write"])
            async with _line(address, "channels/table", key=str(made.token)) as socket:
                await _ask(socket, "join", user_id="ann", user_name="Ann")
                await it.keys.revoke(made.login.id)
                assert (await _ask(socket, "leave", user_id="ann"))["status"] == 401
                with pytest.raises(ConnectionClosed):
                    await _next(socket, "never")
            assert len((await it.store.games.get("table")).players) == 1

    asyncio.run(scene())
