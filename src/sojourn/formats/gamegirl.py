"""Import of GameGirl Color's games from Redis: rosters, turns, crowns, pending choices, and which channel shows which.

The source is only read. Every game is one commit, so that it is seen whole or not at all, and its id is derived from the
source's, so that a second import finds what the first one stored.
"""

from __future__ import annotations

import os
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from sojourn.core.batch import Change, Create, NewEntry, Point, Refusal
from sojourn.core.codec import Json, encode
from sojourn.core.ids import derived_id, home_number, tail
from sojourn.formats.gamegirl_plan import TURNS, Found, Person, counts, plan
from sojourn.formats.gamegirl_source import read_keys, shown
from sojourn.formats.report import PRESENT, ImportReport, Progress, Tally
from sojourn.formats.values import beside
from sojourn.kinds.games import record
from sojourn.kinds.games.model import SUMMARY, GamePolicy, GameState
from sojourn.kinds.games.record import BUCKET, CANCELLED, CHOICE, FULL, KIND, NARRATION, NEED, OPENED, STRIDE, TURN, span_of
from sojourn.kinds.games.roster import player_tag
from sojourn.shell.bridge import run_sync
from sojourn.shell.unit import perform

if TYPE_CHECKING:
    from sojourn.store import AsyncStore
    from sojourn.sync.store import Store

FORMAT: Final = "gamegirl"
THROUGH: Final = "imported_through"
_NOT_ENDED: Final = (
    "the source cannot always tell an exited game from an idle one: end it with 'sojourn game exit' if it is over"
)


