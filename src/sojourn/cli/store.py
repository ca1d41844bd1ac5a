"""Commands for a store as a whole: ``sweep``, ``erase``, ``migrate``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from sojourn.cli.call import Call
from sojourn.cli.options import duration
from sojourn.cli.parser import Parser
from sojourn.cli.text import many, one_line
from sojourn.errors import UnsupportedError

if TYPE_CHECKING:
    from sojourn.kinds.conversations.model import ConversationPolicy
    from sojourn.sync.store import Store

_MOST_PASSES: Final = 100_000

_DONE: Final = {
    "due": "due for folding or another deadline",
    "folded": "folded",
    "fold_failed": "could not be folded: the summariser failed",
    "archived": "archived",
    "expired": "put away: nothing was done in them for hours",
    "deleted": "removed",
    "indexed": "made searchable by the index (commits)",
    "purged": "rows that nobody can see any more removed",
}


def fill(name: str, parser: Parser) -> None:
    """Add what the command takes."""
    _FILLS[name](parser)


def _fill_sweep(parser: Parser) -> None:
    parser.description = (
        "Do what is due: fold long conversations, bring the search index up to date, purge what was deleted, and with\n"
        "--max-age archive idle ones. Without --apply it only says what it would do. An application with a runner needs\n"
        "no sweep."
    )
    parser.examples("sojourn sweep\nsojourn sweep --apply\nsojourn sweep --max-age 7d --apply")
    parser.add_argument("--apply", action="store_true", help="do it")
    parser.add_argument(
        "--max-age", type=_age, default=None, metavar="AGE",
        help="also archive conversations without a message for so long: 24h, 7d, ... (default: never, because the\n"
        "application's own policy is not kept in the store)",
    )  # fmt: skip
    parser.set_defaults(run=sweep)


def _fill_erase(parser: Parser) -> None:
    parser.description = (
        "Remove one person from everything: the sessions they own with all messages, their links to channels, the search\n"
        "index and the events; what they wrote in sessions of others is emptied. Prints a receipt. It cannot be undone."
    )
    parser.examples("sojourn erase alice --dry-run\nsojourn erase alice --yes --json > receipt.json")
    parser.add_argument("principal", metavar="PRINCIPAL", help="the user's id, as the application knows them")
    parser.set_defaults(run=erase)


def _fill_migrate(parser: Parser) -> None:
    parser.description = (
        "Make a store that does not exist yet, or bring an older one's schema forward, in place and while it is in use.\n"
        "With --sql, print the statements for somebody else to run (a database administrator, with sqlite3 or psql)."
    )
    parser.examples("sojourn migrate --store sqlite:///app.db\nsojourn migrate --sql > schema.sql")
    parser.add_argument("--sql", action="store_true", help="print the statements, and run nothing")
    parser.set_defaults(run=migrate)


_FILLS: Final[dict[str, Callable[[Parser], None]]] = {
    "sweep": _fill_sweep,
    "erase": _fill_erase,
    "migrate": _fill_migrate,
}


def _age(text: str) -> timedelta | None:
    return None if text == "never" else duration(text)


def policy_of(age: timedelta | None) -> ConversationPolicy:
    """The default policy with another age; None lets nothing age."""
    from sojourn.kinds.conversations.model import ConversationPolicy

    return ConversationPolicy(max_age=age) if age is not None else ConversationPolicy(max_age=None, reset="never")


# -- sweep -----------------------------------------------------------------------------------------------------------


def sweep(call: Call) -> None:
    """``sweep``."""
    given = call.arguments
    apply = given.apply and not call.dry_run
    policy = policy_of(given.max_age)
    if not call.exists:
        call.store_if_any()
        counts: Counter[str] = Counter()
    else:
        store = call.store(write=apply, policy=policy)
        counts = sweep_all(call, store) if apply else _due(store)
    call.output.answer(
        {"applied": apply, "counts": dict(sorted(counts.items()))}, [], "\n".join(_sweep_lines(counts, apply=apply))
    )
    if counts and not apply:
        age = f" --max-age {int(given.max_age.total_seconds())}s" if given.max_age is not None else ""
        call.output.note(f"Nothing was changed. To do it: {call.command(f'sweep --apply{age}')}")


def _due(store: Store) -> Counter[str]:
    """What a sweep would do, the commits that wait for the search index among it."""
    counts = Counter(store.sweep(100_000, dry_run=True).counts)
    counts["indexed"] = int(store.facts().get("unindexed", 0))
    return +counts


def sweep_all(call: Call, store: Store) -> Counter[str]:
    """Pass after pass until nothing is due."""
    counts: Counter[str] = Counter()
    with call.output.progress("swept") as progress:
        for _ in range(_MOST_PASSES):
            swept = store.sweep()
            counts.update(swept.counts)
            progress(counts.total())
            if not swept.total:
                break
    return counts


def _sweep_lines(counts: Counter[str], *, apply: bool) -> list[str]:
    if not counts:
        return ["Nothing was due." if apply else "Nothing is due."]
    before = "" if apply else "would be "
    return [f"{count:>9,}  {'' if name == 'due' else before}{_DONE.get(name, name)}" for name, count in sorted(counts.items())]


# -- erase -----------------------------------------------------------------------------------------------------------


def erase(call: Call) -> None:
    """``erase``."""
    principal = call.arguments.principal
    store = call.store(write=not call.dry_run)
    owned = _conversations(store, principal)
    what = f"{many(owned, 'conversation')} of {principal}, and what {principal} wrote elsewhere"
    if call.dry_run:
        call.output.would(f"erase {what}", principal=principal, conversations=owned)
        return
    call.output.confirm(f"Erase {what}? It cannot be undone.", yes=call.options.yes)
    done = store.erase(principal)
    document = {
        "principal": done.principal,
        "tenant": store.tenant,
        "erased_at": call.now.isoformat(),
        "sessions": done.sessions,
        "entries": done.entries,
        "links": done.aliases,
        "leases": done.leases,
        "outside": list(done.outside),
    }
    lines = [
        f"Erased {done.principal} from {call.place} (tenant {store.tenant}) at {call.now:%Y-%m-%d %H:%M:%S} UTC:",
        f"{done.sessions:>9,}  sessions removed",
        f"{done.entries:>9,}  entries emptied or removed",
        f"{done.aliases:>9,}  links and names removed",
        f"{done.leases:>9,}  leases removed",
        f"Sojourn cannot reach: {', '.join(done.outside)}. See to these yourself.",
    ]
    call.output.answer(document, [], "\n".join(lines))
    if not (done.sessions or done.entries or done.aliases):
        call.output.note(f"Nothing of {principal} was stored here. Is this the right id, store and tenant?")


def _conversations(store: Store, principal: str) -> int:
    count, cursor = 0, None
    while True:
        page = store.conversations.list(user_id=principal, active_only=False, limit=1000, after=cursor)
        count, cursor = count + len(page), page.next
        if cursor is None:
            return count


# -- migrate ---------------------------------------------------------------------------------------------------------


def migrate(call: Call) -> None:
    """``migrate``."""
    schema, place = _schema_of(call), call.place
    found, version = schema.found(), schema.version
    if call.arguments.sql:
        if found >= version:
            call.output.note(f"{place} has schema {found} already; there is nothing to run.")
            return
        call.output.raw(f"-- {one_line(place)}: from schema {found} to {version}.\n{schema.script(found)}")
        return
    if call.dry_run:
        call.output.would(f"bring {place} from schema {found} to {version}" if found < version else "do nothing")
        return
    call.store(create=True, adopt=True)
    now = schema.found()
    document = {"path": place, "from": found, "to": now}
    if found == now:
        text = f"{place} has schema {now} already; there was nothing to do."
    elif found == 0:
        text = f"{place} is ready, with schema {now}."
    else:
        text = f"Brought {place} from schema {found} to {now}."
    call.output.answer(document, [], text)


@dataclass(frozen=True)
class _Schema:
    """The schema of an engine: the version it is to have, the one a store has, and what leads from there."""

    version: int
    found: Callable[[], int]
    script: Callable[[int], str]


def _schema_of(call: Call) -> _Schema:
    if call.path is not None:
        from sojourn.engines.sqlite import schema

        def script(found: int) -> str:
            return f"begin immediate;\n{schema.script(found).rstrip()}\ncommit;\n"

        return _Schema(schema.VERSION, lambda: schema_of(call), script)
    if call.url.partition(":")[0].lower() in ("postgres", "postgresql"):
        return _postgres_schema(call)
    if call.url.partition("://")[0].partition("+")[0].lower() in ("redis", "rediss", "valkey", "valkeys"):
        return _redis_schema(call)
    raise UnsupportedError(f"{call.place} has no schema to bring forward.", hint="Files and servers have one.")


def _redis_schema(call: Call) -> _Schema:
    from sojourn.engines.redis import opening
    from sojourn.engines.redis.address import read_url
    from sojourn.shell.bridge import run_sync

    place = read_url(call.url)
    script = f"-- Redis has no schema but one key: opening the store makes it ({place.prefix}:store).\n"
    return _Schema(opening.SCHEMA, lambda: run_sync(opening.schema_of(place)), lambda _: script)


def _postgres_schema(call: Call) -> _Schema:
    from sojourn.engines.locate import driver_of
    from sojourn.shell.bridge import run_sync

    postgres = driver_of(call.url)
    settings = postgres.settings.settings_of(call.url)
    return _Schema(
        postgres.schema.VERSION,
        lambda: run_sync(postgres.engine.PostgresEngine.schema_of(settings)),
        lambda found: postgres.schema.printed(found, settings.names),
    )


def schema_of(call: Call) -> int:
    """The schema version of the store's file; 0 where there is no store yet."""
    import sqlite3

    from sojourn.engines.sqlite.connections import Connections
    from sojourn.engines.sqlite.faults import translate
    from sojourn.engines.sqlite.schema import version_of

    path = call.path
    if path is None or not path.exists():
        return 0
    connections = Connections(str(path), durability="full", timeout=5.0, read_only=False)
    try:
        with closing(connections.connect()) as connection:
            return version_of(connection)
    except sqlite3.Error as error:
        raise translate(error, str(path)) from error
