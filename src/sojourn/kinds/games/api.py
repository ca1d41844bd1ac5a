"""The operations of games, once, for both colours."""

from __future__ import annotations

import builtins
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final, Literal

from sojourn.core.batch import Answer, Change, Delete, Guard, Point, Refusal, Write
from sojourn.core.codec import Json, check_key, check_number, check_text
from sojourn.core.ids import id_of, is_id, parts_of
from sojourn.core.query import Page
from sojourn.core.session import Session
from sojourn.core.times import span
from sojourn.errors import ConflictError, InvalidValueError
from sojourn.kinds.games import forks, places, record, roster, texts, windows
from sojourn.kinds.games.access import Access, channel_of
from sojourn.kinds.games.follow import follow_channel
from sojourn.kinds.games.lobby import Lobby, check_wanted
from sojourn.kinds.games.model import (
    Game,
    GamePolicy,
    GameState,
    Narration,
    Player,
    Role,
    Submitted,
    Swapped,
    Tier,
    Turn,
    Window,
)
from sojourn.kinds.games.narration import Narrating
from sojourn.kinds.games.placement import AGAIN, NewGame, Operation, Placement, Spot, made_by, placed
from sojourn.kinds.games.play import Play
from sojourn.kinds.games.reader import Reader
from sojourn.kinds.games.record import KIND, View, span_of, window_of
from sojourn.shell.feed import Event
from sojourn.shell.lease import Holding
from sojourn.shell.unit import Unit, fingerprint, operation_key, perform, refused

_LOCK: Final = timedelta(seconds=30)
_CLAIM: Final = timedelta(minutes=2)


