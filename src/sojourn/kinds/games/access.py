"""How an operation reaches its game, by channel or by id, and changes it by a rule that is shown it as it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeAlias, TypeVar

from sojourn.core.batch import Answer, Refusal, Write
from sojourn.core.codec import check_key
from sojourn.errors import ConflictError, InvalidValueError, NotFoundError
from sojourn.kinds.games import roster
from sojourn.kinds.games.model import Game
from sojourn.kinds.games.placement import AGAIN, Operation, Placement, Spot, placed
from sojourn.kinds.games.play import Play
from sojourn.kinds.games.reader import Reader
from sojourn.kinds.games.record import KIND, RETRY, View, after, game_of
from sojourn.kinds.games.transitions import Place
from sojourn.shell.unit import Unit, perform

T = TypeVar("T")

_PLAIN: Final = Operation()
"""An operation without an id."""

Rule: TypeAlias = Callable[[View], "Write | None"]
"""What an operation changes of a game as it is; None for nothing."""


def channel_of(channel_id: object) -> str:
    """A channel's id as it is kept."""
    return check_key(channel_id, "channel_id", 256)


class Access:
    """Reaches the games of one store and tenant."""

    def __init__(self, unit: Unit, reader: Reader, placement: Placement, play: Play) -> None:
        self._unit = unit
        self._reader = reader
        self._placement = placement
        self._play = play

    def place(self, channel_id: str | int | None, game_id: str | int | None) -> tuple[str, str]:
        """What an operation names: a channel, or a game."""
        if game_id is not None:
            return "game", check_key(game_id, "game_id")
        if channel_id is None:
            raise InvalidValueError("a channel_id, or a game_id, says which game is meant.")
        return "channel", channel_of(channel_id)

    async def view(self, channel_id: str | int | None, game_id: str | int | None) -> View:
        """The game, as it is."""
        kind, name = self.place(channel_id, game_id)
        return await (self._placement.current(name) if kind == "channel" else self._reader.load(name))

    async def settled(self, channel_id: str | int | None, game_id: str | int | None) -> View:
        """The game, with its window closed where that was due."""
        return await self._play.settled(await self.view(channel_id, game_id))

    async def current(self, channel_id: str | int | None, game_id: str | int | None) -> View:
        """The game with what was chosen in its open window."""
        return await self._reader.with_activity(await self.settled(channel_id, game_id))

    async def game(self, view: View) -> Game:
        """What callers see of a game, with what its players have done in the open window."""
        return game_of(await self._reader.with_activity(view))

    async def changed(
        self,
        channel_id: str | int | None,
        game_id: str | int | None,
        rule: Rule,
        *,
        choices: bool = False,
        operation: Operation = _PLAIN,
    ) -> View:
        """Change one game by a rule that is shown it as it is; a window that was due is closed first."""
        view, _ = await self._changed(channel_id, game_id, rule, choices=choices, operation=operation)
        return view

    async def _changed(
        self, channel_id: str | int | None, game_id: str | int | None, rule: Rule, *, choices: bool, operation: Operation
    ) -> tuple[View, Answer | None]:
        """The game and the answer of the commit that has changed it; None where there was nothing to change."""

        async def step() -> tuple[View, Answer | None] | Refusal:
            view = await self.settled(channel_id, game_id)
            if choices:
                view = await self._reader.with_activity(view)
            meant = await self.meant(
                view, operation, by_channel=game_id is None
            )  # after the last look, or a rule might see its own
            if meant is not None:
                return meant
            write = rule(view)
            if write is None:
                return view, await self._unit.remember(view.session.home, operation.key, operation.mark)
            answer = await self._unit.attempt(view.session.home, write, key=operation.key, fingerprint=operation.mark)
            if answer.replayed:
                return await self._play.settled(await self._reader.load(view.id)), answer
            return answer.refusal or (after(view, write, answer.moved[0], answer.now), answer)

        return await perform(step, KIND)

    async def known(self, view: View, operation: Operation) -> Answer | None:
        """The answer that an operation id already has from a game or its home."""
        first = await self._unit.replayed(view.session, operation.key, operation.mark)
        return first or await self._unit.replayed(view.session, operation.key, operation.mark, with_entry=True)

    async def meant(self, view: View, operation: Operation, *, by_channel: bool) -> tuple[View, Answer] | None:
        """The game that an operation id has changed, as it is now, and how: this one, or one its channel showed lately."""
        if operation.key is None:
            return None
        asked = await self.known(view, operation)
        if asked is not None:
            changed = asked.moved[0].id if asked.moved else view.id  # by channel, it may show another by now
            return await self._play.settled(await self._reader.load(changed)), asked
        for id, at in view.data["before"] if by_channel else ():
            earlier = await self._reader.find(id) if at > view.now - RETRY else None
            asked = None if earlier is None else await self.known(earlier, operation)
            if earlier is not None and asked is not None:
                return earlier, asked
        return None

    async def once(
        self, home: str, operation: Operation, act: Callable[[], Awaitable[T]], again: Callable[[], Awaitable[T]]
    ) -> T:
        """Do what does no harm when it is done twice, and keep its operation id; ``again`` is what asking again gives."""
        if await self._unit.asked(home, operation.key, operation.mark, KIND) is not None:
            return await again()
        result = await act()
        await self._unit.remember(home, operation.key, operation.mark)
        return result

    async def left(
        self,
        channel_id: str | int | None,
        game_id: str | int | None,
        user: str,
        by: str | None,
        operation: Operation,
        *,
        change: str,
    ) -> bool:
        """Take somebody out of the roster, and close the window if nobody is waited for any more; whether they were in it."""

        def rule(view: View) -> Write | None:
            roster.check_actor(view, by)
            return roster.leave(view, user, change=change) if user in view.players else None

        view, answer = await self._changed(channel_id, game_id, rule, choices=True, operation=operation)
        await self._play.settled(view)
        return answer is not None and bool(answer.moved)

    async def taken(self, channel_id: str | int, rule: Callable[[View], Write], to: Place, operation: Operation) -> Game:
        """Take the game off its channel by a rule, to be what that makes of it."""
        channel = channel_of(channel_id)

        async def step() -> str | Refusal:
            spot = await self.due_closed(await self._placement.spot(channel))
            if spot.view is None:
                left = await self._placement.left(spot) if operation.key is not None else None
                if left is None or left.place != to:
                    raise NotFoundError(f"the channel {channel!r} shows no game.")
                return await self._placement.free(spot, left, operation)  # a call like this one has begun it
            if spot.view.data["channel"] != channel:
                return AGAIN
            return await self._placement.take(spot, rule(spot.view), operation)

        async def do() -> Game:
            return await self.game(await self._reader.load(await perform(step, KIND)))

        async def again(asked: Answer) -> Game:
            return await self.game(await self._reader.load(placed(asked)[0] or await self._placement.last(channel)))

        return await self._unit.answered(channel, operation.key, operation.mark, do, again, KIND)

    async def due_closed(self, spot: Spot) -> Spot:
        """What a channel shows, with a window closed that was due, and the choices of one that goes on."""
        if spot.view is None:
            return spot
        return replace(spot, view=await self._reader.with_activity(await self._play.settled(spot.view)))

    async def free(self, game: View, channel: str) -> View:
        """A game that no other channel shows."""
        shown = game.data["channel"]
        if shown is not None and shown != channel and await self._placement.is_shown(game):
            raise ConflictError(f"the channel {shown!r} shows game {game.id}.", hint="Shelve it there first.", holder=shown)
        return game
