"""The rules of logins: what is valid, and what a commit must change. Pure: no clock, no random numbers, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar
from unicodedata import category

from sojourn.core.batch import Create, Deadline, Guard, NewEntry, Path, Touch, Write
from sojourn.core.codec import Json, Schema, check_key, check_text, decode, encode
from sojourn.core.session import AliasKey, Entry, Session
from sojourn.core.times import SECOND, maybe_datetime, span, to_datetime
from sojourn.errors import InvalidValueError, LimitError
from sojourn.kinds.logins.model import AuditEntry, Character, Login, LoginPolicy, LoginState
from sojourn.kinds.logins.tokens import RETIRED, Hasher

KIND: Final = "login"
SCHEMA: Final = Schema(1)
AUDIT: Final = "audit"
TOKEN: Final = "login.token"  # the namespace of aliases
TOKEN_USER: Final = "login.token.user"

UNKNOWN: Final = "unknown"
LONGEST_CLIENT: Final = 64
LONGEST_AGENT: Final = 1024
_SECRETS: Final = frozenset({"secret", "retired", "foreign"})
_CONTROLS: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

OPEN: Final = Guard(timely=True)

K = TypeVar("K")


# -- what comes in -----------------------------------------------------------------------------------------------------


def check_client(client_type: object) -> str:
    """A client type: trimmed, lower-cased, ``unknown`` when blank."""
    if not isinstance(client_type, str):
        raise InvalidValueError(f"client_type must be text, not {type(client_type).__name__}.")
    text = _plain(client_type, "client_type").strip().lower()
    if len(text) > LONGEST_CLIENT:
        raise InvalidValueError(f"client_type has at most {LONGEST_CLIENT} characters, this one has {len(text):,}.")
    return text or UNKNOWN


def _plain(text: str, name: str) -> str:
    """``text`` when it has no control or direction-changing characters."""
    wrong = next((character for character in text if category(character) in _CONTROLS), None)
    if wrong is not None:
        raise InvalidValueError(f"{name} has the control character {wrong!r}.", hint="Remove it before you pass it on.")
    return check_text(text, name)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who does something, and from where."""

    by: str | None = None
    ip: str | None = None
    user_agent: str | None = None

    def document(self) -> dict[str, Json]:
        """What is kept of it beside who."""
        kept = {"ip": self.ip, "user_agent": self.user_agent}
        return {name: value for name, value in kept.items() if value is not None}


def check_origin(by: object, ip: object, user_agent: object) -> Origin:
    """Who and from where, as far as it is known."""
    if ip is not None:
        if not isinstance(ip, str) or not 0 < len(ip) <= 64:
            raise InvalidValueError(f"ip must be text of 1 to 64 characters, got {ip!r}.")
        _plain(ip, "ip")
    if user_agent is not None:
        if not isinstance(user_agent, str):
            raise InvalidValueError(f"user_agent must be text, not {type(user_agent).__name__}.")
        _plain(user_agent, "user_agent")
        if len(user_agent) > LONGEST_AGENT:
            raise LimitError(f"user_agent has at most {LONGEST_AGENT:,} characters, this one has {len(user_agent):,}.")
    return Origin(None if by is None else check_key(by, "by"), ip, user_agent or None)


def check_amr(amr: object) -> tuple[str, ...]:
    """Authentication methods, each once."""
    if isinstance(amr, str) or not isinstance(amr, Iterable):
        raise InvalidValueError(f"amr must be a list of methods, got {amr!r}.", hint="For example ['pwd', 'otp'] (RFC 8176).")
    given = tuple(amr)
    for method in given:
        if not isinstance(method, str) or not 0 < len(method) <= 32 or not method.isprintable():
            raise InvalidValueError(f"a method of amr is text of 1 to 32 printable characters, got {method!r}.")
        check_text(method, "amr")
    methods = tuple(dict.fromkeys(given))
    if len(methods) > 16:
        raise LimitError(f"amr has at most 16 methods, this one has {len(methods)}.")
    return methods


