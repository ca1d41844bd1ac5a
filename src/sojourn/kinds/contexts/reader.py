"""Reading contexts: by name, by id, the active one, and what is in them."""

from __future__ import annotations

from collections.abc import Sequence

from sojourn.core.query import EntryQuery, SearchQuery, SessionQuery
from sojourn.core.session import Entry, Session, Snapshot
from sojourn.core.words import snippet
from sojourn.errors import NotFoundError
from sojourn.kinds.contexts import rules
from sojourn.kinds.contexts.contents import Contents
from sojourn.kinds.contexts.model import Artifact, ArtifactHit, Context
from sojourn.kinds.contexts.rules import CONTENT, ENTRIES, KIND, STORED
from sojourn.shell.unit import Unit


class Reader:
    """Reads contexts of one store and tenant."""

    def __init__(self, unit: Unit, contents: Contents) -> None:
        self._unit = unit
        self._contents = contents

    # -- contexts --------------------------------------------------------------------------------------------------

    async def follow(self, scope: str, name: str) -> Snapshot:
        """A name and the session it points at."""
        key = rules.name_key(scope, name)
        return await self._unit.follow(scope, key.namespace, key.key)

    async def named(self, scope: str, name: str) -> Session:
        """The session of a name; `NotFoundError` when there is none."""
        session = (await self.follow(scope, name)).session
        if session is None:
            raise rules.nameless(name, scope)
        return session

    async def session(self, id: str) -> Session:
        """The session with this id; `NotFoundError` when there is none."""
        session = (await self._unit.load(id, KIND)).session
        assert session is not None  # noqa: S101  # load raised otherwise
        return session

    async def active(self, scope: str) -> Snapshot:
        """The alias of the active one, and its session."""
        key = rules.active_key(scope)
        return await self._unit.follow(scope, key.namespace, key.key)

    async def shown(self, session: Session) -> Context:
        """What callers see of a session."""
        alias = (await self.active(session.home)).alias
        return rules.context_of(session, None if alias is None else alias.target)

    async def chosen(self, scope: str, name: str | None, id: str | None) -> Session:
        """The context of a name or an id, the active one without either."""
        if id is not None:
            return await self.session(id)
        if name is not None:
            return await self.named(scope, rules.check_name(name))
        session = (await self.active(scope)).session
        if session is None:
            raise NotFoundError(f"no context is active in scope {scope!r}.", hint="Name one, or set_active() one first.")
        return session

    async def last_active(self, scope: str) -> Session:
        """The active one, or the one that was last, among those with the latest activity where that one is gone."""
        found = await self.active(scope)
        if found.session is not None:
            return found.session
        previous = None if found.alias is None else found.alias.previous
        session = None if previous is None else (await self._unit.find(previous, KIND)).session
        if session is not None and not rules.is_kept(session):
            return session
        rows = await self._unit.engine.list(SessionQuery(self._unit.tenant, (KIND,), owner=scope, home=scope))
        rows = [row for row in rows if "resumed_at" in row.counters]
        if not rows:
            raise NotFoundError(f"no context has been active in scope {scope!r}.", hint="Name the one to resume.")
        return max(rows, key=lambda row: row.counters["resumed_at"])

    # -- artifacts -------------------------------------------------------------------------------------------------

    async def entries(self, session: Session, query: EntryQuery) -> tuple[Entry, ...]:
        """Entries of a session."""
        return (await self._unit.load(session.id, KIND, query)).entries

    async def stored(self, session: Session, through: int | None = None) -> tuple[Entry, ...]:
        """Those entries, up to a sequence, whose content is kept elsewhere."""
        last = session.last_sequence if through is None else through
        return await self.entries(session, EntryQuery(((1, last),), (STORED,))) if last else ()

    async def artifacts(self, session: Session, query: EntryQuery, kinds: Sequence[str] | None = None) -> list[Artifact]:
        """Artifacts of a session, of these kinds."""
        entries = await self.entries(session, query)
        wanted = [entry for entry in entries if kinds is None or entry.topic in kinds]
        texts = await self._contents.texts(wanted)
        pins = rules.pins_of(session)
        return [rules.artifact_of(entry, text, pins) for entry, text in zip(wanted, texts, strict=True)]

    async def artifact(self, session: Session, sequence: int) -> Artifact:
        """One of them."""
        rules.check_sequence(session, sequence)
        (found,) = await self.artifacts(session, EntryQuery(((sequence, sequence),)))
        return found

    # -- search ----------------------------------------------------------------------------------------------------

    async def search(
        self, scope: str, wanted: tuple[str, ...], *, prefix: bool, kind: str | None, limit: int
    ) -> list[ArtifactHit]:
        """Hits in artifacts and in large contents, newest first; of what was kept after a delete there are none."""
        found: dict[tuple[str, int], ArtifactHit] = {}
        pairs = [*await self._in_artifacts(scope, wanted, prefix, kind, limit)]
        pairs += await self._in_contents(scope, wanted, prefix, kind, limit)
        for session, entry, text in pairs:
            artifact = rules.artifact_of(entry, text, rules.pins_of(session))
            name = rules.data_of(session)["name"]
            found[session.id, entry.sequence] = ArtifactHit(session.id, name, artifact, snippet(text, wanted))
        rows = sorted(found.values(), key=lambda hit: (hit.artifact.created_at, hit.artifact.sequence), reverse=True)
        return rows[:limit]

    async def _in_artifacts(
        self, scope: str, wanted: tuple[str, ...], prefix: bool, kind: str | None, limit: int
    ) -> list[tuple[Session, Entry, str]]:
        query = SearchQuery(self._unit.tenant, KIND, wanted, prefix, scope, kind, limit, ENTRIES)
        sessions: dict[str, Session | None] = {}
        found = []
        for hit in await self._unit.engine.search(query):
            if hit.session not in sessions:
                sessions[hit.session] = (await self._unit.find(hit.session, KIND)).session
            session = sessions[hit.session]
            if session is not None and not rules.is_kept(session):
                found.append((session, hit.entry, hit.entry.text or ""))
        return found

    async def _in_contents(
        self, scope: str, wanted: tuple[str, ...], prefix: bool, kind: str | None, limit: int
    ) -> list[tuple[Session, Entry, str]]:
        """A content is found once; the contexts that use it are found by their tag."""
        found: list[tuple[Session, Entry, str]] = []
        query = SearchQuery(self._unit.tenant, CONTENT, wanted, prefix, scope, None, limit, (CONTENT,))
        for hit in await self._unit.engine.search(query):
            kept = (await self._unit.find(hit.session, CONTENT)).session
            if kept is None:
                continue
            digest = rules.data_of(kept)["digest"]
            users = SessionQuery(self._unit.tenant, (KIND,), owner=scope, tag=rules.tag_of(digest), limit=limit, home=scope)
            for session in await self._unit.engine.list(users):
                entries = await self.entries(session, EntryQuery(None, (STORED,), (digest,), kind, last=1))
                found.extend((session, entry, hit.entry.text or "") for entry in entries)
        return found
