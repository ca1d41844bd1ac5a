"""The house narrator: does what a game with a story needs next, whoever looks at it first.

Nothing is kept here. What is needed is read from the store (`sojourn.story.needed`), so any server may do it, any may be
killed in the middle, and a game that nobody looks at costs nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeAlias

from sojourn.errors import ConflictError, LeaseHeldError, LeaseLostError, NotFoundError
from sojourn.kinds.games.model import Game, GamePolicy, Turn
from sojourn.store import AsyncStore
from sojourn.story import GREY_POINT, Moment, Narrator, Need, Told, moment_of, needed

_log = logging.getLogger("sojourn.service")

AnyNarrator: TypeAlias = Narrator | Callable[[Moment], Awaitable[Told]]
"""Tells a turn: a plain function, which is run in a thread, or a coroutine function."""

_OPENINGS: Final = 1_000
_AT_ONCE: Final = 0.5
"""Seconds that a page waits for a narrator; one that takes longer goes on by itself, and the page is told later."""

STORY_POLICY: Final = GamePolicy(
    countdown=timedelta(seconds=25), open_on="manual", close_when="all", late="reject", max_players=50, max_choice_length=200
)
"""How a story is played: a turn closes when all who are there have chosen, or its time is over."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A game as its players are shown it."""

    game: Game
    last: Turn | None
    told: str
    """Empty until the beginning was told."""
    need: Need

    @property
    def choices(self) -> bool:
        """Whether anybody chose in the last turn; where nobody did, the next one waits for somebody."""
        return self.last is not None and bool(self.last.choices)


class House:
    """Looks at games, and does what they need."""

    def __init__(self, narrator: AnyNarrator = GREY_POINT.tell) -> None:
        self._narrator = narrator
        self._openings: OrderedDict[str, Told] = OrderedDict()
        self._working: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def look(self, store: AsyncStore, id: str, *, awake: bool = False) -> Scene:
        """The game as it is after what it needed was done. ``awake``: somebody is there, though nobody chose last."""
        scene = await self._scene(store, id)
        if not scene.told or scene.need in ("narration", "window") or (scene.need == "players" and awake):
            work = self._work(store, id, scene)
            await asyncio.wait({work}, timeout=_AT_ONCE)
            scene = await self._scene(store, id)
        return scene

    def _work(self, store: AsyncStore, id: str, scene: Scene) -> asyncio.Task[None]:
        """The task that does what a game needs; one at a time for each game."""
        name = (store.tenant, id)
        found = self._working.get(name)
        if found is None:
            found = self._working[name] = asyncio.create_task(self._go_on(store, id, scene))
            found.add_done_callback(lambda _: self._working.pop(name, None))
        return found

    async def close(self) -> None:
        """Stop working; whatever was begun, another server does."""
        working = list(self._working.values())
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)

    async def _go_on(self, store: AsyncStore, id: str, scene: Scene) -> None:
        try:
            if scene.need == "narration":
                told = await self._narrate(store, id)
                if scene.choices:
                    await self._offer(store, id, told)
            elif scene.need in ("window", "players"):
                await self._offer(store, id, await self._tell_again(store, id))
            else:
                await self._opening(scene.game)
        except (ConflictError, LeaseHeldError, LeaseLostError, NotFoundError):
            return  # another one does it, or the game was paused, shelved or deleted meanwhile
        except Exception:
            _log.exception("the narrator of game %s failed; it is asked again", id)

    async def _narrate(self, store: AsyncStore, id: str) -> Told:
        claim = await store.games.narrate(None, holder="house", game_id=id)
        game = await store.games.load(id)
        told = await self._tell(moment_of(game, claim.turn, await _before(store, id, claim.turn)))
        await store.games.record_turn(None, claim.turn.number, told.text, token=claim.token, game_id=id)
        return told

    async def _tell_again(self, store: AsyncStore, id: str) -> Told:
        """What was told last, asked for again; only what it offers counts."""
        turns = await store.games.history(None, count=1, game_id=id)
        game = await store.games.load(id)
        if not turns:
            return await self._opening(game)
        return await self._tell(moment_of(game, turns[-1], await _before(store, id, turns[-1])))

    async def _offer(self, store: AsyncStore, id: str, told: Told) -> None:
        """Open the next window with what the narrator offers."""
        await store.games.open_window(None, options=told.options, game_id=id)

    async def _opening(self, game: Game) -> Told:
        """How a game begins; asked for once, as long as it is among the newest thousand."""
        found = self._openings.get(game.id)
        if found is None:
            found = self._openings[game.id] = await self._tell(Moment(0, {}, "", game.seed))
            if len(self._openings) > _OPENINGS:
                self._openings.popitem(last=False)
        return found

    async def _tell(self, moment: Moment) -> Told:
        if inspect.iscoroutinefunction(self._narrator):
            telling: Awaitable[Told] = self._narrator(moment)
            return await telling
        return await asyncio.to_thread(self._plain, moment)

    def _plain(self, moment: Moment) -> Told:
        told = self._narrator(moment)
        if not isinstance(told, Told):
            raise TypeError(f"a narrator gives a Told, not {type(told).__name__}.")
        return told

    async def _scene(self, store: AsyncStore, id: str) -> Scene:
        turns = await store.games.history(None, count=1, game_id=id)
        game = await store.games.load(id)
        last = turns[-1] if turns else None
        if last is None:
            told = self._openings[id].text if id in self._openings else ""
        elif last.state == "resolved":
            told = await store.games.narration(None, last.number, game_id=id)
        else:
            told = await _before(store, id, last)
        return Scene(game, last, told, needed(game, last))


async def _before(store: AsyncStore, id: str, turn: Turn) -> str:
    found = await store.games.history(None, count=1, before=turn.number, game_id=id)
    return found[-1].narrative_summary if found else ""
