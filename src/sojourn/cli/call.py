"""One command at work: its arguments, its output, and the store it looks at."""

from __future__ import annotations

import argparse
import os
import shlex
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote

from sojourn.cli.exits import AmbiguousError, MissingStoreError, UsageError
from sojourn.cli.options import Options
from sojourn.cli.output import Output
from sojourn.errors import NotFoundError, SchemaError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sojourn.core.query import Page
    from sojourn.kinds.conversations.model import ConversationPolicy
    from sojourn.kinds.logins.model import LoginPolicy
    from sojourn.sessions import SessionInfo
    from sojourn.sync.store import Store

_LEAST = 4
_ALPHABET = frozenset("0123456789ABCDEFGHJKMNPQRSTVWXYZ")
_LIKE_DIGITS = str.maketrans("ILO", "110")
_SHOWN_CANDIDATES = 10
_PAGE = 50
_WHOLE = 26

Item = TypeVar("Item")


class Call:
    """What a command is given. The store is opened when it is asked for, and closed at the end."""

    def __init__(self, arguments: argparse.Namespace, options: Options, output: Output) -> None:
        self.arguments = arguments
        self.options = options
        self.output = output
        self.mending = False
        """Whether this command looks after what is wrong with a project's directory, and so must not be refused for it."""
        self._open: list[Store] = []

    def __enter__(self) -> Call:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for store in self._open:
            store.close()

    @property
    def dry_run(self) -> bool:
        """Whether to say only what would be done."""
        return self.options.dry_run

    @property
    def now(self) -> datetime:
        """The time that ages are shown against."""
        return datetime.now(UTC)

    def pages(self, fetch: Callable[[int, str | None], Page[Item]]) -> tuple[list[Item], str | None]:
        """A page of a list, and the cursor behind it; without --limit, a program that takes lines gets all of it."""
        limit, after = self.arguments.limit, self.arguments.after
        whole = limit is None and self.output.for_programs
        page = fetch(1000 if whole else limit or _PAGE, after)
        found = list(page.items)
        while whole and page.next is not None:
            page = fetch(1000, page.next)
            found.extend(page.items)
        return found, page.next

    def more(self, cursor: str | None) -> None:
        """Say how to go on behind a page."""
        if cursor is not None and self.output.mode != "json":  # whose document says it
            self.output.remark(f"There are more: repeat the command with --after {cursor}")

    # -- what is to be typed ---------------------------------------------------------------------------------------

    def command(self, words: str) -> str:
        """A command as it is typed here: with the store and the tenant that this one was given."""
        return f"sojourn {words}{self._where}"

    @property
    def _where(self) -> str:
        from sojourn.engines.locate import shown_url

        given = self.options.store or os.environ.get("SOJOURN_URL", "").strip()
        secret = given != shown_url(given)  # from the environment it comes by itself; it is not printed
        store = f" --store {shlex.quote(shown_url(given))}" if given and (self.options.store or not secret) else ""
        tenant = "" if self.options.tenant == "default" else f" --tenant {shlex.quote(self.options.tenant)}"
        return store + tenant

    # -- the store -------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The store's URL: from ``--store``, the environment, the project, or the user's own."""
        name, given = "--store", self.options.store
        if given is None:
            name, given = "SOJOURN_URL", os.environ.get("SOJOURN_URL")
        if given is not None and not given.strip():
            raise UsageError(
                f"{name} is empty.", hint="Name a store, such as sqlite:///app.db, or leave it away to use your own."
            )
        if given is not None:
            return as_url(given)
        from sojourn.project.root import default_url

        return default_url(mending=self.mending)

    @property
    def path(self) -> Path | None:
        """The file of the store; None where it is not a file."""
        url = self.url
        if not url.lower().startswith("sqlite:"):
            return None
        from sojourn.engines.locate import sqlite_path

        return Path(sqlite_path(url)[0])

    @property
    def place(self) -> str:
        """Where the store is, as people are told."""
        from sojourn.engines.locate import shown_url

        path = self.path
        return shown_url(self.url) if path is None else str(path)

    @property
    def first_step(self) -> str:
        """The command that begins a conversation here, as it is typed."""
        return self.command('conversation append --user alice user "Hello"')

    @property
    def exists(self) -> bool:
        """Whether there is a store to look at; an empty file is none."""
        path = self.path
        return path is None or (path.exists() and path.stat().st_size > 0)

    def store(
        self,
        *,
        write: bool = False,
        create: bool = False,
        adopt: bool = False,
        policy: ConversationPolicy | None = None,
        logins: LoginPolicy | None = None,
        directory: Literal[False] | None = None,
    ) -> Store:
        """The store. Reading neither makes nor changes one; only ``create`` makes one that is missing.

        Another program's database becomes one only by ``adopt`` or, where a store would be made, by a yes.
        """
        if not create and not self.exists:
            raise MissingStoreError(
                f"there is no store at {self.place}.", hint=f"--store names another one. To begin one: {self.first_step}"
            )
        chosen = policy or (None if write or create else _looking())
        migrate = self.may_migrate(create=create, adopt=adopt) if write or create else False
        return self._opened(self.url, migrate=migrate, conversations=chosen, logins=logins, directory=directory)

    def _opened(self, url: str, **how: Any) -> Store:
        """A store that is closed when the command ends."""
        from sojourn.sync.opening import open as open_store

        if url.startswith("postgres"):
            import logging

            logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())  # what it would print, our errors tell
        store = open_store(url, tenant=self.options.tenant, **how)
        self._open.append(store)
        return store

    def may_migrate(self, *, create: bool, adopt: bool = False) -> bool:
        """Whether tables may be made or brought up to date; asks first where the database is another program's."""
        from sojourn.cli.peek import foreign_tables

        path = self.path
        tables = "" if path is None or adopt else foreign_tables(path)
        if tables and create:
            self.output.confirm(
                f"{path} is no Sojourn store but another program's database (tables: {tables}). Add Sojourn's tables to it?",
                yes=self.options.yes,
                advice=f"Name another file, or add --yes, or first: {self.command('migrate')}",
            )
        return create or not tables

    def store_if_any(self, first: str | None = None) -> Store | None:
        """The store, to be read; None (and a word about it) when there is none yet, since then there is nothing in it.

        ``first``: the words of the command that would begin one, where it is not a conversation.
        """
        if self.exists:
            return self.store()
        step = self.first_step if first is None else self.command(first)
        self.output.note(f"There is no store at {self.place} yet. To begin one: {step}")
        return None

    def store_at(self, url: str, *, create: bool = False) -> Store:
        """A store by its URL, beside the one that the options name; only ``create`` makes one that is missing."""
        from sojourn.engines.locate import shown_url, sqlite_path

        if not create and url.startswith("sqlite:") and not Path(sqlite_path(url)[0]).is_file():
            raise MissingStoreError(f"there is no store at {shown_url(url)}.", hint="Name one that is there.")
        return self._opened(url, migrate=create, conversations=_looking())

    def store_if_there(self, url: str) -> Store | None:
        """A store by its URL, to be read; None where there is none yet."""
        try:
            return self.store_at(url)
        except (MissingStoreError, SchemaError):
            return None

    def scratch(self) -> Store:
        """An empty store in memory, for what is only tried."""
        return self._opened("memory:")

    # -- ids -------------------------------------------------------------------------------------------------------

    def find(self, store: Store, given: str, kind: str = "") -> str:
        """The whole id of what a person named by its end; whole ids are taken as they are."""
        from sojourn.core.ids import LENGTH

        what = kind or "session"
        text = given.strip().upper().translate(_LIKE_DIGITS)
        if not _LEAST <= len(text) <= LENGTH or not _ALPHABET.issuperset(text):
            raise UsageError(
                f"{given!r} is not an id.",
                hint=f"An id has {LENGTH} letters and digits; its last {_LEAST} or more will do. "
                f"See: {self.command(f'{what} list')}",
            )
        if len(text) == LENGTH:
            return text
        found = self._ending(store, text, f"kind:{kind} state:all" if kind else "state:all")
        if not found:
            raise self.nothing(what, given)
        if len(found) > 1:
            raise _ambiguous(text, found, what)
        return found[0].id

    def nothing(self, what: str, given: str) -> NotFoundError:
        """There is no such session: what was typed, and where to look."""
        whole = len(given.strip()) >= _WHOLE
        text = f"there is no {what} {given}." if whole else f"there is no {what} whose id ends in {given}."
        every = "list state:all" if what == "session" else "list --all"
        return NotFoundError(text, hint=f"See: {self.command(f'{what} {every}')}")

    def _ending(self, store: Store, text: str, filter: str) -> list[SessionInfo]:
        found: list[SessionInfo] = []
        cursor: str | None = None
        while True:
            page = store.sessions.list(filter, limit=1000, after=cursor)
            found.extend(session for session in page if session.id.endswith(text))
            cursor = page.next
            if cursor is None:
                return found


