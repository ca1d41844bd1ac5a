"""An open store: an engine with the kinds on it, by URL."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Literal, TypeVar

from sojourn.core.codec import check_key
from sojourn.core.times import span
from sojourn.engines.contract import Capabilities, Engine
from sojourn.engines.locate import Durability, EngineOptions, Opening, open_engine
from sojourn.errors import InvalidValueError, UnsupportedError
from sojourn.kinds.contexts.api import AsyncContexts
from sojourn.kinds.contexts.model import ContextPolicy
from sojourn.kinds.contexts.sweep import ContentSweep
from sojourn.kinds.conversations.api import AsyncConversations
from sojourn.kinds.conversations.model import ConversationPolicy
from sojourn.kinds.conversations.sweep import ConversationSweep
from sojourn.kinds.games import record as game_record
from sojourn.kinds.games.api import AsyncGames
from sojourn.kinds.games.model import GamePolicy
from sojourn.kinds.games.sweep import GameSweep
from sojourn.kinds.logins import rules as login_rules
from sojourn.kinds.logins.api import AsyncLogins
from sojourn.kinds.logins.directory import AsyncDirectory
from sojourn.kinds.logins.model import DirectoryLike, LoginPolicy
from sojourn.kinds.logins.sweep import LoginSweep, UserSweep
from sojourn.kinds.workspaces.api import AsyncWorkspaces
from sojourn.kinds.workspaces.model import WorkspacePolicy
from sojourn.kinds.workspaces.places import Places
from sojourn.kinds.workspaces.sweep import WorkspaceSweep
from sojourn.project import here
from sojourn.project.root import default_url
from sojourn.sessions import KINDS, AsyncSessions
from sojourn.shell.feed import Event, cursor_text, follow
from sojourn.shell.lease import Holding, Lease, renew
from sojourn.shell.sweeper import AsyncRunner, KindSweep, Swept, sweep
from sojourn.shell.system import Ids, UserClock, UserIds, clock_of
from sojourn.shell.unit import Unit
from sojourn.transfer import Loaded, export_lines, load_lines

Policy = TypeVar("Policy")

_ERASE_ROWS: Final = 2_000
_SHARED_HOME: Final = "lease"
_LOG_IN_USE: Final = "the store's write-ahead log, until a sweep finds nobody reading"


@dataclass(frozen=True, slots=True)
class Erased:
    """The receipt of an erasure. ``outside`` names what Sojourn cannot reach and somebody else must see to."""

    principal: str
    sessions: int
    entries: int
    aliases: int
    leases: int
    outside: tuple[str, ...] = field(
        default=(
            "backups",
            "logs of the server and of the application",
            "exports",
            "summaries in other people's conversations that quote them",
        )
    )


@dataclass(frozen=True, slots=True)
class Settings:
    """What a store was opened with."""

    tenant: str
    ids: Ids
    conversations: ConversationPolicy
    contexts: ContextPolicy = field(default_factory=ContextPolicy)
    workspaces: WorkspacePolicy = field(default_factory=WorkspacePolicy)
    logins: LoginPolicy = field(default_factory=LoginPolicy)
    directory: DirectoryLike | Literal[False] | None = None
    places: Callable[[], Places] = here
    """Gives what workspaces ask of the working directory."""
    games: GamePolicy = field(default_factory=GamePolicy)


class AsyncStore:
    """An open store, for asynchronous code: `sojourn.aopen`. An asynchronous context manager; `close` is idempotent."""

    conversations: AsyncConversations
    contexts: AsyncContexts
    workspaces: AsyncWorkspaces
    games: AsyncGames
    logins: AsyncLogins
    directory: AsyncDirectory
    sessions: AsyncSessions

    def __init__(self, engine: Engine, settings: Settings, *, owns_engine: bool = True) -> None:
        self._engine = engine
        self._settings = settings
        self._owns = owns_engine
        self._closing: list[bool] = []
        self._unit = Unit(engine, settings.tenant, settings.ids)
        self.conversations = AsyncConversations(self._unit, settings.conversations)
        self.contexts = AsyncContexts(self._unit, settings.contexts)
        self.logins = AsyncLogins(self._unit, settings.logins, settings.directory)
        self.directory = AsyncDirectory(self.logins._registry, own=settings.directory is None)
        self.workspaces = AsyncWorkspaces(self._unit, settings.workspaces, settings.places)
        self.games = AsyncGames(self._unit, settings.games, self._closing)
        removers = {
            "context": self.contexts._removal.remove,
            "game": self.games._lobby.remove,
            login_rules.KIND: self.logins._revocation.remove,
        }
        shown = {login_rules.KIND: login_rules.public_data, game_record.KIND: game_record.public_data}
        self.sessions = AsyncSessions(self._unit, removers, shown)

    async def __aenter__(self) -> AsyncStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    @property
    def capabilities(self) -> Capabilities:
        """What this store's engine can do."""
        return self._engine.capabilities

    @property
    def tenant(self) -> str:
        """Whose sessions these are; nothing of one tenant is seen from another."""
        return self._settings.tenant

    def for_tenant(self, name: str) -> AsyncStore:
        """The same store for another tenant; shares the connections, and closing it closes nothing."""
        settings = replace(self._settings, tenant=check_key(name, "tenant", 128))
        return AsyncStore(self._engine, settings, owns_engine=False)

    def watch(
        self,
        kind: str | None = None,
        id: str | None = None,
        after: str | None = None,
        *,
        timeout: timedelta | None = None,
    ) -> AsyncIterator[Event]:
        """Committed changes as they happen, of one kind or one session, in commit order, none missed.

        From now on, or behind the cursor ``after`` (an event's ``cursor``). Ends after ``timeout`` without an event; never
        without one, but when the store is closed. An event ``gap`` says that older ones are gone. Watching begins with the
        first step: to begin at a moment of your own, take `tip` then and pass it as ``after``.
        """
        if kind is not None and kind not in KINDS:
            raise InvalidValueError(f"there is no kind {kind!r}.", hint=f"Kinds: {', '.join(KINDS)}.")
        return follow(self._engine, self.tenant, kind=kind, session=id, after=after, timeout=timeout, closing=self._closing)

    async def tip(self) -> str:
        """The cursor of now: ``watch(after=…)`` begins with what is committed from here on."""
        return cursor_text(await self._engine.tip())

    async def sweep(self, limit: int = 500, *, dry_run: bool = False) -> Swept:
        """One bounded background pass over what is due, aged, stale or unused, the search index and purging. Counts by name."""
        _check_limit(limit)
        return await sweep(self._engine, self.tenant, self._kinds(), limit, dry_run=dry_run)

    def runner(self, *, limit: int = 500, every: timedelta = timedelta(seconds=5)) -> AsyncRunner:
        """Sweeps beside the program (in a task, or a thread of blocking code) while it is entered as a context manager."""
        _check_limit(limit)
        return AsyncRunner(self._engine, self.tenant, self._kinds(), limit, max(0.05, span(every) / 1_000_000))

    def lease(self, name: str, ttl: timedelta, *, owner: str | None = None) -> Holding:
        """A named lock across processes, as a context manager that gives its `Lease`; `LeaseHeldError` while it is held.

        ``owner`` is whom others are told (by default this host and process).
        """
        name = check_key(name, "lease name", 256)
        holder = _this_process() if owner is None else owner
        return Holding(self._unit, f"{_SHARED_HOME}/{name}", f"store/{name}", holder, ttl, free=True)

    async def renew(self, lease: Lease) -> Lease:
        """The lease with its time begun anew; `LeaseLostError` when it has run out or somebody else has it."""
        return await renew(self._unit, lease)

    async def erase(self, principal: str | int) -> Erased:
        """Remove one person from every kind, log, index and event: what they own is gone, what they wrote elsewhere empty."""
        owner = check_key(principal, "principal")
        sessions = entries = aliases = leases = 0
        await self.games._lobby.forget(owner)
        while True:
            rows = await self._engine.erase(self.tenant, owner, _ERASE_ROWS)
            sessions, entries = sessions + rows.sessions, entries + rows.entries
            aliases, leases = aliases + rows.aliases, leases + rows.leases
            if rows.complete:
                break
        while await self._engine.purge(_ERASE_ROWS) >= _ERASE_ROWS:
            continue
        receipt = Erased(owner, sessions, entries, aliases, leases)
        more = rows.outside if rows.settled else (*rows.outside, _LOG_IN_USE)
        return replace(receipt, outside=(*receipt.outside, *more))

    def export(self, *, kinds: Iterable[str] = KINDS, owner: str | int | None = None) -> AsyncIterator[str]:
        """The tenant's sessions, entries and aliases as lines of JSON; `load` takes them back."""
        wanted = tuple(kinds)
        unknown = [kind for kind in wanted if kind not in KINDS]
        if unknown:
            raise InvalidValueError(f"there is no kind {unknown[0]!r}.", hint=f"Kinds: {', '.join(KINDS)}.")
        return export_lines(self._unit, wanted, None if owner is None else check_key(owner, "owner"))

    async def load(self, lines: Iterable[str]) -> Loaded:
        """Store what `export` wrote, under the same ids; what is there already is left as it is. May be repeated."""
        return await load_lines(self._unit, lines)

    async def backup(self, path: str | os.PathLike[str], *, replace: bool = False) -> int:
        """Copy the whole store to a new file, as of one moment, while it is in use; its size in bytes.

        A file that exists is refused (`InvalidValueError`) unless ``replace``, and the store's own always.
        `UnsupportedError` where the engine leaves backups to its own tools (``store.capabilities.backup``).
        """
        copy = getattr(self._engine, "backup", None)
        if copy is None:
            raise UnsupportedError("this engine makes no backups.", hint="Use the server's own tools, or export().")
        size: int = await copy(os.fspath(path), replace=replace)
        return size

    async def facts(self) -> dict[str, Any]:
        """What the engine says about itself: version, settings, sizes."""
        return await self._engine.facts()

    async def check(self) -> list[str]:
        """What the engine's own integrity check finds wrong; empty when all is well."""
        look = getattr(self._engine, "check", None)
        found: list[str] = [] if look is None else await look()
        return found

    async def close(self) -> None:
        """Flush and let go of the engine; idempotent."""
        await self._close()

    async def _close(self) -> None:
        self._closing.append(True)
        if self._owns:
            await self._engine.close()

    def _kinds(self) -> tuple[KindSweep, ...]:
        settings = self._settings
        return (
            ConversationSweep(self._unit, settings.conversations, self.conversations),
            ContentSweep(self._unit, settings.contexts),
            WorkspaceSweep(self._unit),
            GameSweep(self._unit, self.games),
            LoginSweep(self.logins._revocation),
            UserSweep(self.logins._people, self.logins._registry),
        )


