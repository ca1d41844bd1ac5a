"""``sojourn doctor``: what is wrong with a store, and the fix of each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from sojourn.cli.advice import advise
from sojourn.cli.call import Call
from sojourn.cli.exits import FAILED, OK
from sojourn.cli.parser import Parser
from sojourn.cli.peek import is_store
from sojourn.cli.store import policy_of, sweep_all
from sojourn.cli.text import many, moment, size
from sojourn.errors import CorruptError, EngineError, SchemaError

if TYPE_CHECKING:
    from sojourn.sync.store import Store

Status: TypeAlias = Literal["ok", "warning", "problem"]

_WAL_RESET_FIXED: Final = (3, 51, 3)
_BACKLOG: Final = 1_000
"""Commits that wait for the search index before it is worth a word: they are searched too, one by one."""

_CLOCK_SLACK: Final = timedelta(minutes=2)
_SERVER_SLACK: Final = timedelta(seconds=2)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FULL_SYNC: Final = 2
_STYLES: Final = {"ok": "green", "warning": "yellow", "problem": "red"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Status
    text: str
    fix: str = ""
    fixed: bool = False


def fill(_: str, parser: Parser) -> None:
    """Add what the command takes."""
    parser.description = (
        "Look at the store from all sides and name each problem with its fix. It changes nothing without --fix, and exits\n"
        "with 1 when there is a problem (a warning is none). On a large store, the integrity check takes a while."
    )
    parser.examples("sojourn doctor\nsojourn doctor --fix --store sqlite:///app.db")
    parser.add_argument(
        "--fix", action="store_true", help="do what can be done safely: file modes, schema, folds that are due, search index"
    )
    parser.set_defaults(run=doctor)


def doctor(call: Call) -> int:
    """``doctor``."""
    call.mending = True
    path = call.path
    if not call.exists:
        call.store()  # raises, and says what to do
    fix = call.arguments.fix and not call.dry_run
    found = [*(_files(call, path, fix=fix) if path is not None and is_store(path) else ())]
    store, opened = _opened(call, fix=fix)
    found.append(opened)
    if store is not None:
        found.extend(_Looks(call, store, fix=fix).all())
    problems = sum(finding.status == "problem" and not finding.fixed for finding in found)
    warnings = sum(finding.status == "warning" and not finding.fixed for finding in found)
    document = {"store": call.place, "problems": problems, "warnings": warnings, "checks": [asdict(one) for one in found]}

    def human() -> None:
        for finding in found:
            _show(call, finding)
        call.output.line()
        call.output.line(f"{call.place}: {_verdict(problems, warnings)}")

    call.output.answer(document, [], human)
    if any("doctor --fix" in finding.fix and not finding.fixed for finding in found):
        call.output.note(f"To fix what can be fixed: {call.command('doctor --fix')}")
    return FAILED if problems else OK


def _verdict(problems: int, warnings: int) -> str:
    if not problems and not warnings:
        return "all is well."
    return " and ".join(many(count, what) for count, what in ((problems, "problem"), (warnings, "warning")) if count) + "."


def _show(call: Call, finding: Finding) -> None:
    output = call.output
    status = "fixed" if finding.fixed else finding.status
    style = "green" if finding.fixed else _STYLES[finding.status]
    output.write(f"{output.paint(f'{status:<8}', style)}{output.paint(f'{finding.name:<14}', 'bold')}")
    output.line(finding.text)
    if finding.fix and not finding.fixed:
        output.line(f"{'':<22}fix: {finding.fix}")


# -- the looks -------------------------------------------------------------------------------------------------------


def _files(call: Call, path: Path, *, fix: bool) -> Iterator[Finding]:
    """The store's files, and the directory when it is the store's own, are nobody else's business."""
    own = [path.with_name(path.name + ending) for ending in ("", "-wal", "-shm")]
    places = [(place, 0o077, 0o600) for place in own]
    if path.absolute().parent.name in (".sojourn", "sojourn"):
        places.append((path.absolute().parent, 0o022, 0o700))
    open_to = [(place, mode) for place, mask, mode in places if place.exists() and place.stat().st_mode & mask]
    if not open_to:
        yield Finding("file modes", "ok", "only you can read and write the store's files.")
        return
    names = ", ".join(f"{place.name} ({place.stat().st_mode & 0o777:o})" for place, _ in open_to)
    text = f"other users of this system may read or write {names}."
    finding = Finding("file modes", "problem", text, call.command("doctor --fix"))
    if fix:
        for place, mode in open_to:
            os.chmod(place, mode)
        finding = replace(finding, text=f"other users could read or write {names}; now only you can.", fixed=True)
    yield finding


