"""Sojourn: durable sessions for Python.

`open` gives a store to blocking code, `aopen` to asynchronous code; the names on it are the same in both. Every name here
is imported when it is first used, so that a command that needs one does not pay for all.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sojourn.core.ids import new_id as new_id
    from sojourn.core.names import generate_name as generate_name
    from sojourn.core.names import validate_name as validate_name
    from sojourn.core.query import Page as Page
    from sojourn.core.words import approximate_tokens as approximate_tokens
    from sojourn.engines.contract import Capabilities as Capabilities
    from sojourn.engines.locate import EngineOptions as EngineOptions
    from sojourn.errors import AmbiguousError as AmbiguousError
    from sojourn.errors import BindingError as BindingError
    from sojourn.errors import ClosedError as ClosedError
    from sojourn.errors import ConflictError as ConflictError
    from sojourn.errors import CopiedProjectError as CopiedProjectError
    from sojourn.errors import CorruptError as CorruptError
    from sojourn.errors import EndedError as EndedError
    from sojourn.errors import EngineError as EngineError
    from sojourn.errors import ExpiredError as ExpiredError
    from sojourn.errors import FullError as FullError
    from sojourn.errors import GameFullError as GameFullError
    from sojourn.errors import InvalidCursorError as InvalidCursorError
    from sojourn.errors import InvalidNameError as InvalidNameError
    from sojourn.errors import InvalidValueError as InvalidValueError
    from sojourn.errors import KeyReusedError as KeyReusedError
    from sojourn.errors import LeaseHeldError as LeaseHeldError
    from sojourn.errors import LeaseLostError as LeaseLostError
    from sojourn.errors import LimitError as LimitError
    from sojourn.errors import NameTakenError as NameTakenError
    from sojourn.errors import NoProjectError as NoProjectError
    from sojourn.errors import NoSessionError as NoSessionError
    from sojourn.errors import NotFoundError as NotFoundError
    from sojourn.errors import OrphanPointerError as OrphanPointerError
    from sojourn.errors import OutcomeUnknownError as OutcomeUnknownError
    from sojourn.errors import PointerError as PointerError
    from sojourn.errors import PointerHeldError as PointerHeldError
    from sojourn.errors import ReadOnlyError as ReadOnlyError
    from sojourn.errors import RoleInUseError as RoleInUseError
    from sojourn.errors import SchemaError as SchemaError
    from sojourn.errors import SojournError as SojournError
    from sojourn.errors import StaleAuthenticationError as StaleAuthenticationError
    from sojourn.errors import SummariserError as SummariserError
    from sojourn.errors import UnavailableError as UnavailableError
    from sojourn.errors import UnknownRoleError as UnknownRoleError
    from sojourn.errors import UnsafeProjectError as UnsafeProjectError
    from sojourn.errors import UnsupportedError as UnsupportedError
    from sojourn.kinds.contexts.api import AsyncContexts as AsyncContexts
    from sojourn.kinds.contexts.model import Artifact as Artifact
    from sojourn.kinds.contexts.model import ArtifactHit as ArtifactHit
    from sojourn.kinds.contexts.model import Assembly as Assembly
    from sojourn.kinds.contexts.model import Context as Context
    from sojourn.kinds.contexts.model import ContextPolicy as ContextPolicy
    from sojourn.kinds.contexts.model import LeftOut as LeftOut
    from sojourn.kinds.conversations.api import AsyncConversations as AsyncConversations
    from sojourn.kinds.conversations.model import Checkpoint as Checkpoint
    from sojourn.kinds.conversations.model import Conversation as Conversation
    from sojourn.kinds.conversations.model import ConversationPolicy as ConversationPolicy
    from sojourn.kinds.conversations.model import Hit as Hit
    from sojourn.kinds.conversations.model import Identity as Identity
    from sojourn.kinds.conversations.model import Message as Message
    from sojourn.kinds.conversations.model import Messages as Messages
    from sojourn.kinds.conversations.summary import extractive as extractive
    from sojourn.kinds.games.api import AsyncGames as AsyncGames
    from sojourn.kinds.games.model import Game as Game
    from sojourn.kinds.games.model import GamePolicy as GamePolicy
    from sojourn.kinds.games.model import Narration as Narration
    from sojourn.kinds.games.model import Player as Player
    from sojourn.kinds.games.model import Submitted as Submitted
    from sojourn.kinds.games.model import Swapped as Swapped
    from sojourn.kinds.games.model import Turn as Turn
    from sojourn.kinds.games.model import Window as Window
    from sojourn.kinds.logins.api import AsyncLogins as AsyncLogins
    from sojourn.kinds.logins.directory import AsyncDirectory as AsyncDirectory
    from sojourn.kinds.logins.model import AuditEntry as AuditEntry
    from sojourn.kinds.logins.model import Character as Character
    from sojourn.kinds.logins.model import DirectoryLike as DirectoryLike
    from sojourn.kinds.logins.model import Login as Login
    from sojourn.kinds.logins.model import LoginPolicy as LoginPolicy
    from sojourn.kinds.logins.model import NewLogin as NewLogin
    from sojourn.kinds.logins.model import Presence as Presence
    from sojourn.kinds.logins.model import User as User
    from sojourn.kinds.logins.model import World as World
    from sojourn.kinds.logins.tokens import Token as Token
    from sojourn.kinds.workspaces.api import AsyncWorkspaces as AsyncWorkspaces
    from sojourn.kinds.workspaces.holding import Held as Held
    from sojourn.kinds.workspaces.model import Claim as Claim
    from sojourn.kinds.workspaces.model import Resolved as Resolved
    from sojourn.kinds.workspaces.model import Role as Role
    from sojourn.kinds.workspaces.model import Workspace as Workspace
    from sojourn.kinds.workspaces.model import WorkspacePolicy as WorkspacePolicy
    from sojourn.sessions import AsyncSessions as AsyncSessions
    from sojourn.sessions import SessionInfo as SessionInfo
    from sojourn.shell.feed import Event as Event
    from sojourn.shell.lease import Lease as Lease
    from sojourn.shell.sweeper import AsyncRunner as AsyncRunner
    from sojourn.shell.sweeper import Swept as Swept
    from sojourn.store import AsyncStore as AsyncStore
    from sojourn.store import Erased as Erased
    from sojourn.store import aopen as aopen
    from sojourn.sync.contexts import Contexts as Contexts
    from sojourn.sync.conversations import Conversations as Conversations
    from sojourn.sync.directory import Directory as Directory
    from sojourn.sync.games import Games as Games
    from sojourn.sync.logins import Logins as Logins
    from sojourn.sync.opening import open as open
    from sojourn.sync.runner import Runner as Runner
    from sojourn.sync.sessions import Sessions as Sessions
    from sojourn.sync.store import Store as Store
    from sojourn.sync.workspaces import Workspaces as Workspaces
    from sojourn.transfer import Loaded as Loaded

_HOMES = {
    "sojourn.core.ids": "new_id",
    "sojourn.core.names": "generate_name validate_name",
    "sojourn.core.query": "Page",
    "sojourn.core.words": "approximate_tokens",
    "sojourn.engines.contract": "Capabilities",
    "sojourn.engines.locate": "EngineOptions",
    "sojourn.errors": "AmbiguousError BindingError ClosedError ConflictError CopiedProjectError CorruptError "
    "EndedError EngineError ExpiredError FullError GameFullError InvalidCursorError InvalidNameError "
    "InvalidValueError KeyReusedError LeaseHeldError LeaseLostError LimitError NameTakenError NoProjectError NoSessionError "
    "NotFoundError OrphanPointerError OutcomeUnknownError PointerError PointerHeldError ReadOnlyError "
    "RoleInUseError SchemaError SojournError StaleAuthenticationError SummariserError UnavailableError "
    "UnknownRoleError UnsafeProjectError UnsupportedError",
    "sojourn.kinds.contexts.api": "AsyncContexts",
    "sojourn.kinds.contexts.model": "Artifact ArtifactHit Assembly Context ContextPolicy LeftOut",
    "sojourn.kinds.conversations.api": "AsyncConversations",
    "sojourn.kinds.conversations.model": "Checkpoint Conversation ConversationPolicy Hit Identity Message Messages",
    "sojourn.kinds.conversations.summary": "extractive",
    "sojourn.kinds.logins.api": "AsyncLogins",
    "sojourn.kinds.logins.directory": "AsyncDirectory",
    "sojourn.kinds.logins.model": "AuditEntry Character DirectoryLike Login LoginPolicy NewLogin Presence User World",
    "sojourn.kinds.logins.tokens": "Token",
    "sojourn.kinds.workspaces.api": "AsyncWorkspaces",
    "sojourn.kinds.workspaces.holding": "Held",
    "sojourn.kinds.workspaces.model": "Claim Resolved Role Workspace WorkspacePolicy",
    "sojourn.kinds.games.api": "AsyncGames",
    "sojourn.kinds.games.model": "Game GamePolicy Narration Player Submitted Swapped Turn Window",
    "sojourn.sessions": "AsyncSessions SessionInfo",
    "sojourn.shell.feed": "Event",
    "sojourn.shell.lease": "Lease",
    "sojourn.shell.sweeper": "AsyncRunner Swept",
    "sojourn.store": "AsyncStore Erased aopen",
    "sojourn.sync.contexts": "Contexts",
    "sojourn.sync.conversations": "Conversations",
    "sojourn.sync.games": "Games",
    "sojourn.sync.directory": "Directory",
    "sojourn.sync.logins": "Logins",
    "sojourn.sync.opening": "open",
    "sojourn.sync.runner": "Runner",
    "sojourn.sync.sessions": "Sessions",
    "sojourn.sync.store": "Store",
    "sojourn.sync.workspaces": "Workspaces",
    "sojourn.transfer": "Loaded",
}
_WHERE = {name: module for module, names in _HOMES.items() for name in names.split()}

__version__ = "0.1.0"

__all__ = [
    "AmbiguousError",
    "Artifact",
    "ArtifactHit",
    "Assembly",
    "AsyncContexts",
    "AsyncConversations",
    "AsyncGames",
    "AsyncDirectory",
    "AsyncLogins",
    "AsyncRunner",
    "AsyncSessions",
    "AsyncStore",
    "AsyncWorkspaces",
    "AuditEntry",
    "BindingError",
    "Capabilities",
    "Character",
    "Checkpoint",
    "Claim",
    "ClosedError",
    "ConflictError",
    "Context",
    "ContextPolicy",
    "Contexts",
    "Conversation",
    "ConversationPolicy",
    "Conversations",
    "CopiedProjectError",
    "CorruptError",
    "Directory",
    "DirectoryLike",
    "EndedError",
    "EngineError",
    "EngineOptions",
    "Erased",
    "Event",
    "ExpiredError",
    "FullError",
    "Game",
    "GameFullError",
    "GamePolicy",
    "Games",
    "Held",
    "Hit",
    "Identity",
    "InvalidCursorError",
    "InvalidNameError",
    "InvalidValueError",
    "KeyReusedError",
    "Lease",
    "LeaseHeldError",
    "LeaseLostError",
    "LeftOut",
    "LimitError",
    "Loaded",
    "Login",
    "LoginPolicy",
    "Logins",
    "Message",
    "Messages",
    "NameTakenError",
    "NewLogin",
    "NoProjectError",
    "NoSessionError",
    "Narration",
    "NotFoundError",
    "OrphanPointerError",
    "OutcomeUnknownError",
    "Page",
    "PointerError",
    "PointerHeldError",
    "Player",
    "Presence",
    "ReadOnlyError",
    "Resolved",
    "Role",
    "RoleInUseError",
    "Runner",
    "SchemaError",
    "SessionInfo",
    "Sessions",
    "SojournError",
    "StaleAuthenticationError",
    "Store",
    "Submitted",
    "SummariserError",
    "Swapped",
    "Swept",
    "Turn",
    "Token",
    "UnavailableError",
    "UnknownRoleError",
    "UnsafeProjectError",
    "UnsupportedError",
    "User",
    "Workspace",
    "WorkspacePolicy",
    "Workspaces",
    "Window",
    "World",
    "__version__",
    "aopen",
    "approximate_tokens",
    "extractive",
    "generate_name",
    "new_id",
    "open",
    "validate_name",
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'sojourn' has no attribute {name!r}")
    value = getattr(import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