def check_metadata(metadata: object, policy: LoginPolicy) -> dict[str, Json]:
    """A JSON object within the policy's limit; none for None."""
    if metadata is None:
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidValueError(f"metadata must be a JSON object (dict), not {type(metadata).__name__}.")
    plain = dict(metadata)
    encode(plain, "metadata", policy.max_metadata)
    return plain


def check_patch(
    changes: object, unset: object, current: Mapping[str, Json], policy: LoginPolicy
) -> tuple[tuple[tuple[Path, Json], ...], tuple[Path, ...]]:
    """Metadata changes per key, checked against the size the whole would have."""
    given = check_metadata(changes, policy)
    if isinstance(unset, (str, bytes)) or not isinstance(unset, Iterable):
        raise InvalidValueError(f"unset must be a list of keys, got {unset!r}.")
    gone = [check_text(key, "unset key") for key in unset]
    merged = {key: value for key, value in {**current, **given}.items() if key not in gone}
    encode(merged, "metadata", policy.max_metadata)
    put = tuple((("metadata", key), value) for key, value in given.items() if key not in gone)
    return put, tuple(("metadata", key) for key in gone)


def check_choice(value: K, name: str, choices: Sequence[K]) -> K:
    """One of some words."""
    if value not in choices:
        raise InvalidValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {value!r}.")
    return value


# -- reading -----------------------------------------------------------------------------------------------------------


def data_of(session: Session) -> dict[str, Json]:
    """A login's document at this release's version."""
    return SCHEMA.read(session.data)


def is_past(session: Session, now: int) -> bool:
    """Past its deadline."""
    return session.deadline is not None and now >= session.deadline


def is_live(session: Session, now: int) -> bool:
    """Neither ended nor expired."""
    return session.state == "active" and not is_past(session, now)


def state_of(session: Session, now: int) -> LoginState:
    """Ended, expired (by the clock, or closed by a sweep for it) or active."""
    if session.state == "active":
        return "expired" if is_past(session, now) else "active"
    return "expired" if session.state == "archived" else "ended"


def login_of(session: Session, now: int) -> Login:
    """What callers see."""
    data, counters = data_of(session), session.counters
    character, deadline, closed = data.get("character"), session.deadline, session.state != "active"
    return Login(
        session.id,
        session.owner or session.home,
        data["client"],
        None if character is None else character["id"],
        data.get("world"),
        to_datetime(session.created_at),
        to_datetime(counters["authenticated_at"]),
        to_datetime(counters.get("seen", session.active_at)),
        None if deadline is None else to_datetime(deadline),
        state_of(session, now),
        data.get("ip"),
        data.get("user_agent"),
        tuple(data.get("amr", ())),
        data.get("shared", False),
        data.get("metadata", {}),
        maybe_datetime(session.ended_at),
        reason_of(session, data) if closed else "",
    )


def reason_of(session: Session, data: Mapping[str, Json]) -> str:
    """Why a login was closed."""
    return data.get("reason") or ("expired" if session.state == "archived" else "ended")


def kept_digests(session: Session | None) -> list[str]:
    """The current digest and replaced ones; none of nobody, or of a login that came without."""
    if session is None or "secret" not in session.data:
        return []
    return [session.data["secret"], *(row[0] for row in session.data.get("retired", ()))]


def public_data(data: Mapping[str, Json]) -> dict[str, Json]:
    """A login's document without what is kept of its tokens."""
    return {name: value for name, value in data.items() if name not in _SECRETS}


def exported(row: dict[str, Json]) -> dict[str, Json]:
    """A login as it leaves the store: without digests, and therefore ended. Tokens do not travel."""
    data = public_data(row["data"])
    if row["state"] == "active":
        data["reason"] = "exported"
        row = {**row, "state": "ended"}
    return {**row, "data": data}