def _opened(call: Call, *, fix: bool) -> tuple[Store | None, Finding]:
    """Opening a store looks at its file system, its schema and whether it can be read at all."""
    path = call.path
    if path is not None and not path.is_file():
        return None, Finding(
            "opening", "problem", f"{path} is not a file, so it is no store.", "name the store's file with --store"
        )
    try:
        store = call.store(policy=policy_of(None))
    except SchemaError as error:
        if path is not None and not is_store(path):
            fix_it = f"name another file with --store; if it is to become a store: {call.command('migrate')}"
            return None, Finding("schema", "problem", f"{error.message} It may be another program's.", fix_it)
        if not fix or "Upgrade" in error.hint:
            return None, Finding("schema", "problem", error.message, advise(call, error).hint)
        store = call.store(write=True, policy=policy_of(None))
        return store, Finding("schema", "problem", f"{error.message} Brought forward.", fixed=True)
    except CorruptError as error:
        fix_it = f"check the path, or {_restore(call)}"
        return None, Finding("opening", "problem", error.message, fix_it)
    except EngineError as error:
        return None, Finding("opening", "problem", error.message, advise(call, error).hint)
    return store, Finding("schema", "ok", "the one that this release needs.")


def _restore(call: Call) -> str:
    return f"put a backup in its place: {call.command('restore BACKUP')}"


class _Looks:
    """Everything that is looked at in a store that could be opened."""

    def __init__(self, call: Call, store: Store, *, fix: bool) -> None:
        self._call = call
        self._store = store
        self._fix = fix
        self._facts: dict[str, Any] = {}

    def all(self) -> Iterator[Finding]:
        """One after the other; what cannot be looked at is a problem as well."""
        for name, look in (
            ("engine", self._engine),
            ("integrity", self._integrity),
            ("folds", self._folds),
            ("search index", self._index),
            ("clock", self._clock),
        ):
            try:
                yield from look()
            except EngineError as error:
                yield Finding(name, "problem", f"it cannot be looked at: {error.message}", _restore(self._call))

    def _engine(self) -> Iterator[Finding]:
        self._facts = self._store.facts()
        match self._facts.get("engine"):
            case "sqlite":
                yield from self._sqlite()
            case "postgres":
                yield from _postgres(self._facts)
            case "redis":
                from sojourn.cli.doctor_redis import look

                yield from (Finding(*found) for found in look(self._facts))
            case _:  # memory, or an engine of somebody else's: nothing is known of its settings
                return

    def _sqlite(self) -> Iterator[Finding]:
        facts = self._facts
        version = str(facts["sqlite_version"])
        if tuple(int(part) for part in version.split(".")[:3]) < _WAL_RESET_FIXED:
            yield Finding(
                "sqlite",
                "warning",
                f"version {version} has the WAL-reset bug: two programs that write and checkpoint in the same instant can, "
                "very rarely, damage the file.",
                "run Python with SQLite 3.51.3 or newer, and keep backups until then",
            )
        else:
            yield Finding("sqlite", "ok", f"version {version}.")
        yield _durability(self._call, facts)
        yield Finding(
            "size",
            "ok",
            f"{size(facts['bytes'])} and {size(facts['wal_bytes'])} of log; {many(facts['sessions'], 'session')}, "
            f"{many(facts['entries'], 'entry', 'entries')}, {many(facts['events'], 'event')}.",
        )

    def _integrity(self) -> Iterator[Finding]:
        if self._facts.get("engine") == "redis":
            yield Finding("integrity", "ok", "the server checks its files when it loads them; nothing else is looked at here.")
            return
        damage = self._store.check()
        if not damage:
            yield Finding("integrity", "ok", "nothing is damaged.")
            return
        text = f"the store is damaged: {'; '.join(damage[:3])}{' ...' if len(damage) > 3 else ''}."
        yield Finding("integrity", "problem", text, _restore(self._call))

    def _folds(self) -> Iterator[Finding]:
        due = self._store.sweep(100_000, dry_run=True)["due"]
        if not due:
            yield Finding("folds", "ok", "none is due.")
            return
        text = f"{many(due, 'session')} {'is' if due == 1 else 'are'} due for folding or another deadline."
        yield self._swept(Finding("folds", "warning", text, self._runner()))

    def _index(self) -> Iterator[Finding]:
        if not self._store.capabilities.search:
            yield Finding("search index", "ok", "none: this engine does not search.")
            return
        waiting = int(self._facts.get("unindexed", 0))
        if waiting <= _BACKLOG:
            text = f"{many(waiting, 'commit')} waiting, which is fine." if waiting else "up to date."
            yield Finding("search index", "ok", text)
            return
        text = f"{many(waiting, 'commit')} wait to be indexed; until then searching them is slow."
        yield self._swept(Finding("search index", "warning", text, self._runner()))

    def _runner(self) -> str:
        return f"run a runner beside the application, or: {self._call.command('doctor --fix')}"

    def _swept(self, finding: Finding) -> Finding:
        """Do what is due, but archive nothing, whatever its age: the application may have an age of its own."""
        if not self._fix:
            return finding
        sweep_all(self._call, self._store)
        return replace(finding, fixed=True)

    def _clock(self) -> Iterator[Finding]:
        server = self._facts.get("clock")
        if server is not None:
            yield _server_clock(timedelta(microseconds=server) - (self._call.now - _EPOCH))
            return
        newest = next(iter(self._store.sessions.list("state:all", limit=1)), None)
        if newest is None or newest.last_activity_at <= self._call.now + _CLOCK_SLACK:
            yield Finding("clock", "ok", f"it is {moment(self._call.now)}.")
            return
        yield Finding(
            "clock",
            "problem",
            f"it is {moment(self._call.now)} here, but the store has seen {moment(newest.last_activity_at)}.",
            "set this system's clock; times in the store never go back",
        )