def import_gamegirl(
    store: Store,
    source: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Import the games of a Redis server (``redis://…``) or of a dump (a JSON file); what became of every key.

    The source is never changed. May be repeated, also after it was killed: what is stored already is left as it is.
    `InvalidValueError`: there is no such file; `CorruptError`: it is no dump; `UnavailableError`: the server does not answer.
    """
    return run_sync(aimport_gamegirl(store._aio, source, dry_run=dry_run, progress=progress))


async def aimport_gamegirl(
    store: AsyncStore,
    source: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """`import_gamegirl` for asynchronous stores. The source is read whole, on the event loop, before anything is stored."""
    keys = read_keys(source)
    tally = Tally(FORMAT, shown(source), counts(keys), dry_run=dry_run, progress=progress)
    await _Import(store, tally, dry_run=dry_run).run(plan(keys, tally))
    return tally.report()


class _Import:
    """One run."""

    def __init__(self, store: AsyncStore, tally: Tally, *, dry_run: bool) -> None:
        self._unit = store._unit
        self._placement = store.games._placement
        self._policy = store._settings.games
        self._tally = tally
        self._dry_run = dry_run

    async def run(self, games: list[Found]) -> None:
        """Every game, in the order of its channels."""
        for game in games:
            await self._import(game)
            self._tally.tell()

    async def _import(self, game: Found) -> None:
        id = self._id(game)
        session = (await self._unit.engine.load(self._unit.tenant, id)).session
        fate = PRESENT if session is not None else "" if self._dry_run else await self._store(game, id)
        if game.own and not self._dry_run and fate in ("", PRESENT):
            await self._name(game, id)
        if not fate:
            self._landed(game)
            return
        for table, row in game.rows:
            self._tally.skip(table, row, fate)
        through = game.turn if session is None else session.counters.get(THROUGH, 0)
        later = sum(turn.number > through for turn in game.played)
        self._tally.skip(TURNS, f"of channel {game.channel}", fate, len(game.played) - later)
        self._tally.skip(TURNS, f"of channel {game.channel}", "played after their game was imported here", later)

    def _landed(self, game: Found) -> None:
        for table, _ in game.rows:
            self._tally.imported(table)
        self._tally.imported(TURNS, len(game.played))
        if game.shown and game.turn:
            game.note(_NOT_ENDED)
        for note in game.all_notes():
            self._tally.note(*note)

    def _id(self, game: Found) -> str:
        return derived_id(1, home_number(self._unit.tenant, game.channel), f"{FORMAT}/{game.source}")

    # -- storing ---------------------------------------------------------------------------------------------------

    async def _store(self, game: Found, id: str) -> str:
        """One commit: the game, and that its channel shows it. Why it was not stored; empty when it was."""
        taken = ""

        async def step() -> str | Refusal:
            nonlocal taken
            changes: list[Change] = []
            holder = None
            if game.shown:
                alias = (await self._unit.follow(game.channel, record.SHOWN, game.channel)).alias
                assert alias is not None  # noqa: S101  # follow always gives one
                holder = alias.target
                if holder is None:
                    changes.append(Point(alias.key, id, alias.epoch))
            taken = "" if holder is None else tail(holder)
            now = await self._unit.engine.now()
            made = made_game(game, id, self._policy, now, shown=game.shown and holder is None)
            answer = await self._unit.attempt(game.channel, made, *changes)
            if answer.refusal is not None and answer.refusal.reason == "present":
                found = (await self._unit.engine.load(self._unit.tenant, id)).session
                return "its game was deleted here" if found is None else PRESENT
            return answer.refusal or ""

        fate = await perform(step, KIND)
        if not fate and taken:
            game.note(f"the channel {game.channel} shows game {taken} here: imported as shelved")
        return fate

    async def _name(self, game: Found, id: str) -> None:
        """Let the game be found by its old id, unless another game here has that."""
        key = record.own_key(game.own)

        async def step() -> str | Refusal:
            alias = (await self._unit.follow(key.home, key.namespace, key.key)).alias
            assert alias is not None  # noqa: S101  # follow always gives one
            if alias.target is not None:
                return alias.target
            answer = await self._unit.attempt(key.home, Point(key, id, alias.epoch))
            return answer.refusal or id

        holder = await perform(step, KIND)
        if holder != id:
            game.note(f"the id {game.own} is another game's here ({tail(holder)}): this one is found as {tail(id)}")


# -- what is stored ----------------------------------------------------------------------------------------------------


def made_game(game: Found, id: str, policy: GamePolicy, now: int, *, shown: bool) -> Create:
    """The game as it is stored, with its turns and what was chosen in the turn that was open."""
    times = [at for at in game.times if at <= now] or [now]
    log = _Log(game, times[0])
    state: GameState = "ended" if game.ended else "active" if shown else "lobby"
    data = _document(game, policy, times[-1], state)
    data["marks"] = log.marks
    expected = _expected(game, policy)
    if game.pending and game.ended:
        log.cancelled(times[-1])
    elif game.pending:
        first = log.pending(times[-1])
        left = None if policy.countdown is None else span_of(policy.countdown)
        window = {"first": first, "expected": expected, "options": None, "default": None, "left": left, "hold": True}
        data["window"] = window
    counters = {"authors": 0, NEED: _need(policy, expected) if data["window"] else 0, THROUGH: game.turn, OPENED: times[-1]}
    return Create(
        id,
        KIND,
        state="ended" if game.ended else "active",
        data=data,
        counters=counters,
        tags=(*record.tags_of(game.name, game.channel, state, policy), *(player_tag(person.user) for person in game.people)),
        entries=tuple(log.entries),
        bucket=BUCKET,
        created_at=times[0],
        active_at=times[-1],
        ended_at=times[-1] if game.ended else None,
        change="imported",
    )


def _document(game: Found, policy: GamePolicy, last: int, state: GameState) -> dict[str, Json]:
    seed = int.from_bytes(blake2b(game.source.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big")
    about: dict[str, Json] = {"channel_id": game.channel, **({"game_id": game.own} if game.own else {}), **game.raw}
    data = record.document(game.name, game.channel, game.title, policy, seed, beside({}, FORMAT, about))
    chose = {user: turn.number for turn in game.played for user in turn.choices}
    data |= {
        "status": state,
        "channel": game.channel if state == "active" else None,
        "crown": game.crown,
        "turn": game.turn,
        "people": len(game.people),
        "players": {person.user: _player(number, person, game, chose, last) for number, person in enumerate(game.people)},
        "through": [[1, game.turn]] if game.turn else [],
        "still": None if state == "active" else last,
    }
    return data


def _player(number: int, person: Person, game: Found, chose: dict[str, int], last: int) -> dict[str, Json]:
    at = last if person.at is None else person.at
    chosen = min(chose.get(person.user, 0), game.turn)
    return {
        "n": number,
        "name": person.name,
        "joined": min(person.joined, game.turn),
        "at": at,
        "seen": at,
        "turn": max(min(person.turn, game.turn), chosen),
        "chose": chosen,
        "skips": person.skips,
        "role": "player",
        "seat": number + 1,
    }


def _expected(game: Found, policy: GamePolicy) -> list[str]:
    """Who is waited for in the turn that was open: who has chosen, and who was not long gone."""
    oldest = game.turn - policy.idle_within[0]
    chose = {user: turn.number for turn in game.played for user in turn.choices}
    return [
        person.user
        for person in game.people
        if person.user in game.pending or max(person.turn, chose.get(person.user, 0)) >= oldest
    ]


def _need(policy: GamePolicy, expected: list[str]) -> int:
    if policy.close_when == "quorum":
        return max(1, min(policy.quorum or 1, len(expected)))
    return len(expected) if policy.close_when == "all" else 0


class _Log:
    """The entries of a game, and where they are."""

    def __init__(self, game: Found, first: int) -> None:
        self.entries: list[NewEntry] = []
        self.marks: dict[str, Json] = {}
        self._game = game
        at = first
        for turn in game.played:
            opened, at = at, at if turn.at is None else turn.at
            covers = self._choices(turn.number, turn.choices, at, counted=False)
            kept: Json = {"opened": opened, "deadline": None, "reason": "deadline", "by": None, "expected": []}
            self._add(NewEntry(TURN, str(turn.number), data=encode(kept, "turn"), covers=covers, created_at=at))
            if turn.number % STRIDE == 0:
                self.marks[str(turn.number // STRIDE)] = len(self.entries)
            self._told(turn.number, turn.told, at)

    def pending(self, at: int) -> int:
        """What was chosen in the turn that was open; the sequence of the first."""
        first = len(self.entries) + 1
        self._choices(self._game.turn + 1, self._game.pending, at, counted=True)
        return first

    def cancelled(self, at: int) -> None:
        """What was chosen in a turn that an exit has cancelled."""
        number = self._game.turn + 1
        covers = self._choices(number, self._game.pending, at, counted=False)
        self._add(NewEntry(CANCELLED, str(number), covers=covers, created_at=at))

    def _choices(self, number: int, choices: dict[str, str], at: int, *, counted: bool) -> tuple[int, int] | None:
        for user, text in choices.items():
            self._add(NewEntry(CHOICE, str(number), author=user, text=text, counted=counted, created_at=at))
        return (len(self.entries) - len(choices) + 1, len(self.entries)) if choices else None

    def _told(self, number: int, told: str, at: int) -> None:
        key = f"narration/{len(self.entries)}"
        self._add(NewEntry(NARRATION, str(number), text=told[:SUMMARY], created_at=at, key=key))
        if len(told) > SUMMARY:
            self._add(NewEntry(FULL, str(number), text=told, created_at=at))

    def _add(self, entry: NewEntry) -> None:
        self.entries.append(entry)
