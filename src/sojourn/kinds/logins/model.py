"""What callers see of a login: frozen values, times as aware datetimes."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol, TypeAlias

from sojourn.core.codec import Json, check_number
from sojourn.core.times import SECOND, span
from sojourn.errors import InvalidValueError
from sojourn.kinds.logins.tokens import Token, check_peppers

LoginState: TypeAlias = Literal["active", "expired", "ended"]
AtLimit: TypeAlias = Literal["evict_oldest", "evict_idlest", "refuse"]
OnConflict: TypeAlias = Literal["refuse", "take_over", "share"]
Preset: TypeAlias = Literal["aal1", "aal2", "aal3", "owasp-low", "owasp-high"]

AT_LIMIT: Final = ("evict_oldest", "evict_idlest", "refuse")
ON_CONFLICT: Final = ("refuse", "take_over", "share")


@dataclass(frozen=True, slots=True)
class Login:
    """One device of one user, as of one read. Its token is not here, and nowhere in the store."""

    id: str
    """A public handle; it signs nobody in."""
    user_id: str
    client_type: str
    character_id: str | None
    """None: the account only."""
    world_id: str | None
    created_at: datetime
    authenticated_at: datetime
    """When the user last proved who they are."""
    last_activity_at: datetime
    """Exact to ``LoginPolicy.touch_every``."""
    expires_at: datetime | None
    """The earlier of the two timeouts; None is never."""
    state: LoginState
    ip: str | None
    user_agent: str | None
    """As the client named itself: text of a stranger, to be escaped wherever it is shown."""
    amr: tuple[str, ...]
    """How the user proved who they are (RFC 8176: ``pwd``, ``otp``, …)."""
    shared_character: bool
    """Others hold the same character, and were meant to."""
    metadata: dict[str, Json] = field(default_factory=dict)
    ended_at: datetime | None = None
    reason: str = ""
    """Why it ended: ``revoked``, ``evicted``, ``reuse``, …; ``expired`` for one that a sweep has closed."""


@dataclass(frozen=True, slots=True)
class NewLogin:
    """A login and its token, which is shown this once: ``str(new.token)``."""

    login: Login
    token: Token


@dataclass(frozen=True, slots=True)
class Presence:
    """Where a user is, by the logins that were active within ``LoginPolicy.active_window``."""

    account: bool
    """Some device is signed in and active."""
    in_world: bool
    """One of them holds a character."""
    world_ids: tuple[str, ...]
    """Sorted."""
    last_login_at: datetime | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """A change of state of a login: what, when, by whom, from where."""

    sequence: int
    change: str
    at: datetime
    by: str | None
    """Who did it, where `acting` said so; None for the user or the store itself."""
    ip: str | None
    user_agent: str | None
    reason: str
    details: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Character:
    """A character of a user, in a world or in none."""

    id: str
    user_id: str
    world_id: str | None
    name: str


@dataclass(frozen=True, slots=True)
class World:
    """A world that the store's own directory knows."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class User:
    """A user that the store's own directory knows."""

    id: str
    username: str
    last_login_at: datetime | None
    character_ids: tuple[str, ...] = ()


class DirectoryLike(Protocol):
    """Users, characters and worlds of an application that has its own tables: pass it as ``directory=``.

    Ids are given as text. Methods may be plain, or coroutine functions for an asynchronous store. What it says is asked just
    before a commit: an application that deletes or moves a character calls ``logins.revoke_character`` or ``unbind_character``.
    """

    def user_id(self, username: str) -> str | int | Awaitable[str | int | None] | None:
        """The id of a user, None when there is none of this name."""
        ...

    def user_exists(self, user_id: str) -> bool | Awaitable[bool]:
        """Whether there is such a user."""
        ...

    def character(self, character_id: str) -> Character | Awaitable[Character | None] | None:
        """A character, None when there is none."""
        ...

    def world_exists(self, world_id: str) -> bool | Awaitable[bool]:
        """Whether there is such a world."""
        ...

    def names(self, character_ids: list[str]) -> Mapping[str, str] | Awaitable[Mapping[str, str]]:
        """Names of characters by id; unknown ids are left out."""
        ...


