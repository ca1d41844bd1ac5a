"""A WebSocket for a game: what happens in its channel with how the game is then, and choices on the same line.

Messages are JSON objects. The service sends ``{"type": "game", "cursor", "game"}`` once, ``{"type": "event", "event", "game"}``
for each change, and for each message of the client an ``answer`` or a ``problem`` that repeats its ``id``. The client sends
``{"id": 1, "do": "submit_choice", …}``: an operation on the game by its name, with its arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from urllib.parse import unquote

from starlette.websockets import WebSocket, WebSocketDisconnect

from sojourn.errors import EndedError, NotFoundError, SojournError
from sojourn.kinds.games.model import Game
from sojourn.service import problems
from sojourn.service.access import Credential, Keys, Rates, demand
from sojourn.service.calls import ENCODER, Call, read_object, wrapped
from sojourn.service.live import BEAT, Streams, check_cursor
from sojourn.service.problems import ProblemError
from sojourn.shell.feed import Event
from sojourn.store import AsyncStore

_log = logging.getLogger("sojourn.service")

PROTOCOL: Final = "sojourn"
_KEY: Final = "key."
LARGEST: Final = 2_000_000
"""Bytes of one message."""
RESTARTING: Final = 1012
"""The service stops: come again (the registry of close codes of RFC 6455)."""
REFUSED: Final = 1008
"""The key is good no longer."""


def token_of(websocket: WebSocket) -> str:
    """The key: of the header, or of a subprotocol ``key.…``, which is what a browser can send."""
    scheme, _, token = websocket.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    offered: list[str] = websocket.scope.get("subprotocols", [])
    return next((name.removeprefix(_KEY) for name in offered if name.startswith(_KEY)), "")


@dataclass(frozen=True, slots=True)
class Line:
    """One open WebSocket: whose, and about which game."""

    websocket: WebSocket
    store: AsyncStore
    token: str
    channel: str | None
    id: str | None

    @property
    def named(self) -> dict[str, str | None]:
        """How operations are told which game it is."""
        return {"channel_id": self.channel} if self.id is None else {"channel_id": None, "game_id": self.id}

    async def game(self) -> Game | None:
        """The game as it is now; None for a channel that shows none."""
        if self.id is not None:
            return await self.store.games.load(self.id)
        return None if self.channel is None else await self.store.games.get(self.channel)

    def watch(self, after: str, timeout: timedelta) -> AsyncIterator[Event]:
        """What happens to it."""
        if self.id is not None:
            return self.store.watch("game", self.id, after, timeout=timeout)
        return self.store.games.watch(self.channel or "", after=after, timeout=timeout)

    async def send(self, **message: Any) -> None:
        """Send one message."""
        await self.websocket.send_text(ENCODER.encode(message).decode())


class Sockets:
    """The WebSockets of one service."""

    def __init__(
        self,
        keys: Keys,
        rates: Rates,
        streams: Streams,
        of_tenant: Callable[[str], AsyncStore],
        calls: Mapping[tuple[str, bool], Call],
    ) -> None:
        self._keys = keys
        self._rates = rates
        self._streams = streams
        self._of_tenant = of_tenant
        self._calls = calls

    async def answer(self, websocket: WebSocket) -> None:
        """One client from its coming to its going."""
        try:
            line, after = await self._open(websocket)
        except (SojournError, ProblemError) as error:
            await websocket.send_denial_response(problems.answer(error))
            return
        await websocket.accept(PROTOCOL if PROTOCOL in websocket.scope.get("subprotocols", []) else None)
        with self._streams.counted():
            code = await self._until_one_ends(self._hear(line), self._tell(line, after))
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # it is closed already
            await websocket.close(code)

    async def _open(self, websocket: WebSocket) -> tuple[Line, str]:
        self._streams.check_room()
        token = token_of(websocket)
        credential = await self._known(token)
        demand(credential, "games", "read")
        place = {name: unquote(text) for name, text in websocket.path_params.items()}
        store = self._of_tenant(credential.tenant)
        line = Line(websocket, store, token, place.get("channel_id"), place.get("game_id"))
        after = websocket.query_params.get("after") or await store.tip()
        await line.game()  # a game that is not there is told before the line is open
        await check_cursor(line.watch, after)
        return line, after

    async def _known(self, token: str) -> Credential:
        found = await self._keys.find(token)
        if found is None:
            text = "A valid API key is needed."
            raise ProblemError(
                401, "service.unauthorized", text, hint=f"Offer the subprotocols {PROTOCOL!r} and '{_KEY}<key>'."
            )
        self._rates.take(f"{found.tenant}\0{found.name}")
        return found

    @staticmethod
    async def _until_one_ends(*works: Awaitable[int]) -> int:
        """The close code of whichever ends first."""
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        except WebSocketDisconnect:
            return 1000
        except SojournError as error:
            _log.warning("a game's line broke: %s", error.code)
            return 1011
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _tell(self, line: Line, after: str) -> int:
        """How the game is, then every change and how it is after that."""
        await line.send(type="game", cursor=after, game=await line.game())
        asked = time.monotonic()
        async with contextlib.aclosing(self._streams.events(line.watch, after)) as events:
            async for event in events:
                if event is not None:
                    await line.send(type="event", event=event, game=await self._game_after(line))
                if time.monotonic() - asked > BEAT.total_seconds():
                    if await self._keys.find(line.token) is None:
                        return REFUSED
                    asked = time.monotonic()
        return RESTARTING

    @staticmethod
    async def _game_after(line: Line) -> Game | None:
        try:
            return await line.game()
        except (NotFoundError, EndedError):  # deleted
            return None

    async def _hear(self, line: Line) -> int:
        """Do what the client says, one after another."""
        while True:
            text = await line.websocket.receive_text()
            id: Any = None
            try:
                message = read_object(text.encode())
                id = message.pop("id", None)
                result = await self._do(line, message)
            except (SojournError, ProblemError) as error:
                await line.send(type="problem", id=id, problem=problems.document(error))
                if problems.status_of(error) == 401:
                    return REFUSED
            else:
                await line.send(type="answer", id=id, result=result)

    async def _do(self, line: Line, message: dict[str, Any]) -> Any:
        name = message.pop("do", None)
        call = self._calls.get((name, line.id is not None)) if isinstance(name, str) else None
        if call is None:
            known = ", ".join(sorted({name for name, _ in self._calls}))
            raise ProblemError(
                422, "value.invalid", f"'do' must name an operation, got {name!r}.", hint=f"Operations: {known}."
            )
        demand(await self._known(line.token), "games", call.operation.action)
        return wrapped(await call.run(line.store, call.given(message, line.named)))