def _server_clock(off: timedelta) -> Finding:
    """Nothing is decided by this system's clock where a server has one; but ids are made by it, and sort by it."""
    if abs(off) <= _SERVER_SLACK:
        return Finding("clock", "ok", "this system's agrees with the server's, which decides.")
    way = "behind" if off > timedelta(0) else "ahead of"
    text = f"this system's is {abs(off).total_seconds():,.0f} s {way} the server's, which decides; new ids sort by this one."
    return Finding("clock", "warning", text, "set this system's clock")


def _postgres(facts: dict[str, Any]) -> Iterator[Finding]:
    yield Finding("postgres", "ok", f"version {facts['server_version']}.")
    if facts["in_recovery"]:
        yield Finding("primary", "problem", "this server is a standby: it can be read only.", "name the primary in --store")
    lost = [name for name in ("fsync", "full_page_writes") if facts[name] == "off"]
    if lost:
        text = f"{' and '.join(lost)} is off: a crash of the server can lose everything."
        yield Finding("durability", "problem", text, "set it to on in postgresql.conf")
    elif facts["synchronous_commit"] == "off":
        text = "synchronous_commit is off: a crash of the server may lose the last commits."
        yield Finding("durability", "warning", text, "set it to on, for the server or for this user")
    elif facts["synchronous_standby_names"] and facts["synchronous_commit"] != "local":
        text = "every commit is on the server's disk, and a synchronous standby has it, before it is acknowledged."
        yield Finding("durability", "ok", text)
    else:
        yield Finding("durability", "ok", "every commit is on the server's disk before it is acknowledged.")
    yield Finding(
        "size",
        "ok",
        f"{size(facts['bytes'])}; {many(facts['sessions'], 'session')}, {many(facts['entries'], 'entry', 'entries')}, "
        f"{many(facts['events'], 'event')}.",
    )


def _durability(call: Call, facts: dict[str, Any]) -> Finding:
    if facts["journal_mode"] != "wal":
        return Finding(
            "durability",
            "warning",
            f"the journal mode is {facts['journal_mode']}, not wal: readers and writers wait for each other.",
            f"it is set when the store is next opened to be written, for example by: {call.command('migrate')}",
        )
    if facts["synchronous"] < _FULL_SYNC:
        return Finding(
            "durability", "warning", "a power cut may lose the last commits.", "open the store with durability='full'"
        )
    return Finding("durability", "ok", "write-ahead log, every commit is on disk before it is acknowledged.")
