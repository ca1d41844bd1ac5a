"""The house narrator: does what a game with a story needs next, whoever looks at it first.

Nothing is kept here. What is needed is read from the store (`sojourn.story.needed`), so any server may do it, any may be
killed in the middle, and a game that nobody looks at costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sojourn.errors import ConflictError, LeaseHeldError, LeaseLostError, NotFoundError
from sojourn.kinds.games.model import Game, GamePolicy, Turn
from sojourn.store import AsyncStore
from sojourn.story import GREY_POINT, Moment, Narrator, Need, moment_of, needed

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
    need: Need


class House:
    """Looks at games of one store, and does what they need."""

    def __init__(self, store: AsyncStore, narrator: Narrator = GREY_POINT.tell) -> None:
        self._games = store.games
        self._narrator = narrator

    async def look(self, id: str, *, awake: bool = False) -> Scene:
        """The game as it is after what it needed was done. ``awake``: somebody is there, though nobody chose last."""
        scene = await self._scene(id)
        for _ in range(3):  # a turn may be told and the next window opened in one look
            if scene.need == "narration":
                await self._narrate(id)
            elif scene.need == "window" or (scene.need == "players" and awake):
                await self._offer(id, scene)
            else:
                break
            awake, scene = False, await self._scene(id)
        return scene

    async def _scene(self, id: str) -> Scene:
        turns = await self._games.history(None, count=1, game_id=id)
        game = await self._games.load(id)
        last = turns[-1] if turns else None
        if last is None:
            told = self._narrator(Moment(0, {}, "", game.seed)).text
        elif last.state == "resolved":
            told = await self._games.narration(None, last.number, game_id=id)
        else:
            told = await self._before(id, last)
        return Scene(game, last, told, needed(game, last))

    async def _narrate(self, id: str) -> None:
        try:
            claim = await self._games.narrate(None, holder="house", game_id=id)
            game = await self._games.load(id)
            told = self._narrator(moment_of(game, claim.turn, await self._before(id, claim.turn)))
            await self._games.record_turn(None, claim.turn.number, told.text, token=claim.token, game_id=id)
        except (ConflictError, LeaseHeldError, LeaseLostError, NotFoundError):
            return  # another one tells it

    async def _offer(self, id: str, scene: Scene) -> None:
        before = "" if scene.last is None else await self._before(id, scene.last)
        told = self._narrator(moment_of(scene.game, scene.last, before))
        try:
            await self._games.open_window(None, options=told.options, game_id=id)
        except ConflictError:
            return  # it is open already, or was paused or shelved meanwhile

    async def _before(self, id: str, turn: Turn) -> str:
        found = await self._games.history(None, count=1, before=turn.number, game_id=id)
        return found[-1].narrative_summary if found else ""
