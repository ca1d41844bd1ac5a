"""The schema's version and how a store is brought forward to it, in place, under SQLite's own write lock."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from types import MappingProxyType

from sojourn.engines.sqlite.connections import Connections
from sojourn.engines.sqlite.faults import translate
from sojourn.engines.statements import read_script
from sojourn.errors import CorruptError, SchemaError

VERSION = 2

_LEASES_BY_HOME = """
create table sojourn_lease_of_home (
  tenant text not null,
  home text not null,
  name text not null,
  holder text,
  fence integer not null,
  expires_at integer not null,
  primary key (tenant, home, name)
) without rowid;
insert into sojourn_lease_of_home (tenant, home, name, holder, fence, expires_at)
select tenant, home, name, holder, fence, expires_at from sojourn_lease;
drop table sojourn_lease;
alter table sojourn_lease_of_home rename to sojourn_lease;
"""

MIGRATIONS: Mapping[int, str] = MappingProxyType({2: _LEASES_BY_HOME})
"""``MIGRATIONS[n]`` is the script that turns a store of version n - 1 into one of version n."""

SERVES = 1
"""The oldest release's schema that may still write to a store of this version."""

_MARK = "insert into sojourn_meta (name, value) values ('{name}', '{value}') on conflict do update set value = excluded.value;"


def script(found: int) -> str:
    """What must run on a store of version ``found`` (0: empty) to bring it to `VERSION`."""
    if found == 0:
        steps = [read_script("sojourn.engines.sqlite", "schema.sql")]
    else:
        steps = [MIGRATIONS[number] for number in range(found + 1, VERSION + 1)]
    marks = [_MARK.format(name=name, value=value) for name, value in (("schema", VERSION), ("serves", SERVES))]
    return "\n".join([*steps, *marks])


def version_of(connection: sqlite3.Connection) -> int:
    """The schema version of a store: 0 when Sojourn has no tables in it yet."""
    if connection.execute("select 1 from sqlite_master where type = 'table' and name = 'sojourn_meta'").fetchone() is None:
        return 0
    row = connection.execute("select value from sojourn_meta where name = 'schema'").fetchone()
    if row is None or not str(row[0]).isdigit():
        raise CorruptError("the store does not say which schema it has.", hint="Restore a backup.")
    return int(row[0])


def ensure(connections: Connections, connection: sqlite3.Connection, *, migrate: bool) -> None:
    """Check the schema, and bring it forward when ``migrate``; once, whoever else opens the store at this moment."""
    try:
        found = version_of(connection)
        if found == VERSION:
            return
        if found > VERSION:
            _check_newer(connection, found, connections.path)
            return
        if not migrate or connections.read_only:
            what = "has no Sojourn tables yet" if found == 0 else f"has schema {found}, this release needs {VERSION}"
            raise SchemaError(f"{connections.path} {what}.", hint="Run 'sojourn migrate', or open it with migrate=True.")
        connections.begin(connection)
        try:
            found = version_of(connection)
            if found < VERSION:
                for statement in _split(script(found)):
                    connection.execute(statement)
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            raise
    except sqlite3.Error as error:
        raise translate(error, connections.path) from error


def _check_newer(connection: sqlite3.Connection, found: int, path: str) -> None:
    row = connection.execute("select value from sojourn_meta where name = 'serves'").fetchone()
    if row is None or not str(row[0]).isdigit() or int(row[0]) > VERSION:
        raise SchemaError(f"{path} has schema {found}; this release knows up to {VERSION}.", hint="Upgrade Sojourn.")


def _split(text: str) -> list[str]:
    """The statements of a script (``executescript`` would commit behind our back)."""
    found, rest = [], ""
    for line in text.splitlines():
        if line.startswith("--"):
            continue
        rest += line + "\n"
        if sqlite3.complete_statement(rest):
            found.append(rest.strip())
            rest = ""
    return [statement for statement in found if statement]
