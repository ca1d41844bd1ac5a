"""The operations of contexts, once, for both colours."""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from sojourn.core.batch import Answer, Change, Point, Refusal
from sojourn.core.codec import Json, check_number, check_text
from sojourn.core.ids import id_of, parts_of
from sojourn.core.query import EntryQuery, Page, SessionQuery, make_cursor, page_limit, read_cursor
from sojourn.core.session import Alias, Session
from sojourn.core.times import to_datetime
from sojourn.core.words import Count, approximate_tokens, words
from sojourn.errors import InvalidValueError, KeyReusedError, UnsupportedError
from sojourn.kinds.contexts import rules
from sojourn.kinds.contexts.assembly import assemble
from sojourn.kinds.contexts.contents import Contents
from sojourn.kinds.contexts.export import ContextFormat, render
from sojourn.kinds.contexts.model import Artifact, ArtifactHit, Assembly, Context, ContextPolicy
from sojourn.kinds.contexts.reader import Reader
from sojourn.kinds.contexts.removal import Removal
from sojourn.kinds.contexts.rules import KIND, NewArtifact
from sojourn.shell.unit import Unit, fingerprint, operation_key, perform, refused

_KNOWN: Final = 1024
"""How many names a store remembers the session of, so that adding takes one round trip."""

_AGAIN: Final = Refusal("version")


