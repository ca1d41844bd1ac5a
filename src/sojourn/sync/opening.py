"""Opening a store for blocking code."""

from __future__ import annotations

from typing import Literal

from sojourn.engines.locate import Durability, EngineOptions
from sojourn.kinds.contexts.model import ContextPolicy
from sojourn.kinds.conversations.model import ConversationPolicy
from sojourn.kinds.games.model import GamePolicy
from sojourn.kinds.logins.model import DirectoryLike, LoginPolicy
from sojourn.kinds.workspaces.model import WorkspacePolicy
from sojourn.shell.bridge import run_sync
from sojourn.shell.system import UserClock, UserIds
from sojourn.store import make_async_store
from sojourn.sync.store import Store


def open(  # the name is the package's: sojourn.open
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
) -> Store:
    """Open a store for blocking code; a context manager, usable from any thread and after a fork.

    ``url``: ``memory:``, ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` (``?mode=ro`` reads only), or
    ``postgresql://user@host/database``. ``engine`` has settings that a URL has not: the time limit. Without a URL: the store
    of the project found upwards (``.sojourn/sojourn.db``), else the one in the user's data directory.

    ``tenant``: whose sessions; nothing reaches across. ``migrate``: make the schema or bring it forward; False refuses an
    older one (`SchemaError`). ``durability``: ``full``, what was acknowledged survives a power cut; ``normal``, it survives
    the death of the process, a power cut may lose the last commits but corrupts nothing. ``clock`` gives an aware UTC
    datetime and ``ids`` an id, for tests. ``directory``: an object that knows the application's users, characters and worlds
    (`DirectoryLike`), False for any user id and no characters; without it ``store.directory`` knows them.

    Raises `UnavailableError` (cannot be reached or created), `CorruptError` (not a store), `SchemaError`,
    `InvalidValueError` (a URL that cannot be read).
    """
    making = make_async_store(
        url,
        blocking=True,
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
    return Store(run_sync(making))
