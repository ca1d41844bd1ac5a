"""The PostgreSQL engine: every verb is one statement, and one round trip; only the driver knows the colour."""

from __future__ import annotations

import builtins
from collections.abc import Callable, Coroutine
from typing import Any, Final, Self

from sojourn.core.batch import Answer, Batch
from sojourn.core.ids import home_of, is_id
from sojourn.core.query import EntryQuery, SearchQuery, SessionQuery
from sojourn.core.session import Alias, AliasKey, EventRow, Session, Snapshot
from sojourn.engines.background import ThreadBackground
from sojourn.engines.checks import check_cursor
from sojourn.engines.contract import Background, Capabilities, Changed, Clock, ErasedRows, EventPage, Hit
from sojourn.engines.embedded import EVENT_LIFE, OPERATION_LIFE
from sojourn.engines.postgres import reads, schema, search, wire
from sojourn.engines.postgres.blocking import BlockingDriver
from sojourn.engines.postgres.driver import Driver
from sojourn.engines.postgres.faults import LOCK_NOT_AVAILABLE
from sojourn.engines.postgres.settings import Settings
from sojourn.engines.postgres.statements import SQL
from sojourn.errors import ClosedError, UnavailableError

CAPABILITIES: Final = Capabilities(engine="postgres")


class PostgresEngine:
    """One PostgreSQL database, for blocking code; any number of threads, processes and machines may share it."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._clock = driver.settings.clock
        self._closed = False

    @classmethod
    async def open(cls, url: str, clock: Clock | None = None, *, migrate: bool = True, **settings: Any) -> Self:
        """Connect, and bring the schema forward when ``migrate``. ``settings`` are the others of `Settings`."""
        return await cls.opened(Settings(url=url, clock=clock, **settings), migrate=migrate)

    @classmethod
    async def opened(cls, settings: Settings, *, migrate: bool) -> Self:
        """The same with settings that were made before."""
        driver = cls._make_driver(settings)
        await driver.open()
        try:
            await schema.ensure(driver, migrate=migrate)
        except BaseException:
            await driver.close()
            raise
        return cls(driver)

    @staticmethod
    def _make_driver(settings: Settings) -> Driver:
        return BlockingDriver(settings)

    @classmethod
    async def schema_of(cls, settings: Settings) -> int:
        """The schema version of the store there, whatever it is; 0 where there is none yet."""
        driver = cls._make_driver(settings)
        await driver.open()
        try:
            return await schema.version_of(driver)
        finally:
            await driver.close()

    @property
    def capabilities(self) -> Capabilities:
        """Everything; backups are left to the server's own tools."""
        return CAPABILITIES

    def _open(self) -> Driver:
        if self._closed:
            raise ClosedError("this store was closed.", hint="Open it again.")
        return self._driver

    def _test_time(self) -> int | None:
        return None if self._clock is None else self._clock()

    async def commit(self, batch: Batch) -> Answer:
        """See `contract.Engine.commit`."""
        return await self._open().commit(batch)

    # -- reads -----------------------------------------------------------------------------------------------------

    async def load(self, tenant: str, session: str, entries: EntryQuery | None = None) -> Snapshot:
        """See `contract.Engine.load`."""
        driver = self._open()
        if entries is None:
            return reads.snapshot_of(await driver.load(tenant, session))
        statement, values = reads.entries_statement(tenant, session, entries, self._test_time())
        return reads.snapshot_with_entries((await driver.fetch(statement, values))[0], entries)

    async def follow(self, tenant: str, alias: AliasKey) -> Snapshot:
        """See `contract.Engine.follow`."""
        values = (self._test_time(), tenant, alias.namespace, alias.key)
        return reads.followed((await self._open().fetch(SQL["follow"], values))[0], alias)

    async def aliases(self, tenant: str, *, target: str, home: str | None = None) -> builtins.list[Alias]:
        """See `contract.Engine.aliases`."""
        return [wire.read_alias(row) for row in await self._open().fetch(SQL["aliases"], (tenant, target, home, home))]

    async def tags(self, tenant: str, session: str) -> builtins.list[str]:
        """See `contract.Engine.tags`."""
        return [row[0] for row in await self._open().fetch(SQL["tags"], (tenant, session))]

    async def list(self, query: SessionQuery) -> builtins.list[Session]:
        """See `contract.Engine.list`."""
        return await self._listed(*reads.list_statement(query))

    async def _listed(self, statement: str, values: builtins.list[str]) -> builtins.list[Session]:
        driver = self._open()
        rows = await driver.fetch(SQL["list"], (driver.settings.names.text(statement), values))
        return [wire.read_session(row) for row in rows]

    async def count(
        self,
        tenant: str,
        kind: str,
        *,
        tag: str | None = None,
        owner: str | None = None,
        home: str | None = None,
        active_after: int | None = None,
    ) -> int:
        """See `contract.Engine.count`."""
        statement: str
        values: list[Any]
        if active_after is None:
            statement, values = reads.count_statement(tenant, kind, tag, owner, home)
        else:
            now = self._test_time()
            statement, values = reads.count_recent_statement(tenant, kind, tag, owner, home, active_after, now)
        found: int = (await self._open().fetch(statement, values))[0][0]
        return found

    async def due(self, tenant: str | None, limit: int, ahead: int = 0) -> builtins.list[Session]:
        """See `contract.Engine.due`."""
        return await self._listed(*reads.due_statement(tenant, limit, self._test_time(), ahead))

    async def now(self) -> int:
        """See `contract.Engine.now`."""
        driver = self._open()
        found: int = (await driver.fetch(SQL["now"]))[0][0] if self._clock is None else self._clock()
        return found

    # -- events ----------------------------------------------------------------------------------------------------

    async def tip(self) -> tuple[int, ...]:
        """See `contract.Engine.tip`."""
        return tuple((await self._open().fetch(SQL["tip"]))[0][0])

    async def events(
        self, tenant: str, after: tuple[int, ...], limit: int, *, kind: str | None = None, session: str | None = None
    ) -> EventPage:
        """See `contract.Engine.events`; events of different shards come in the order of their times."""
        cursor = check_cursor(after, wire.PLACES)
        values = {"after": list(cursor), "most": max(limit, 1000), "shard": _shard_of(session)}
        return reads.page_of(await self._open().fetch(SQL["events"], values), cursor, limit, tenant, kind, session)

    async def history(self, tenant: str, session: str, limit: int) -> builtins.list[EventRow]:
        """See `contract.Engine.history`."""
        rows = await self._open().fetch(SQL["history"], (tenant, session, limit))
        return [EventRow(*row) for row in reversed(rows)]

    async def changed(self, after: tuple[int, ...], timeout: float, *, session: str | None = None) -> Changed:
        """See `contract.Engine.changed`; woken by notifications, and looks itself as often as `watching` says."""
        told = await self._open().told(check_cursor(after, wire.PLACES), _shard_of(session), timeout)
        return "now" if told else "timeout"

    # -- upkeep ----------------------------------------------------------------------------------------------------

    async def purge(self, limit: int) -> int:
        """See `contract.Engine.purge`."""
        values = (limit, OPERATION_LIFE, EVENT_LIFE, self._test_time())
        removed: int = (await self._open().fetch(SQL["purge"], values))[0][0]
        return removed

    async def erase(self, tenant: str, owner: str, limit: int) -> ErasedRows:
        """See `contract.Engine.erase`."""
        found = (await self._open().fetch(SQL["erase"], (tenant, owner, limit)))[0][0]
        sessions, entries, aliases, leases, complete = found
        return ErasedRows(sessions, entries, aliases, leases, complete, outside=_KEPT)

    # -- search ----------------------------------------------------------------------------------------------------

    async def search(self, query: SearchQuery) -> builtins.list[Hit]:
        """See `contract.Engine.search`; what waits for the index is looked through here."""
        driver = self._open()
        if not query.words:
            return []
        values = {
            "wanted": search.wanted(query),
            "tenant": query.tenant,
            "kind": query.kind,
            "owner": query.owner,
            "topic": query.topic,
            "types": None if query.types is None else list(query.types),
            "limit": query.limit,
        }
        tail = search.TAIL
        while True:
            rows = await driver.fetch(SQL["search"], {**values, "tail": tail})
            if sum(row[0] for row in rows) < tail:
                return search.hits_of(rows, query)
            tail *= 10  # more wait than were looked at: all of them, as of one moment

    async def index(self, limit: int) -> int:
        """See `contract.Engine.index`: what waits is read, and its words are stored; two round trips."""
        driver = self._open()
        rows = await driver.fetch(SQL["unindexed"], {"most": limit})
        if not rows:
            return 0
        given, shards, numbers, commits = search.through(rows)
        try:
            await driver.fetch(SQL["index"], (given, shards, numbers))
        except UnavailableError as error:
            if getattr(error.__cause__, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            return 0  # somebody redacts one of these entries at this moment: the next pass finds it done
        return commits

    # -- life ------------------------------------------------------------------------------------------------------

    async def sleep(self, seconds: float) -> None:
        """See `contract.Engine.sleep`."""
        await self._driver.wait(seconds)

    def spawn(self, body: Callable[[], Coroutine[Any, Any, None]]) -> Background:
        """See `contract.Engine.spawn`."""
        return ThreadBackground(body)

    async def facts(self) -> dict[str, Any]:
        """See `contract.Engine.facts`."""
        driver = self._open()
        row = (await driver.fetch(SQL["facts"]))[0]
        names = (
            "clock",
            "server_version",
            "synchronous_commit",
            "fsync",
            "full_page_writes",
            "synchronous_standby_names",
            "max_connections",
            "in_recovery",
            "sessions",
            "entries",
            "events",
            "unindexed",
            "bytes",
        )
        return {
            "engine": "postgres",
            "where": driver.where,
            "tables": driver.settings.names.text("sojourn_*"),
            "schema": await schema.version_of(driver),
            **dict(zip(names, row, strict=True)),
        }

    async def close(self) -> None:
        """See `contract.Engine.close`."""
        if not self._closed:
            self._closed = True
            await self._driver.close()


_KEPT: Final = (
    "PostgreSQL's old row versions, until it vacuums (VACUUM does it now)",
    "PostgreSQL's write-ahead log, its archive and its replicas",
)


def _shard_of(session: str | None) -> int | None:
    """The shard of a session's events, which its id carries; None for all of them."""
    return home_of(session) % wire.SHARDS if session is not None and is_id(session) else None