class AsyncGames:
    """Games of one store and tenant: ``store.games``.

    Where an operation names a game it takes the channel that shows it, or as ``game_id`` any game's id (the channel may be
    None then). ``by`` says who acts: None for the house, or a game master or the holder of the crown.
    """

    def __init__(self, unit: Unit, policy: GamePolicy, closing: builtins.list[bool] | None = None) -> None:
        self._unit = unit
        self._policy = policy
        self._closing: builtins.list[bool] = [] if closing is None else closing
        self._reader = Reader(unit)
        self._placement = Placement(unit, self._reader)
        self._play = Play(unit, self._reader, self._placement)
        self._access = Access(unit, self._reader, self._placement, self._play)
        self._narrating = Narrating(unit, self._reader)
        self._lobby = Lobby(unit, self._reader)

    # -- games and channels ----------------------------------------------------------------------------------------

    async def boot(
        self,
        channel_id: str | int,
        name: str,
        *,
        game_id: str | int | None = None,
        title_screen_url: str = "",
        policy: GamePolicy | None = None,
        key: str | None = None,
    ) -> Game:
        """A fresh game, shown in the channel: turn 0, nobody in it, no crown.

        ``game_id`` is an id of your own by which it is found too; a used one is a `ConflictError`, as is a channel that
        shows a game already (`swap` then). The policy is kept with the game. Idempotent by ``key``.
        """
        channel, own = channel_of(channel_id), _own(game_id)
        new = self._new(channel, name, title_screen_url, policy)
        operation = _operation(key, "game.boot", new.name, new.title, own, record.pack(new.policy))
        asked = await self._unit.asked(channel, operation.key, operation.mark, KIND)
        if asked is not None:
            return await self._shown_again(asked, channel)
        if own is not None:
            try:
                new = replace(new, id=await self._placement.reserve(own, new.id, operation))
            except ConflictError as error:
                return await self._access.game(await self._reader.load(await self._made_since(channel, operation, error)))

        async def step() -> str | Refusal:
            spot = await self._placement.spot(channel)
            if spot.view is not None:
                return await self._made_since(channel, operation, _occupied(spot))
            return await self._placement.boot(spot, new, operation)

        try:
            made = await perform(step, KIND)
        except Exception:
            if own is not None and key is None:  # a call like this one may be about to make its game; one for nothing is taken
                await self._placement.release(own, new.id)
            raise
        if own is not None:
            await self._placement.confirm(own, made)
        return await self._access.game(await self._reader.load(made))

    async def swap(
        self,
        channel_id: str | int,
        name: str | None = None,
        *,
        game_id: str | int | None = None,
        title_screen_url: str = "",
        policy: GamePolicy | None = None,
        key: str | None = None,
    ) -> Swapped:
        """Put the channel's game on the shelf as it is and show another: a new one (``name``), or a saved one (``game_id``).

        An open window is paused with its choices and what is left of its countdown, and goes on when its game is shown
        again. One commit within the channel's home; with a game from another home a sequence that whoever comes next
        finishes. A game that another channel shows is a `ConflictError`. Idempotent by ``key``.
        """
        channel = channel_of(channel_id)
        if (name is None) == (game_id is None):
            raise InvalidValueError("swap takes the name of a new game, or the game_id of a saved one.")
        new = None if name is None else self._new(channel, name, title_screen_url, policy)
        own = None if game_id is None else check_key(game_id, "game_id")
        policies = None if new is None else record.pack(new.policy)
        operation = _operation(key, "game.swap", name, own, title_screen_url, policies)

        async def do() -> Swapped:
            made, out = await self._swap(channel, new, own or "", operation)
            game = await self._begun(made)
            return Swapped(None if out is None else await self._access.game(await self._reader.load(out)), game)

        async def again(asked: Answer) -> Swapped:
            """Its games as they are now."""
            await self._placement.spot(channel)  # finishes what a crash has left half done
            game, out = placed(asked)
            gone = None if out is None else await self._reader.find(out)
            return Swapped(None if gone is None else await self._access.game(gone), await self._loaded(game or own or ""))

        return await self._unit.answered(channel, operation.key, operation.mark, do, again, KIND)

    async def _swap(self, channel: str, new: NewGame | None, saved: str, operation: Operation) -> tuple[str, str | None]:
        """Show a new game or a saved one in the place of what a channel shows; which is shown, and which was."""
        out: str | None = None
        made = new
        tries = 0

        async def step() -> str | Refusal:
            nonlocal made, out, tries
            tries += 1
            spot = await self._access.due_closed(await self._placement.spot(channel))
            if spot.view is not None and spot.view.data["channel"] != channel:
                return AGAIN
            shown = None if spot.view is None else spot.view.id
            if new is not None:
                made = await self._placement.begun(channel, new, operation)
                out = out if shown == made.id else shown
                return await self._placement.boot(spot, made, operation)
            view = await self._access.free(await self._reader.load(saved), channel)
            if spot.view is None or shown != view.id:
                out = shown
                return await self._placement.show(spot, view, operation)
            if tries > 1 or operation.key is not None:  # begun by this call or key, and finished by whoever came next
                return await self._placement.finished(channel, view, operation)
            raise ConflictError(f"the channel {channel!r} shows game {view.id} already.", holder=view.id)

        game = await perform(step, KIND)
        if made is not None and made.id != game:
            await self._placement.discard(made.id)
        asked = await self._unit.asked(channel, operation.key, operation.mark, KIND)
        return game, out if asked is None else placed(asked)[1]

    async def exit(self, channel_id: str | int, *, key: str | None = None) -> Game:
        """End the channel's game: an open window is cancelled, its choices stay recorded as cancelled. `resume` reopens it."""
        return await self._access.taken(channel_id, places.exited, "ended", _operation(key, "game.exit"))

    async def shelve(self, channel_id: str | int, *, key: str | None = None) -> Game:
        """Take the channel's game off it without ending it; an open window keeps what is left of its countdown."""
        return await self._access.taken(channel_id, places.shelved, "shelved", _operation(key, "game.shelve"))

    async def get(self, channel_id: str | int) -> Game | None:
        """The game that a channel shows; None when it shows none."""
        view = (await self._placement.spot(channel_of(channel_id))).view
        return None if view is None else await self._access.game(await self._play.settled(view))

    async def load(self, game_id: str | int) -> Game:
        """Any saved game by its id, exactly that one, whatever its state."""
        return await self._loaded(game_id)

    async def resume(self, game_id: str | int, channel_id: str | int | None = None, *, key: str | None = None) -> Game:
        """Show an exited or shelved game again, with roster, turn, history and crown, in its last or another channel.

        A channel that shows another game is a `ConflictError` (`swap` then); a game that is shown there is given as it is.
        """
        wanted = None if channel_id is None else channel_of(channel_id)
        operation = _operation(key, "game.resume", str(game_id))
        view = await self._reader.load(game_id)
        channel: str = wanted or view.data["last_channel"]

        async def step() -> str | Refusal:
            spot = await self._placement.spot(channel)
            if spot.view is not None:
                if spot.view.id != view.id:
                    raise _occupied(spot)
                return await self._placement.finished(channel, spot.view, operation)
            game = await self._access.free(await self._reader.load(view.id), channel)
            return await self._placement.show(spot, game, operation)

        async def do() -> Game:
            return await self._begun(await perform(step, KIND))

        async def again(_: Answer) -> Game:
            await self._placement.spot(channel)  # finishes what a crash has left half done
            return await self._access.game(await self._reader.load(view.id))

        return await self._unit.answered(channel, operation.key, operation.mark, do, again, KIND)

    async def list(
        self,
        *,
        channel_id: str | int | None = None,
        state: GameState | None = None,
        name: str | None = None,
        order: Literal["name", "activity"] = "activity",
        limit: int = 50,
        after: str | None = None,
    ) -> Page[Game]:
        """A page of the lobby: all saved games, of a channel, a state or a name (whole, in any case).

        A record that cannot be understood is listed with what is wrong with it (``damaged``), and hides no other. By
        ``name`` every game is looked at; by ``activity`` a page costs the same however many there are.
        """
        return await self._lobby.page(check_wanted(channel_id, state, name, order), limit, after)

    async def update(
        self,
        channel_id: str | int | None,
        set: Mapping[str, Json] | None = None,
        unset: Iterable[str] = (),
        *,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Game:
        """Patch the metadata key by key inside the commit."""
        given, gone = dict(set or {}), builtins.list(unset)
        operation = _operation(key, "game.update", given, gone)

        def rule(view: View) -> Write:
            places.check_metadata({**view.data["metadata"], **given}, view.policy)
            put = tuple((("metadata", check_text(name, "key")), value) for name, value in given.items())
            paths = tuple(("metadata", check_text(name, "key")) for name in gone)
            return Write(view.id, Guard(open=False, version=view.session.version), set=put, unset=paths)

        return await self._access.game(await self._access.changed(channel_id, game_id, rule, operation=operation))

    async def delete(self, game_id: str | int, *, key: str | None = None) -> bool:
        """Remove a game: turns, choices, aliases, join codes, lobby entry; False when there is none."""
        name = check_key(game_id, "game_id")
        operation, home = _operation(key, "game.delete", name), f"{KIND}/{name}"
        asked = await self._unit.asked(home, operation.key, operation.mark, KIND)
        view = await self._reader.find(name) if asked is None else None
        # What is deleted has no home to ask: which one it is is noted in a home of its own, before anything is gone.
        found = {} if view is None else parts_of(view.id)
        noted = asked.moved[0].counters if asked else await self._unit.note(home, operation.key, operation.mark, **found)
        meant = id_of(noted)
        self._play.forget()
        done = meant is not None and await self._lobby.remove(meant) is not None
        return done or (operation.key is not None and meant is not None)

    # -- people ----------------------------------------------------------------------------------------------------

    async def join(
        self,
        channel_id: str | int | None,
        user_id: str | int,
        user_name: str,
        *,
        role: Role = "player",
        seat: int | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Player:
        """Be in the roster, on the lowest free seat or this one. Again: name and activity are refreshed, skips are not.

        `GameFullError` when the policy's ``max_players`` are there; `ConflictError` when the seat is taken.
        """
        who = roster.check_joining(user_id, user_name, role, seat)
        operation = _operation(key, "game.join", who.user, who.name, who.role, who.seat)
        view = await self._access.changed(
            channel_id, game_id, lambda view: roster.join(view, who), choices=who.role != "player", operation=operation
        )
        view = await self._play.start(await self._play.settled(view))
        return record.player_of(await self._reader.with_activity(view), who.user)

    async def leave(
        self, channel_id: str | int | None, user_id: str | int, *, game_id: str | int | None = None, key: str | None = None
    ) -> bool:
        """Be out of the roster: nobody waits for them, their choices stay, the crown goes on. False when they were not."""
        user = roster.check_user(user_id)
        operation = _operation(key, "game.leave", user)
        return await self._access.left(channel_id, game_id, user, None, operation, change="left")

    async def kick(
        self,
        channel_id: str | int | None,
        user_id: str | int,
        *,
        by: str | int | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> bool:
        """Take somebody out of the roster, as `leave`; who was kicked may join again."""
        user, actor = roster.check_user(user_id), _actor(by)
        operation = _operation(key, "game.kick", user, actor)
        return await self._access.left(channel_id, game_id, user, actor, operation, change="kicked")

    async def substitute(
        self,
        channel_id: str | int | None,
        user_id: str | int,
        by_user_id: str | int,
        user_name: str = "",
        *,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Player:
        """Another person takes over a seat, with its crown and what is expected of it; the history keeps both."""
        user, other = roster.check_user(user_id), roster.check_joining(by_user_id, user_name, "player", None)
        operation = _operation(key, "game.substitute", user, other.user)

        def rule(view: View) -> Write | None:
            return None if _substituted(view, user, other.user) else roster.substitute(view, user, other)

        view = await self._access.changed(channel_id, game_id, rule, choices=True, operation=operation)
        view = await self._play.settled(view)
        return record.player_of(await self._reader.with_activity(view), other.user)

    async def players(
        self, channel_id: str | int | None, *, game_id: str | int | None = None
    ) -> builtins.list[tuple[Player, Tier]]:
        """Everybody in the roster, in join order, and how lively they are."""
        return roster.tiers(await self._access.current(channel_id, game_id))

    async def active_players(
        self, channel_id: str | int | None, *, within: timedelta | None = None, game_id: str | int | None = None
    ) -> dict[str, Player]:
        """Who is active or idle; ``within``: only who was active so lately."""
        view = await self._access.current(channel_id, game_id)
        oldest = None if within is None else view.now - span(within, "within")
        return {
            player.user_id: player
            for player, tier in roster.tiers(view)
            if tier != "dormant" and (oldest is None or span_of(player.last_active_at - record.EPOCH) >= oldest)
        }

    async def set_crown(
        self,
        channel_id: str | int | None,
        user_id: str | int | None,
        *,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Game:
        """Give the crown to somebody of the roster (`NotFoundError` otherwise), or with None to nobody."""
        user = None if user_id is None else roster.check_user(user_id)
        operation = _operation(key, "game.set_crown", user)
        view = await self._access.changed(channel_id, game_id, lambda view: roster.crown(view, user), operation=operation)
        return await self._access.game(view)

    async def crown_holder_name(self, channel_id: str | int | None, *, game_id: str | int | None = None) -> str:
        """The name of who wears the crown; the policy's ``gm_name`` when nobody does."""
        view = await self._access.view(channel_id, game_id)
        holder = view.data["crown"]
        name: str = view.policy.gm_name if holder is None else view.players[holder]["name"]
        return name

    async def is_crown_holder(
        self, channel_id: str | int | None, user_id: str | int, *, game_id: str | int | None = None
    ) -> bool:
        """Whether somebody wears the crown."""
        holder = (await self._access.view(channel_id, game_id)).data["crown"]
        return holder is not None and holder == roster.check_user(user_id)

    async def invite(
        self,
        channel_id: str | int | None,
        *,
        uses: int | None = None,
        ttl: timedelta | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> str:
        """A join code of eight characters, good for so many uses and so long. It is not stored: only its digest is.

        The same ``key`` again gives another code, and the one whose answer may have been lost is good no more.
        """
        return await self._lobby.invite(await self._access.view(channel_id, game_id), uses, ttl, operation_key(key))

    async def find_by_code(self, code: str) -> Game:
        """The game that a join code leads to, also one that is used up or has run out; `NotFoundError` when there is none.

        It takes no use of the code, and joins nobody.
        """
        view, _ = await self._lobby.by_code(code)
        return await self._access.game(view)

    async def join_by_code(
        self,
        code: str,
        user_id: str | int,
        user_name: str,
        *,
        role: Role = "player",
        seat: int | None = None,
        key: str | None = None,
    ) -> Player:
        """Join the game of a code; joining again takes no use. `ConflictError` when it is used up."""
        who = roster.check_joining(user_id, user_name, role, seat)
        operation = _operation(key, "game.join_by_code", who.user, who.name, who.role, who.seat)
        view, kept = await self._lobby.by_code(code)

        async def do() -> Player:
            joined = await self._play.settled(await self._lobby.join(view, kept, who, operation))
            return record.player_of(await self._play.start(joined), who.user)

        async def again(_: Answer) -> Player:
            return record.player_of(await self._reader.load(view.id), who.user)

        return await self._unit.answered(view.session.home, operation.key, operation.mark, do, again, KIND)

    # -- turns -----------------------------------------------------------------------------------------------------

    async def submit_choice(
        self,
        channel_id: str | int | None,
        user_id: str | int,
        user_name: str,
        choice: str,
        *,
        key: str | None = None,
        expect_turn: int | None = None,
        game_id: str | int | None = None,
    ) -> Submitted:
        """Press a choice; durable when it returns. It joins, opens the window, and closes it, where that is due.

        What a rule refuses is a status, not an error. The same ``key`` again gives ``duplicate`` with the turn of the
        first answer, also after the close. One round trip to a game this store has pressed in before.
        """
        press = windows.check_press(user_id, user_name, choice, expect_turn)
        operation = operation_key(key)
        if operation is not None:
            mark = fingerprint("game.choice", press.user_id, press.choice)
            press = replace(press, key=operation, fingerprint=mark)
        return await self._play.submit(self._access.place(channel_id, game_id), press)

    async def wait_for_countdown(
        self, channel_id: str | int | None, *, turn: int | None = None, game_id: str | int | None = None
    ) -> Turn:
        """The record of a turn as soon as it is closed, the same to everybody; an already closed one at once.

        Without ``turn``: the open one, else the last closed, else `NotFoundError`. Nobody needs to wait for a turn to close.
        """
        wanted = None if turn is None else check_number(turn, "turn", 1)
        return await self._play.wait(await self._access.view(channel_id, game_id), wanted)

    async def open_window(
        self,
        channel_id: str | int | None,
        *,
        options: Sequence[str] | None = None,
        default: str | None = None,
        by: str | int | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Window:
        """Open a window by hand, or say what may be chosen in the open one; without options any text is a choice."""
        actor = _actor(by)
        view = await self._access.view(channel_id, game_id)
        operation = _operation(key, "game.open_window", options, default, actor)
        offered, kept = windows.check_options(options, default, view.policy.max_choice_length)

        def rule(view: View) -> Write:
            roster.check_actor(view, actor)
            return windows.opened(view, offered, kept)

        return _window(await self._access.changed(channel_id, game_id, rule, operation=operation))

    async def close(
        self,
        channel_id: str | int | None,
        *,
        by: str | int | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Turn:
        """Close the open window now; `ConflictError` when none is open. Idempotent by ``key``."""
        actor = _actor(by)
        operation = _operation(key, "game.close", actor)

        async def do() -> Turn:
            view = await self._access.settled(channel_id, game_id)
            meant = await self._access.meant(view, operation, by_channel=game_id is None)
            if meant is not None:
                view, asked = meant
                number = await self._reader.turn_at(view.id, asked.moved[0].first) if asked.moved else view.closed
                return await self._reader.turn(view, number)
            roster.check_actor(view, actor)
            if view.place not in ("open", "held"):
                raise ConflictError("cannot close: no window is open.", hint="open_window(), or a press, opens one.")
            closed = await self._play.close(view, "gm", actor, operation)
            return await self._reader.turn(closed, view.closed + 1)

        try:
            return await do()
        except ConflictError:
            if key is None:
                raise
            return await do()  # a call like this one may have closed it meanwhile

    async def extend(
        self,
        channel_id: str | int | None,
        duration: timedelta,
        *,
        by: str | int | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Window:
        """Make the countdown longer. Idempotent by ``key``."""
        actor, more = _actor(by), span(duration)
        operation = _operation(key, "game.extend", more)

        def rule(view: View) -> Write:
            roster.check_actor(view, actor)
            return windows.extended(view, more)

        return _window(await self._access.changed(channel_id, game_id, rule, operation=operation))

    async def pause(
        self,
        channel_id: str | int | None,
        *,
        by: str | int | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Game:
        """Let the game stand still: presses are refused, what is left of a window is kept. Idempotent."""
        actor = _actor(by)

        def rule(view: View) -> Write | None:
            roster.check_actor(view, actor)
            return None if view.data["paused"] else windows.paused(view)

        return await self._access.game(
            await self._access.changed(channel_id, game_id, rule, choices=True, operation=_operation(key, "game.pause"))
        )

    async def unpause(
        self,
        channel_id: str | int | None,
        *,
        by: str | int | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Game:
        """Let the game go on, a window with what was left. Idempotent."""
        actor = _actor(by)

        def rule(view: View) -> Write | None:
            roster.check_actor(view, actor)
            return windows.unpaused(view) if view.place in ("held", "paused") else None

        view = await self._access.changed(channel_id, game_id, rule, operation=_operation(key, "game.unpause"))
        return await self._access.game(await self._play.start(view))

    async def history(
        self,
        channel_id: str | int | None,
        *,
        count: int = 10,
        before: int | None = None,
        game_id: str | int | None = None,
    ) -> builtins.list[Turn]:
        """The last turns (before a number), oldest first, of this game only; at most the policy's ``history_limit``."""
        view = await self._access.settled(channel_id, game_id)
        most = check_number(count, "count", 0)
        if view.policy.history_limit is not None:
            most = min(most, view.policy.history_limit)
        until = None if before is None else check_number(before, "before", 1)
        return await self._reader.history(view, most, until)

    # -- narration -------------------------------------------------------------------------------------------------

    async def narrate(
        self,
        channel_id: str | int | None,
        *,
        ttl: timedelta = _CLAIM,
        holder: str = "narrator",
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Narration:
        """Claim the oldest closed turn without narration, for so long; of many who claim, one gets it.

        `NotFoundError` when every turn is narrated, `LeaseHeldError` while somebody else has the claim.
        """
        who = check_key(holder, "holder", 256)
        operation = _operation(key, "game.narrate", who)
        return await self._narrating.claim(await self._access.settled(channel_id, game_id), who, ttl, operation)

    async def record_turn(
        self,
        channel_id: str | int | None,
        turn: int,
        narration: str,
        *,
        token: int | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Turn:
        """Keep the narration of a closed turn, once; who was expected and did not choose has one skip more.

        ``token`` comes from `narrate`: `LeaseLostError` when the claim has run out. The same narration again changes
        nothing; another is a `ConflictError`.
        """
        number = check_number(turn, "turn", 1)
        if token is not None:
            check_number(token, "token", 1)
        operation = _operation(key, "game.record_turn", number, narration)
        view = await self._access.settled(channel_id, game_id)

        async def again() -> Turn:
            return await self._reader.turn(await self._reader.load(view.id), number)

        async def act() -> Turn:
            game, told = await self._narrating.record(view, number, narration, token)
            if number == game.closed:
                game = await self._play.start(game)
            self._play.renew(self._access.place(channel_id, game_id), game)
            return told

        return await self._access.once(view.session.home, operation, act, again)

    async def narration(self, channel_id: str | int | None, turn: int, *, game_id: str | int | None = None) -> str:
        """The whole narration of a turn; a history has its first 500 characters."""
        number = check_number(turn, "turn", 1)
        return await self._reader.narration(await self._access.view(channel_id, game_id), number)

    # -- saves -----------------------------------------------------------------------------------------------------

    async def save(
        self, channel_id: str | int | None, slot: str, *, game_id: str | int | None = None, key: str | None = None
    ) -> Game:
        """A copy on the shelf of what was played until the last closed turn, under the slot's name.

        It shares the history. The copy that the slot had before goes, unless it was played on with.
        """
        label = check_key(slot, "slot", 64)
        operation = _operation(key, "game.save", label)

        async def step() -> str | Refusal:
            view = await self._access.current(channel_id, game_id)
            home = view.session.home
            place = record.slot_key(home, view.id, label)
            found = await self._unit.follow(home, place.namespace, place.key)
            assert found.alias is not None  # noqa: S101  # follow always gives one
            made = forks.forked(view, self._unit.new_id(home, after=view.id), view.closed, view.data["name"], label)
            changes: builtins.list[Change] = [made, Point(place, made.id, found.alias.epoch)]
            if found.session is not None and found.session.version == 1:
                changes.append(Delete(found.session.id, Guard(open=False, version=1)))
            answer = await self._unit.attempt(home, *changes, key=operation.key, fingerprint=operation.mark)
            return answer.refusal or made_by(answer) or made.id

        return await self._loaded(await perform(step, KIND))

    async def fork(
        self,
        channel_id: str | int | None,
        *,
        at_turn: int | None = None,
        name: str | None = None,
        game_id: str | int | None = None,
        key: str | None = None,
    ) -> Game:
        """A new game on the shelf that shares what was played until a turn (by default all closed ones); nothing is copied."""
        operation = _operation(key, "game.fork", at_turn, name)
        view = await self._access.current(channel_id, game_id)
        asked = await self._unit.asked(view.session.home, operation.key, operation.mark, KIND)
        if asked is not None:
            return await self._access.game(await self._reader.load(made_by(asked) or ""))
        turn = view.closed if at_turn is None else forks.check_turn(view, at_turn, "at_turn")
        title = view.data["name"] if name is None else places.check_name(name)
        home = view.session.home
        made = forks.forked(view, self._unit.new_id(home, after=view.id), turn, title)
        answer = await self._unit.commit(home, made, key=operation.key, fingerprint=operation.mark, what=KIND)
        return await self._access.game(await self._reader.load(answer.moved[0].id))

    async def rewind(
        self, channel_id: str | int | None, to_turn: int, *, game_id: str | int | None = None, key: str | None = None
    ) -> Game:
        """Go on from an earlier turn: later ones stay stored, and are in no history any more. An open window is cancelled."""

        operation = _operation(key, "game.rewind", to_turn)

        def rule(view: View) -> Write | None:
            return forks.rewound(view, forks.check_turn(view, to_turn, "to_turn"))

        view = await self._access.changed(channel_id, game_id, rule, choices=True, operation=operation)
        return await self._access.game(await self._play.start(view))

    # -- following -------------------------------------------------------------------------------------------------

    def lock(self, channel_id: str | int, *, ttl: timedelta = _LOCK, owner: str = "holder") -> Holding:
        """A lock of the channel across processes, as a context manager that gives its `Lease`; it has one holder."""
        channel = channel_of(channel_id)
        return Holding(self._unit, channel, f"game/{channel}", owner, ttl)

    def watch(
        self, channel_id: str | int, *, after: str | None = None, timeout: timedelta | None = None
    ) -> AsyncIterator[Event]:
        """What happens in a channel as it happens: joined, chose (not what), closed, narrated, crowned, shelved, shown.

        From now on, or behind the cursor ``after`` of an event; across swaps. Ends after ``timeout`` without an event.
        """
        channel = channel_of(channel_id)
        return follow_channel(self._unit, channel, after=after, timeout=timeout, closing=self._closing)

    def format_banner(self, game: Game) -> str:
        """A game as a chat announces it: title screen, name, id."""
        return texts.format_banner(game)

    def format_choices(self, turn: Turn, game: Game | None = None) -> str:
        """Who chose what in a turn, one line each; by name where ``game`` is given."""
        return texts.format_choices(turn, game)

    # -- steps -----------------------------------------------------------------------------------------------------

    def _new(self, channel: str, name: str, title: str, policy: GamePolicy | None) -> NewGame:
        chosen = self._policy if policy is None else policy
        if not isinstance(chosen, GamePolicy):
            raise InvalidValueError(f"policy must be a GamePolicy, not {type(chosen).__name__}.")
        seed = secrets.randbits(32)
        return NewGame(self._unit.new_id(channel), places.check_name(name), places.check_title(title), chosen, seed)

    async def _loaded(self, game_id: str | int) -> Game:
        return await self._access.game(await self._play.settled(await self._reader.load(game_id)))

    async def _begun(self, id: str) -> Game:
        """A game that is shown again, with its window open where its policy opens one."""
        return await self._access.game(await self._play.start(await self._reader.load(id)))

    async def _made_since(self, channel: str, operation: Operation, error: ConflictError) -> str:
        """The game that a call with the same key has made meanwhile; otherwise the error stands."""
        answer = await self._unit.asked(channel, operation.key, operation.mark, KIND)
        made = None if answer is None else placed(answer)[0]
        if made is None:
            raise error
        return made

    async def _shown_again(self, asked: Answer, channel: str) -> Game:
        made, _ = placed(asked)
        view = await (self._placement.current(channel) if made is None else self._reader.load(made))
        return await self._access.game(view)

    async def _close_due(self, session: Session) -> bool:
        """Close the window of a session that a sweep has found due; whether this call did."""
        view = record.view_of(session, await self._unit.engine.now())
        phase = view.session.phase
        return (await self._play.settled(view)).session.phase != phase

    async def _shelve_idle(self, session: Session, *, dry_run: bool) -> bool:
        """Shelve a shown game that nobody has played for as long as its policy says."""
        now = await self._unit.engine.now()
        view = record.view_of(session, now)
        limit = view.policy.shelve_after
        if limit is None or now - view.session.active_at < span_of(limit):
            return False
        if dry_run:
            return True
        spot = await self._access.due_closed(await self._placement.spot(view.data["channel"]))
        if spot.view is None or spot.view.id != view.id or now - spot.view.session.active_at < span_of(limit):
            return False
        taken = await self._placement.take(spot, places.shelved(spot.view), Operation())
        if isinstance(taken, Refusal):
            raise refused(taken, KIND)
        return True


def _own(game_id: str | int | None) -> str | None:
    if game_id is None:
        return None
    own = check_key(game_id, "game_id", 128)
    if is_id(own):
        raise InvalidValueError(f"game_id {own!r} looks like an id that the store gives itself, and would not be found.")
    return own


def _actor(by: str | int | None) -> str | None:
    return None if by is None else check_key(by, "by")


def _operation(key: str | None, name: str, *arguments: Json) -> Operation:
    operation = operation_key(key)
    return Operation(operation, "" if operation is None else fingerprint(name, *arguments))


def _occupied(spot: Spot) -> ConflictError:
    holder = None if spot.view is None else spot.view.id
    return ConflictError(
        f"the channel {spot.channel!r} shows game {holder}.", hint="swap() puts it on the shelf, exit() ends it.", holder=holder
    )


def _window(view: View) -> Window:
    window = window_of(view)
    if window is None:
        raise ConflictError("the window was closed meanwhile.")
    return window


def _substituted(view: View, user: str, other: str) -> bool:
    """Whether a substitution has been made already."""
    return user not in view.players and other in view.players and user in view.data["past"].values()