def _looking() -> ConversationPolicy:
    """A policy under which a read folds nothing, though a fold may be due: only the built-in summariser is used by reads."""
    from sojourn.kinds.conversations.model import ConversationPolicy

    return ConversationPolicy(summarise=_none)


def _none(messages: object) -> str:
    raise AssertionError(f"a command that only looks was about to fold {messages!r}")


def _ambiguous(text: str, found: list[SessionInfo], what: str) -> AmbiguousError:
    length = len(text) + 1
    while len({session.id[-length:] for session in found}) < len(found):
        length += 1
    length = max(8, length)
    shown = [f"{session.id[-length:]}  {session.kind} of {session.owner or 'nobody'}" for session in found]
    if len(shown) > _SHOWN_CANDIDATES:
        shown = [*shown[:_SHOWN_CANDIDATES], f"and {len(found) - _SHOWN_CANDIDATES} more"]
    lines = "\n".join(shown)
    return AmbiguousError(
        f"{len(found)} {what}s have an id that ends in {text}.",
        hint=f"Write more of it:\n{lines}",
        candidates=[session.id for session in found],
    )


def as_url(given: str) -> str:
    """A store as it was named: a URL, or plainly a path."""
    if ":" in given.partition("/")[0] or given.startswith(":"):
        return given
    if "/" in given or given.endswith((".db", ".sqlite", ".sqlite3")):
        return "sqlite:///" + quote(given)
    return given
