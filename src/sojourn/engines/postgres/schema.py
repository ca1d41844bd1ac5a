"""The schema's version and how a store is brought forward to it, in place, once across processes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sojourn.engines.postgres.driver import Driver
from sojourn.engines.postgres.names import CALLED, Names
from sojourn.engines.postgres.statements import SQL
from sojourn.engines.statements import read_script
from sojourn.errors import CorruptError, SchemaError, UnsupportedError

VERSION: Final = 1
OLDEST_SERVER: Final = 14

SERVES: Final = 1
"""The oldest release's schema that may still write to a store of this version."""

MIGRATIONS: Mapping[int, str] = MappingProxyType({})
"""``MIGRATIONS[n]`` is the script that turns a store of version n - 1 into one of version n."""

_ONCE: Final = """do $once$
declare
  found integer := 0;
begin
  perform pg_advisory_xact_lock(hashtextextended('sojourn migrate', 7350));
{make}  if exists (
    select from pg_class where relname = '{prefix}meta' and relnamespace = {schema}::regnamespace
  ) then
    execute 'select value::integer from {meta} where name = ''schema''' into found;
  end if;
  if found = {found} then
    execute $script$
{script}
$script$;
  end if;
end $once$;
"""


def script(found: int, names: Names) -> str:
    """What must run on a store of version ``found`` (0: empty) to bring it to `VERSION`, in one transaction."""
    if found == 0:
        steps = [read_script("sojourn.engines.postgres", name) for name in ("schema.sql", *CALLED)]
    else:
        steps = [MIGRATIONS[number] for number in range(found + 1, VERSION + 1)]
    marks = (
        f"insert into sojourn_meta (name, value) values ('schema', '{VERSION}'), ('serves', '{SERVES}') "  # noqa: S608
        "on conflict (name) do update set value = excluded.value;\n"
    )
    return names.text("\n".join([*steps, marks]))


def printed(found: int, names: Names) -> str:
    """The same for somebody to read, and to run with psql."""
    schema = names.schema
    make = "" if schema is None else f"create schema if not exists {schema};\n"
    return f"begin;\n{make}{script(found, names).rstrip()}\ncommit;\n"


def once(found: int, names: Names) -> str:
    """The same as one statement that does nothing where somebody else did it meanwhile."""
    schema = names.schema
    make = ""
    if schema is not None:
        make = f"  if to_regnamespace('{schema}') is null then\n    create schema {schema};\n  end if;\n"
    return _ONCE.format(
        found=found,
        script=script(found, names),
        make=make,
        prefix=names.prefix,
        schema="current_schema()" if schema is None else f"'{schema}'",
        meta=names.text("sojourn_meta"),
    )


async def ensure(driver: Driver, *, migrate: bool) -> None:
    """Check the schema, and bring it forward when ``migrate``; once, whoever else opens the store at this moment."""
    found = await version_of(driver)
    if found == VERSION:
        return
    if found > VERSION:
        await _check_newer(driver, found)
        return
    if not migrate:
        what = "has no Sojourn tables yet" if found == 0 else f"has schema {found}, this release needs {VERSION}"
        raise SchemaError(f"{driver.where} {what}.", hint="Run 'sojourn migrate', or open it with migrate=True.")
    await driver.script(once(found, driver.settings.names))


async def version_of(driver: Driver) -> int:
    """The schema version of a store: 0 when Sojourn has no tables in it yet."""
    there, encoding, server, isolation = (await driver.fetch(SQL["schema"]))[0]
    if server < OLDEST_SERVER * 10_000:
        raise UnsupportedError(f"{driver.where} is PostgreSQL {server // 10_000}; Sojourn needs {OLDEST_SERVER} or newer.")
    if encoding != "UTF8":
        raise UnsupportedError(f"{driver.where} has the encoding {encoding}; Sojourn needs UTF8.")
    if isolation != "read committed":
        raise UnsupportedError(
            f"{driver.where} has the default isolation level {isolation!r}; Sojourn needs 'read committed'.",
            hint="Add ?options=-cdefault_transaction_isolation%3Dread%5C%20committed to the URL, or set it for this user.",
        )
    if not there:
        return 0
    rows = await driver.fetch(SQL["meta"], ("schema",))
    if not rows or not str(rows[0][0]).isdigit():
        raise CorruptError(f"{driver.where} does not say which schema it has.", hint="Restore a backup.")
    return int(rows[0][0])


async def _check_newer(driver: Driver, found: int) -> None:
    rows = await driver.fetch(SQL["meta"], ("serves",))
    if not rows or not str(rows[0][0]).isdigit() or int(rows[0][0]) > VERSION:
        raise SchemaError(f"{driver.where} has schema {found}; this release knows up to {VERSION}.", hint="Upgrade Sojourn.")