def audit_of(entry: Entry) -> AuditEntry:
    """An entry of a login's history."""
    data = {} if entry.data is None else dict(decode(entry.data, "audit entry"))
    ip, agent, reason = data.pop("ip", None), data.pop("user_agent", None), data.pop("reason", "")
    return AuditEntry(entry.sequence, entry.label, to_datetime(entry.created_at), entry.author, ip, agent, reason, data)


def token_key(digest: str) -> AliasKey:
    """Where a caller's own token is found by its digest: in a home of its own, since the token does not say whose it is."""
    return AliasKey(f"{TOKEN}/{digest}", TOKEN, digest)


def token_user_key(digest: str) -> AliasKey:
    """Where it says, beside the alias of a caller's own token, in whose home its login is."""
    return AliasKey(f"{TOKEN}/{digest}", TOKEN_USER, digest)


def character_tag(character: str) -> str:
    """The tag of the logins that hold a character."""
    return f"character:{character}"


def world_tag(world: str) -> str:
    """The tag of the logins that are in a world."""
    return f"world:{world}"


def bucket_of(policy: LoginPolicy) -> int:
    """How exactly lists know activity, in microseconds."""
    return max(SECOND, span(policy.touch_every))


# -- making ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Draft:
    """A login that is to be made, checked."""

    client: str
    character: Character | None
    origin: Origin
    amr: tuple[str, ...]
    metadata: dict[str, Json]
    shared: bool = False

    def document(self, secret: str, *, foreign: str | None = None) -> dict[str, Json]:
        """The login's data."""
        data: dict[str, Json] = {"v": SCHEMA.version, "client": self.client, "secret": secret, **self.origin.document()}
        if self.character is not None:
            data |= placed(self.character)
        for name, value in (
            ("amr", list(self.amr)),
            ("metadata", self.metadata),
            ("shared", self.shared),
            ("foreign", foreign),
        ):
            if value:
                data[name] = value
        return data

    @property
    def tags(self) -> tuple[str, ...]:
        """How its lists find it."""
        return () if self.character is None else tags_of(self.character.id, self.character.world_id)


def placed(character: Character) -> dict[str, Json]:
    """How a login's data names the character it holds."""
    return {"character": {"id": character.id, "name": character.name}, "world": character.world_id}


def tags_of(character: str, world: str | None) -> tuple[str, ...]:
    """The tags of a login that holds a character."""
    return (character_tag(character), *(() if world is None else (world_tag(world),)))


def create(id: str, user: str, draft: Draft, data: dict[str, Json], policy: LoginPolicy, generation: int) -> Create:
    """A new login, under the timeouts of the policy."""
    idle = None if policy.idle is None else span(policy.idle)
    absolute = None if policy.absolute is None else span(policy.absolute)
    counters = {"generation": generation}
    if absolute is not None:
        counters["absolute"] = absolute
    if idle is not None and policy.sliding:
        counters["idle"] = idle
    first = min((limit for limit in (idle, absolute) if limit is not None), default=None)
    return Create(
        id,
        KIND,
        user,
        data=data,
        counters=counters,
        tags=draft.tags,
        deadline=None if first is None else Deadline(after=first),
        entries=(audit("created", draft.origin, **_place(draft.character)),),
        bucket=bucket_of(policy),
        stamp=("authenticated_at", "renewed_at"),
        change="created",
    )


def audit(change: str, origin: Origin, reason: str = "", **details: Json) -> NewEntry:
    """An entry of the history."""
    data = {**origin.document(), **({"reason": reason} if reason else {}), **details}
    return NewEntry(AUDIT, change, author=origin.by, data=encode(data, "audit entry") if data else None)


def _place(character: Character | None) -> dict[str, Json]:
    return {} if character is None else {"character_id": character.id, "world_id": character.world_id}


# -- living ------------------------------------------------------------------------------------------------------------