class AsyncContexts:
    """Contexts of one store and tenant: ``store.contexts``. ``scope`` is what names are unique in, and one is active in."""

    def __init__(self, unit: Unit, policy: ContextPolicy) -> None:
        self._unit = unit
        self._policy = policy
        self._contents = Contents(unit, policy)
        self._reader = Reader(unit, self._contents)
        self._removal = Removal(unit, self._contents, self._reader)
        self._known: dict[tuple[str, str], tuple[str, int]] = {}

    # -- making and finding ----------------------------------------------------------------------------------------

    async def create(
        self,
        name: str,
        *,
        metadata: Mapping[str, Json] | None = None,
        exist_ok: bool = False,
        scope: str | int | None = None,
        key: str | None = None,
    ) -> Context:
        """A new context; `NameTakenError` when there is one of this name, or that one with ``exist_ok``."""
        place, label = rules.check_scope(scope), rules.check_name(name)
        more = rules.check_metadata(metadata, self._policy)
        operation, mark = operation_key(key), fingerprint("context.create", label, more, exist_ok)

        async def step() -> str | Refusal:
            found = await self._reader.follow(place, label)
            alias = cast("Alias", found.alias)
            if found.session is not None:
                if not exist_ok:
                    raise rules.taken(label, alias)
                return found.session.id
            made = rules.create(self._unit.new_id(place), place, rules.document(label, more))
            point = Point(alias.key, made.id, alias.epoch)
            answer = await self._unit.attempt(place, made, point, key=operation, fingerprint=mark)
            return answer.refusal or answer.moved[0].id

        return await self._unit.answered(place, operation, mark, lambda: self._performed(step), self._moved, KIND)

    async def get(self, name: str, *, scope: str | int | None = None) -> Context | None:
        """The context of this name; None when there is none."""
        session = (await self._reader.follow(rules.check_scope(scope), rules.check_name(name))).session
        return None if session is None else await self._reader.shown(session)

    async def list(self, *, scope: str | int | None = None, limit: int = 50, after: str | None = None) -> Page[Context]:
        """A page of the scope's contexts, newest created first."""
        place, limit = rules.check_scope(scope), page_limit(limit)
        position = None if after is None else (0, str(read_cursor(after, str)[0]))
        query = SessionQuery(
            self._unit.tenant, (KIND,), owner=place, order="created", limit=limit + 1, after=position, home=place
        )
        rows = await self._unit.engine.list(query)
        alias = (await self._reader.active(place)).alias
        target = None if alias is None else alias.target
        cursor = make_cursor(rows[limit - 1].id) if len(rows) > limit else None
        return Page([rules.context_of(row, target) for row in rows[:limit]], cursor)

    # -- artifacts -------------------------------------------------------------------------------------------------

    async def add(
        self,
        name: str,
        kind: str,
        content: str,
        *,
        metadata: Mapping[str, Json] | None = None,
        key: str | None = None,
        scope: str | int | None = None,
    ) -> Artifact:
        """Add an artifact; durable when it returns. An absent context is made in the same commit.

        One round trip to a context this store has added to before. Content over ``ContextPolicy.inline`` is kept once for
        the scope. Idempotent by ``key``, as long as the artifact lives. After an end: `EndedError`.
        """
        place, label = rules.check_scope(scope), rules.check_name(name)
        new = rules.new_artifact(self._policy, kind, content, metadata)
        operation = operation_key(key)
        mark = "" if operation is None else fingerprint("context.add", new.kind, new.digest, new.metadata)

        async def step() -> tuple[str, Answer] | Refusal:
            known = self._known.get((place, label))
            if known is None:
                found = await self._reader.follow(place, label)
                if found.session is None:
                    return await self._add_first(place, label, new, cast("Alias", found.alias), operation)
                if found.session.state != "active":
                    raise refused(Refusal("ended", found.session.id, found.session), KIND)
                known = self._remember(place, label, found.session.id, found.session.phase)
            answer = await self._append(place, known, new, operation, mark)
            if answer.refusal is None or answer.refusal.reason == "key":
                return known[0], answer
            self._known.pop((place, label), None)
            return _AGAIN

        session, answer = await perform(step, KIND)
        if answer.refusal is not None or answer.replayed:
            return await self._added_before(session, new, operation, mark, answer)
        return Artifact(answer.moved[0].first, new.kind, new.content, new.digest, to_datetime(answer.now), dict(new.metadata))

    def _remember(self, scope: str, name: str, session: str, phase: int) -> tuple[str, int]:
        """The session of a name, until its phase moves."""
        if len(self._known) >= _KNOWN:
            self._known.clear()
        self._known[scope, name] = session, phase
        return session, phase

    async def _append(self, scope: str, known: tuple[str, int], new: NewArtifact, operation: str | None, mark: str) -> Answer:
        """To a context that is there. Beside a content the key goes with the entry, since the batch is not only that."""
        place, more = await self._contents.use(scope, new)
        entry = new.entry(place, key=operation if more else None)
        write = rules.add(*known, new, entry, self._policy)
        return await self._unit.attempt(scope, write, *more, key=None if more else operation, fingerprint=mark)

    async def _add_first(
        self, scope: str, name: str, new: NewArtifact, alias: Alias, operation: str | None
    ) -> tuple[str, Answer] | Refusal:
        """The context, its name and its first artifact in one commit; whoever loses adds to what the winner made."""
        place, more = await self._contents.use(scope, new)
        made = self._unit.new_id(scope)
        create = rules.create_with(made, scope, name, new, new.entry(place, key=operation), self._policy)
        answer = await self._unit.attempt(scope, create, Point(alias.key, made, alias.epoch), *more)
        if answer.refusal is not None:
            return _AGAIN
        self._remember(scope, name, made, answer.moved[0].phase)
        return made, answer

    async def _added_before(self, id: str, new: NewArtifact, operation: str | None, mark: str, answer: Answer) -> Artifact:
        """What an operation id has added, if it was this."""
        session = await self._reader.session(id)
        first = answer if answer.replayed else await self._unit.replayed(session, operation, mark, with_entry=True)
        if first is not None:
            found = await self._reader.artifact(session, first.moved[0].first)
            if (found.kind, found.digest, found.metadata) == (new.kind, new.digest, new.metadata):
                return found
        raise KeyReusedError(f"the key {operation!r} was used for something else.", hint="Nothing was stored.")

    async def artifacts(
        self,
        name: str | None = None,
        *,
        id: str | None = None,
        kind: str | None = None,
        last: int | None = None,
        limit: int = 50,
        after: str | None = None,
        scope: str | int | None = None,
    ) -> Page[Artifact]:
        """A page of artifacts, in order: of a context by its name or id, of the active one without either.

        ``last``: only the newest so many, on one page.
        """
        place, limit = rules.check_scope(scope), page_limit(limit)
        if name is not None and id is not None:
            raise InvalidValueError("artifacts takes a name or an id, not both.")
        label = None if kind is None else rules.check_kind(kind)
        start = 0 if after is None else int(read_cursor(after, int)[0])
        newest = None if last is None else check_number(last, "last")
        session = await self._reader.chosen(place, name, id)
        ranges = ((start + 1, max(start + 1, session.last_sequence)),)
        query = EntryQuery(ranges, topic=label, last=newest, limit=limit + 1 if newest is None else None)
        entries = (await self._reader.artifacts(session, query)) if newest != 0 else []
        more = newest is None and len(entries) > limit
        return Page(entries[:limit] if more else entries, make_cursor(entries[limit - 1].sequence) if more else None)

    async def artifact(
        self, name: str | None, sequence: int, *, id: str | None = None, scope: str | int | None = None
    ) -> Artifact:
        """One artifact; `NotFoundError` when the context has none with this sequence."""
        session = await self._reader.chosen(rules.check_scope(scope), name, id)
        return await self._reader.artifact(session, sequence)

    async def pin(
        self, name: str, sequence: int, *, pinned: bool = True, scope: str | int | None = None, key: str | None = None
    ) -> Artifact:
        """Have an artifact taken first by every assembly, or with ``pinned=False`` no more. Idempotent."""
        operation, mark = operation_key(key), fingerprint("context.pin", name, sequence, pinned)

        def change(session: Session) -> tuple[Change, ...]:
            rules.check_sequence(session, sequence)
            return (rules.pinned(session, sequence, on=bool(pinned)),)

        id = await self._changed(scope, name, change, operation, mark)
        return await self._reader.artifact(await self._reader.session(id), sequence)

    async def assemble(
        self,
        name: str,
        *,
        budget: int,
        count: Count = approximate_tokens,
        kinds: Sequence[str] | None = None,
        scope: str | int | None = None,
    ) -> Assembly:
        """The newest artifacts (of these kinds) that fit ``budget`` tokens: pinned ones first, equal contents once.

        It says what was left out, and why. ``count`` gives the tokens of a text.
        """
        check_number(budget, "budget", 1)
        only = None if kinds is None else rules.check_kinds(kinds)
        session = await self._reader.named(rules.check_scope(scope), rules.check_name(name))
        return assemble(await self._reader.artifacts(session, EntryQuery(), only), budget, count)

    async def search(
        self, query: str, *, kind: str | None = None, scope: str | int | None = None, limit: int = 20
    ) -> builtins.list[ArtifactHit]:
        """Artifacts with all these words (case-folded; the last may be the beginning of one), newest first.

        `UnsupportedError` where the engine cannot search or the policy says ``search="off"``.
        """
        place, limit = rules.check_scope(scope), page_limit(limit)
        if self._policy.search == "off":
            raise UnsupportedError("this store does not search contexts.", hint="See ContextPolicy(search=…).")
        wanted = tuple(words(check_text(query, "query", 4096)))
        if not wanted:
            raise InvalidValueError("a search needs at least one word of letters or digits.")
        label = None if kind is None else rules.check_kind(kind)
        return await self._reader.search(place, wanted, prefix=not query[-1:].isspace(), kind=label, limit=limit)

    async def export(self, name: str, format: ContextFormat = "json", *, scope: str | int | None = None) -> str | bytes:
        """The whole context: ``json``, ``jsonl`` and ``md`` as text, ``zip`` (a file for each artifact) as bytes."""
        session = await self._reader.named(rules.check_scope(scope), rules.check_name(name))
        artifacts = await self._reader.artifacts(session, EntryQuery())
        return render(await self._reader.shown(session), artifacts, format)

    # -- changing --------------------------------------------------------------------------------------------------

    async def update(
        self,
        name: str,
        set: Mapping[str, Json] | None = None,
        unset: Iterable[str] = (),
        *,
        scope: str | int | None = None,
        key: str | None = None,
    ) -> Context:
        """Patch the metadata key by key inside the commit: nothing is lost when others patch other keys."""
        given: Any = unset  # whatever it is: the rule says what is wrong with it
        gone = builtins.list(given) if isinstance(given, Iterable) and not isinstance(given, str) else given
        rules.patch(set, gone, {}, self._policy)
        operation, mark = operation_key(key), fingerprint("context.update", name, set, gone)

        def change(session: Session) -> tuple[Change, ...]:
            known = rules.data_of(session).get("metadata", {})
            return (rules.updated(session, *rules.patch(set, gone, known, self._policy)),)

        return await self._shown(await self._changed(scope, name, change, operation, mark))

    async def update_metadata(
        self, name: str, updates: Mapping[str, Json], *, scope: str | int | None = None, key: str | None = None
    ) -> Context:
        """The same as `update` with these keys set."""
        return await AsyncContexts.update(self, name, updates, scope=scope, key=key)

    async def rename(self, name: str, new: str, *, scope: str | int | None = None, key: str | None = None) -> Context:
        """Give a context another name; `NameTakenError` when another context has it."""
        place, label, wanted = rules.check_scope(scope), rules.check_name(name), rules.check_name(new)
        operation, mark = operation_key(key), fingerprint("context.rename", label, wanted)

        async def step() -> str | Refusal:
            found = await self._reader.follow(place, label)
            if found.session is None:
                raise rules.nameless(label, place)
            moved: tuple[Point, ...] = ()
            if wanted != label:
                old, target = cast("Alias", found.alias), await self._reader.follow(place, wanted)
                there = cast("Alias", target.alias)
                if target.session is not None:
                    raise rules.taken(wanted, there)
                moved = (Point(old.key, None, old.epoch), Point(there.key, found.session.id, there.epoch))
            write = rules.renamed(found.session, wanted)
            answer = await self._unit.attempt(place, write, *moved, key=operation, fingerprint=mark)
            return self._or_again(answer, found.session.id)

        return await self._unit.answered(place, operation, mark, lambda: self._performed(step), self._moved, KIND)

    async def branch(
        self, name: str, new: str, *, at: int | None = None, scope: str | int | None = None, key: str | None = None
    ) -> Context:
        """A new context that shares the artifacts up to ``at`` (all of them by default) and goes on separately.

        Nothing is copied; metadata and pins begin as they are. `NameTakenError` when there is one of this name.
        """
        place, label, wanted = rules.check_scope(scope), rules.check_name(name), rules.check_name(new)
        operation, mark = operation_key(key), fingerprint("context.branch", label, wanted, at)

        async def step() -> str | Refusal:
            session = await self._reader.named(place, label)
            target = await self._reader.follow(place, wanted)
            there = cast("Alias", target.alias)
            if target.session is not None:
                raise rules.taken(wanted, there)
            end = session.last_sequence if at is None else check_number(at, "at", 0, session.last_sequence)
            shared = await self._reader.stored(session, end)
            counters = await self._shared_counters(session, end)
            made = rules.branch(session, self._unit.new_id(place, after=session.id), wanted, end, counters, shared)
            uses = [rules.use_content(id, count) for id, count in rules.uses_of(shared).items()]
            point = Point(there.key, made.id, there.epoch)
            answer = await self._unit.attempt(place, made, point, *uses, key=operation, fingerprint=mark)
            return self._or_again(answer, made.id)

        return await self._unit.answered(place, operation, mark, lambda: self._performed(step), self._moved, KIND)

    async def _shared_counters(self, session: Session, at: int) -> dict[str, int]:
        if at == session.last_sequence:
            return {name: session.counters.get(name, 0) for name in ("artifacts", "bytes")}
        entries = await self._reader.entries(session, EntryQuery(((1, at),))) if at else ()
        return {"artifacts": len(entries), "bytes": sum(map(rules.size_of, entries))}

    # -- the active one --------------------------------------------------------------------------------------------

    async def set_active(
        self, name: str, active: bool = True, *, scope: str | int | None = None, key: str | None = None
    ) -> Context:
        """Make a context the active one of its scope, in place of the one that is, in one move; or not any more.

        Stamps ``resumed_at``, and ``ended_at`` on the one that was. There is never more than one, whoever races.
        """
        place, label = rules.check_scope(scope), rules.check_name(name)
        operation, mark = operation_key(key), fingerprint("context.set_active", label, bool(active))

        async def step() -> str | Refusal:
            session = await self._reader.named(place, label)
            if active:
                return await self._activate(session, operation, mark)
            return await self._deactivate(session, operation, mark)

        return await self._unit.answered(
            place, operation, mark, lambda: self._performed(step), lambda asked: self._shown_named(asked, place, label), KIND
        )

    async def active(self, *, scope: str | int | None = None) -> Context | None:
        """The active context of a scope; None when there is none. One read by an index."""
        session = (await self._reader.active(rules.check_scope(scope))).session
        return None if session is None or session.state != "active" else rules.context_of(session, session.id)

    async def resume(self, name: str | None = None, *, scope: str | int | None = None, key: str | None = None) -> Context:
        """Make a context active again: by name, or the last active one, also after it was ended."""
        place, label = rules.check_scope(scope), None if name is None else rules.check_name(name)
        operation, mark = operation_key(key), fingerprint("context.resume", label)

        async def step() -> str | Refusal:
            session = await (self._reader.last_active(place) if label is None else self._reader.named(place, label))
            return await self._activate(session, operation, mark)

        return await self._unit.answered(place, operation, mark, lambda: self._performed(step), self._moved, KIND)

    async def _activate(self, session: Session, operation: str | None, mark: str) -> str | Refusal:
        if session.state != "active":
            raise refused(Refusal("ended", session.id, session), KIND)
        found = await self._reader.active(session.home)
        changes = rules.activate(session, cast("Alias", found.alias), found.session)
        answer = await self._unit.attempt(session.home, *changes, key=operation, fingerprint=mark)
        return self._or_again(answer, session.id)

    async def _deactivate(self, session: Session, operation: str | None, mark: str) -> str | Refusal:
        alias = cast("Alias", (await self._reader.active(session.home)).alias)
        if alias.target != session.id:
            await self._unit.remember(session.home, operation, mark)
            return session.id
        changes = (rules.deactivated(session.id), Point(alias.key, None, alias.epoch))
        answer = await self._unit.attempt(session.home, *changes, key=operation, fingerprint=mark)
        return self._or_again(answer, session.id)

    # -- removing --------------------------------------------------------------------------------------------------

    async def delete(self, name: str, *, purge: bool = True, scope: str | int | None = None, key: str | None = None) -> bool:
        """Remove a context; False when there is none. ``purge=False`` keeps its artifacts, to be read by its id."""
        place, label = rules.check_scope(scope), rules.check_name(name)
        operation, mark = operation_key(key), fingerprint("context.delete", label, bool(purge))
        asked = await self._unit.asked(place, operation, mark, KIND)
        found = (await self._reader.follow(place, label)).session if asked is None else None
        # Which one it is is noted before anything is gone: one that is made later under the name is another.
        meant = {} if found is None else parts_of(found.id)
        noted = asked.moved[0].counters if asked else await self._unit.note(place, operation, mark, **meant)
        id = id_of(noted)
        done = id is not None and await self._remove(id, purge=purge)
        return done or (operation is not None and id is not None)

    async def delete_all(self, *, purge: bool = True, scope: str | int | None = None, key: str | None = None) -> int:
        """Remove every context of a scope; how many there were. ``purge=True`` also removes what earlier deletes kept."""
        place = rules.check_scope(scope)
        operation, mark = operation_key(key), fingerprint("context.delete_all", bool(purge))

        async def remove() -> int:
            done = 0
            async for session in self._removal.everything(place):
                kept = rules.is_kept(session)
                if purge or not kept:
                    done += await self._remove(session.id, purge=purge) and not kept
            return done

        return await self._unit.once(place, operation, mark, remove, KIND)

    async def _remove(self, id: str, *, purge: bool) -> bool:
        if purge:
            return await self._removal.remove(id) is not None
        return await self._removal.keep(id)

    async def purge(self, id: str, *, key: str | None = None) -> int:
        """Remove what ``delete(purge=False)`` kept under this id; how many artifacts that were, 0 when there is nothing."""
        operation, mark = operation_key(key), fingerprint("context.purge", id)
        session = (await self._unit.find(id, KIND)).session
        kept = session if session is not None and rules.is_kept(session) else None
        count = 0 if kept is None else kept.counters.get("artifacts", 0)
        # What is purged has no home to ask: how much it was is noted in a home of its own, before anything is gone.
        noted = await self._unit.note(f"{KIND}/{id}", operation, mark, removed=count, there=int(kept is not None))
        gone = await self._removal.remove(id) if kept is not None and noted["there"] else None
        return 0 if gone is None and operation is None else noted["removed"]

    # -- steps -----------------------------------------------------------------------------------------------------

    async def _changed(self, scope: str | int | None, name: str, change: Any, operation: str | None, mark: str) -> str:
        """Change the context of a name by what a rule makes of it; its id."""
        place, label = rules.check_scope(scope), rules.check_name(name)

        async def step() -> str | Refusal:
            session = await self._reader.named(place, label)
            answer = await self._unit.attempt(place, *change(session), key=operation, fingerprint=mark)
            return self._or_again(answer, session.id)

        async def again(asked: Answer) -> str:
            return asked.moved[0].id

        return await self._unit.answered(place, operation, mark, lambda: perform(step, KIND), again, KIND)

    def _or_again(self, answer: Answer, id: str) -> str | Refusal:
        """The id; or, since a name was moved, ended or deleted meanwhile, another try that finds out what is there now."""
        if answer.refusal is None:
            return answer.moved[0].id if answer.replayed else id
        return answer.refusal if answer.refusal.reason == "key" else _AGAIN

    async def _performed(self, step: Callable[[], Awaitable[str | Refusal]]) -> Context:
        return await self._shown(await perform(step, KIND))

    async def _moved(self, asked: Answer) -> Context:
        """What an operation id has made or changed."""
        return await self._shown(asked.moved[0].id)

    async def _shown(self, id: str) -> Context:
        return await self._reader.shown(await self._reader.session(id))

    async def _shown_named(self, asked: Answer, scope: str, name: str) -> Context:
        """What an operation id has changed; the context of the name where it had nothing to change."""
        if asked.moved:
            return await self._shown(asked.moved[0].id)
        return await self._reader.shown(await self._reader.named(scope, name))