async def make_async_store(
    url: str | None,
    *,
    blocking: bool,
    tenant: str = "default",
    migrate: bool = True,
    durability: Durability = "full",
    engine: EngineOptions | None = None,
    clock: UserClock | None = None,
    ids: UserIds | None = None,
    conversations: ConversationPolicy | None = None,
    contexts: ContextPolicy | None = None,
    workspaces: WorkspacePolicy | None = None,
    games: GamePolicy | None = None,
    logins: LoginPolicy | None = None,
    directory: DirectoryLike | Literal[False] | None = None,
) -> AsyncStore:
    """The body of `sojourn.open` and `sojourn.aopen`."""
    if durability not in ("full", "normal"):
        raise InvalidValueError(f"durability must be 'full' or 'normal', got {durability!r}.")
    chosen = default_url() if url is None else url
    if not isinstance(chosen, str):
        raise InvalidValueError(f"url must be text, not {type(chosen).__name__}.", hint="For example 'sqlite:///app.db'.")
    settings = Settings(
        check_key(tenant, "tenant", 128),
        Ids(ids),
        _policy(conversations, ConversationPolicy, "conversations"),
        contexts=_policy(contexts, ContextPolicy, "contexts"),
        games=_policy(games, GamePolicy, "games"),
        workspaces=_policy(workspaces, WorkspacePolicy, "workspaces"),
        logins=_policy(logins, LoginPolicy, "logins"),
        directory=directory,
    )
    options = EngineOptions() if engine is None else engine
    opening = Opening(chosen, blocking, clock_of(clock), durability, migrate, options)
    return AsyncStore(await open_engine(opening), settings)