def touch(session: Session, policy: LoginPolicy) -> Touch:
    """Activity now; the idle deadline slides, never past the absolute one."""
    return Touch(session.id, bucket_of(policy), _slid(session))


def _slid(session: Session) -> Deadline | None:
    """The idle timeout begun anew, where activity does that."""
    idle = session.counters.get("idle")
    return None if idle is None else Deadline(after=idle, cap=_latest(session))


def _latest(session: Session) -> int | None:
    """When a login ends whatever is done with it: as it was imported, or by its absolute timeout."""
    counters = session.counters
    if "until" in counters:
        return counters["until"]
    return None if "absolute" not in counters else counters["renewed_at"] + counters["absolute"]


def active_at(session: Session, now: int, deadline: int | None) -> Session:
    """A login as a touch has left it."""
    return replace(session, active_at=max(now, session.active_at), deadline=deadline)


def is_touch_due(session: Session, now: int, policy: LoginPolicy) -> bool:
    """Whether its last known activity is old enough to be written."""
    return now - session.active_at >= span(policy.touch_every)


def rotated(
    session: Session,
    now: int,
    secret: str,
    origin: Origin,
    policy: LoginPolicy,
    *,
    anew: bool,
    change: str = "rotated",
    keep: str = "",
) -> Write:
    """Another secret. The one before answers a little longer; after a privilege change (``anew``) not at all.

    ``keep``: the digest of the token that somebody still has who has asked several times, and is not forgotten.
    """
    grace = 0 if anew else span(policy.rotate_grace)
    data, counters = data_of(session), session.counters
    before = [[digest, min(until, now) if anew else until] for digest, until in data.get("retired", ())]
    retired = [[data["secret"], now + grace], *before]
    kept = [row for row in retired if row[0] == keep]
    retired = [*[row for row in retired if row[0] != keep][: RETIRED - len(kept)], *kept]
    deadline = _slid(session)
    if anew and "until" not in counters:
        limits = [counters[name] for name in ("idle", "absolute") if name in counters]
        deadline = Deadline(after=min(limits)) if limits else None
    return Write(
        session.id,
        replace(OPEN, version=session.version),
        (audit(change, origin, "reauthenticated" if anew else ""),),
        set=((("secret",), secret), (("retired",), retired)),
        stamp=("authenticated_at", "renewed_at") if anew else (),
        deadline=deadline,
        active=bucket_of(policy),
        change=change,
    )


def in_grace(session: Session, place: int, now: int) -> bool:
    """Whether the digest at this place (0: the current one) still answers."""
    return place == 0 or now < session.data["retired"][place - 1][1]


def stepped_up(session: Session, amr: tuple[str, ...], origin: Origin) -> Write:
    """The user has proved who they are once more, by these methods too."""
    methods = [*dict.fromkeys((*data_of(session).get("amr", ()), *amr))]
    return Write(
        session.id,
        replace(OPEN, version=session.version),
        (audit("stepped_up", origin, amr=list(amr)),),
        set=((("amr",), methods),),
        stamp=("authenticated_at",),
        change="stepped_up",
    )


def bound(session: Session, character: Character, origin: Origin, *, shared: bool) -> Write:
    """Hold a character, in its world."""
    old, new = _own_tags(session), tags_of(character.id, character.world_id)
    return Write(
        session.id,
        OPEN,
        (audit("bound", origin, **_place(character)),),
        set=(*(((name,), value) for name, value in placed(character).items()), (("shared",), shared)),
        tag=new,
        untag=tuple(tag for tag in old if tag not in new),
        change="bound",
    )


def unbound(session: Session, origin: Origin, reason: str = "", guard: Guard = OPEN) -> Write:
    """Hold no character any more: the account only."""
    character = data_of(session).get("character")
    details = {} if character is None else {"character_id": character["id"]}
    return Write(
        session.id,
        guard,
        (audit("unbound", origin, reason, **details),),
        unset=(("character",), ("world",), ("shared",)),
        untag=_own_tags(session),
        change="unbound",
        reason=reason,
    )