_HOUR: Final = timedelta(hours=1)
_MINUTE: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoginPolicy:
    """When logins end, how many a user may have, what tokens must be. A limit that is None is none.

    A login keeps the timeouts it was made under: a changed policy holds for those made from then on, and ``revoke_all`` ends
    the others.
    """

    idle: timedelta | None = timedelta(hours=8)
    """End a login that was not active for so long."""
    absolute: timedelta | None = timedelta(days=30)
    """End a login so long after the user proved who they are, whatever they do (`rotate` with ``reauthenticated``)."""
    sliding: bool = True
    """Activity begins ``idle`` anew; False counts it from the sign-in."""
    touch_every: timedelta = timedelta(minutes=1)
    """How exactly activity is known: `authenticate` writes at most so often."""
    active_window: timedelta = timedelta(minutes=30)
    """Who was active within it is online."""
    max_per_user: int | None = None
    """How many live logins a user may have."""
    at_limit: AtLimit = "evict_oldest"
    """What a further one does: end the one signed in first, the one idle longest, or raise `LimitError`."""
    rotate_grace: timedelta = timedelta(seconds=10)
    """How long a replaced token still answers, for requests that are on their way."""
    min_token_bits: int | None = 128
    """What ``create(token=…)`` demands of a caller's own token."""
    keep_ended: timedelta | None = timedelta(days=30)
    """How long ended and expired logins stay readable, with their history, before a sweep deletes them."""
    max_metadata: int | None = 256_000
    """Bytes of a login's metadata as JSON."""
    peppers: Mapping[int, bytes] | None = field(default=None, repr=False, hash=False)
    """Secrets kept outside the store, by version (1 and up), without which its digests prove nothing: HMAC-SHA-256 with the
    highest one. Tokens made under others, or under none, go on to answer as long as their pepper is here."""

    def __post_init__(self) -> None:
        for name in ("idle", "absolute"):
            if (value := getattr(self, name)) is not None and span(value, name) < SECOND:
                raise InvalidValueError(f"{name} must be at least a second, or None for no limit; got {value!r}.")
        for name in ("touch_every", "active_window", "rotate_grace"):
            span(getattr(self, name), name)
        if self.keep_ended is not None:
            span(self.keep_ended, "keep_ended")
        if self.idle is not None and self.touch_every >= self.idle:
            raise InvalidValueError(
                f"touch_every ({self.touch_every}) must be shorter than idle ({self.idle}).",
                hint="Otherwise activity would be noticed too late to keep a login alive.",
            )
        if self.at_limit not in AT_LIMIT:
            raise InvalidValueError(f"at_limit must be one of {', '.join(AT_LIMIT)}, got {self.at_limit!r}.")
        if type(self.sliding) is not bool:
            raise InvalidValueError(f"sliding must be True or False, got {self.sliding!r}.")
        for name, least in (("max_per_user", 1), ("min_token_bits", 1), ("max_metadata", 0)):
            if getattr(self, name) is not None:
                check_number(getattr(self, name), name, least)
        check_peppers(self.peppers)

    @staticmethod
    def preset(name: Preset, **changes: Any) -> LoginPolicy:
        """The timeouts of a standard, with ``changes`` of your own.

        ``aal1``, ``aal2``, ``aal3``: reauthentication after 30 days; 24 hours or 1 hour idle; 12 hours or 15 minutes idle
        (NIST SP 800-63B-4, 2.1.3, 2.2.3, 2.3.3). ``owasp-low``, ``owasp-high``: 30 minutes idle and 8 hours; 5 minutes idle
        and 4 hours, for applications of low and of high value (OWASP Session Management Cheat Sheet, Session Expiration).
        """
        chosen = PRESETS.get(name)
        if chosen is None:
            raise InvalidValueError(f"there is no preset {name!r}.", hint=f"Presets: {', '.join(PRESETS)}.")
        return LoginPolicy(**{**chosen, **changes})


PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "aal1": {"idle": None, "absolute": timedelta(days=30)},
    "aal2": {"idle": _HOUR, "absolute": 24 * _HOUR},
    "aal3": {"idle": 15 * _MINUTE, "absolute": 12 * _HOUR, "active_window": 15 * _MINUTE},
    "owasp-low": {"idle": 30 * _MINUTE, "absolute": 8 * _HOUR},
    "owasp-high": {"idle": 5 * _MINUTE, "absolute": 4 * _HOUR, "active_window": 5 * _MINUTE, "touch_every": _MINUTE / 2},
}