def _policy(given: Policy | None, wanted: type[Policy], name: str) -> Policy:
    """The policy of a kind; its default where none was given."""
    if given is None:
        return wanted()
    if not isinstance(given, wanted):
        raise InvalidValueError(f"{name} must be a {wanted.__name__}, not {type(given).__name__}.")
    return given


class OpeningStore:
    """A store on its way: await it, or enter it as an asynchronous context manager."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, AsyncStore]]) -> None:
        self._make = make
        self._store: AsyncStore | None = None

    def __await__(self) -> Generator[Any, None, AsyncStore]:
        return self._make().__await__()

    async def __aenter__(self) -> AsyncStore:
        self._store = await self._make()
        return self._store

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store is not None:
            await self._store.close()


def aopen(
    url: str | None = None,
    *,
    tenant: str = "default",
    migrate: bool = True,
    durability: Durability = "full",
    engine: EngineOptions | None = None,
    clock: UserClock | None = None,
    ids: UserIds | None = None,
    conversations: ConversationPolicy | None = None,
    contexts: ContextPolicy | None = None,
    workspaces: WorkspacePolicy | None = None,
    games: GamePolicy | None = None,
    logins: LoginPolicy | None = None,
    directory: DirectoryLike | Literal[False] | None = None,
) -> OpeningStore:
    """Open a store for asynchronous code: ``async with sojourn.aopen(url) as store``, or await it.

    Parameters and errors are those of `sojourn.open`.
    """
    return OpeningStore(
        lambda: make_async_store(
            url,
            blocking=False,
            tenant=tenant,
            migrate=migrate,
            durability=durability,
            engine=engine,
            clock=clock,
            ids=ids,
            conversations=conversations,
            contexts=contexts,
            workspaces=workspaces,
            games=games,
            logins=logins,
            directory=directory,
        )
    )


def _this_process() -> str:
    """Host and process, as others are told who holds a lease."""
    import socket

    return f"{socket.gethostname()}:{os.getpid()}"


def _check_limit(limit: object) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= 100_000:
        raise InvalidValueError(f"limit must be a whole number from 1 to 100000, got {limit!r}.")