def sharing(session: Session) -> Write:
    """Hold a character together with others from here on."""
    return Write(session.id, Guard(), set=((("shared",), True),), change="shared")


def renamed(session: Session, name: str) -> Write:
    """Hold a character that has another name now."""
    return Write(session.id, Guard(), set=((("character", "name"), name),), change="renamed")


def _own_tags(session: Session) -> tuple[str, ...]:
    data = data_of(session)
    character = data.get("character")
    return () if character is None else tags_of(character["id"], data.get("world"))


# -- ending ------------------------------------------------------------------------------------------------------------


def closed(session: Session, now: int, reason: str, origin: Origin, *, change: str = "revoked") -> Write:
    """Never answer again. One that has expired is closed as that, whatever the reason.

    When it ended is where lists put it from now on, so that a sweep finds the oldest first; ``seen`` keeps its last activity.
    """
    if is_past(session, now):
        reason, change = "expired", "expired"
    return Write(
        session.id,
        Guard(),
        (audit(change, origin, reason),),
        set=((("reason",), reason),),
        put=(("seen", session.active_at),),
        state="archived" if change == "expired" else "ended",
        active=SECOND,
        change=change,
        reason=reason,
        next_phase=True,
    )


def check_reason(reason: object) -> str:
    """Why something is revoked: 1 to 256 bytes of plain text."""
    return check_key(reason, "reason", 256)


def over_limit(live: Sequence[Session], policy: LoginPolicy) -> list[Session]:
    """Which logins give way to one more; `LimitError` when the policy lets none."""
    most = policy.max_per_user
    surplus = 0 if most is None else len(live) + 1 - most
    if surplus <= 0:
        return []
    if policy.at_limit == "refuse":
        raise LimitError(
            f"the user has {len(live)} live logins; the policy allows {most}.",
            hint="End one first, see LoginPolicy(at_limit=…).",
        )
    if policy.at_limit == "evict_oldest":
        return sorted(live, key=lambda one: (one.created_at, one.id))[:surplus]
    return sorted(live, key=lambda one: (one.active_at, one.id))[:surplus]


def hasher(policy: LoginPolicy) -> Hasher:
    """What turns tokens into digests under a policy."""
    return Hasher(policy.peppers)


# -- from elsewhere ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Arrival:
    """A login that another program has kept, as an import found it. Times are microseconds since 1970."""

    id: str
    user: str
    client: str
    token: str
    """The token itself; only its digest is stored."""
    created_at: int
    active_at: int
    expires_at: int | None
    """Kept whatever the policy says; None is never."""
    character: Character | None = None
    metadata: dict[str, Json] = field(default_factory=dict)

    def is_over(self, now: int) -> bool:
        """Whether its end has come already."""
        return self.expires_at is not None and now >= self.expires_at


def arrived(arrival: Arrival, digest: str, generation: int, origin: Origin, policy: LoginPolicy, *, shared: bool) -> Create:
    """A login with the times it had; the end it had is its absolute one."""
    draft = Draft(arrival.client, arrival.character, origin, (), arrival.metadata, shared)
    counters = {"generation": generation, "authenticated_at": arrival.created_at, "renewed_at": arrival.created_at}
    if arrival.expires_at is not None:
        counters["until"] = arrival.expires_at
    return Create(
        arrival.id,
        KIND,
        arrival.user,
        data=draft.document(digest, foreign=digest),
        counters=counters,
        tags=draft.tags,
        deadline=None if arrival.expires_at is None else Deadline(at=arrival.expires_at),
        entries=(audit("imported", origin, **_place(arrival.character)),),
        bucket=bucket_of(policy),
        created_at=arrival.created_at,
        active_at=arrival.active_at,
        change="imported",
    )
