"""The rules of the roster: who plays, on which seat, how lively, and who wears the crown. Pure: no clock, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sojourn.core.batch import Guard, Path, Write
from sojourn.core.codec import Json, check_key, check_number, check_text
from sojourn.errors import ConflictError, GameFullError, InvalidValueError, NotFoundError
from sojourn.kinds.games.model import Player, Role, Tier
from sojourn.kinds.games.record import BUCKET, NEED, RULES_COUNTER, View, missed_since, players_of, span_of

ROLES: Final = ("player", "gm", "spectator")
Patch = tuple[tuple[Path, Json], ...]


def check_user(user: object) -> str:
    """A player's id."""
    return check_key(user, "user_id")


def check_user_name(name: object, user: str) -> str:
    """A player's name as it is shown, without line breaks; the id where it is blank."""
    text = " ".join(check_text(name, "user_name", 512).split())
    return text or user


def player_tag(user: str) -> str:
    """How the games of a person are found."""
    return f"player:{user}"


# -- tiers -------------------------------------------------------------------------------------------------------------


def clock(view: View, at: int) -> int:
    """The game's own time: it stands still while the game is paused or on the shelf."""
    data = view.data
    still = data["still"]
    now: int = min(at, still) if still is not None else at
    stood: int = data["stood"]
    return now - stood


def tier_of(view: View, turns: int, age: int) -> Tier:
    """How lively somebody is, by turns or by time since they were last active, whichever is kinder."""
    policy = view.policy
    if turns <= policy.active_within[0] or age <= span_of(policy.active_within[1]):
        return "active"
    if turns <= policy.idle_within[0] or age <= span_of(policy.idle_within[1]):
        return "idle"
    return "dormant"


def tier(view: View, user: str) -> Tier:
    """The tier of somebody in the roster; a press in the open window counts where the view has its choices."""
    kept = view.players[user]
    turn, seen = kept["turn"], kept["seen"]
    for entry in view.choices:
        if entry.author == user:
            turn, seen = view.closed + 1, max(seen, clock(view, entry.created_at))
    return tier_of(view, view.closed - turn, clock(view, view.now) - seen)


def tiers(view: View) -> list[tuple[Player, Tier]]:
    """Everybody, in join order."""
    pressed = {entry.author for entry in view.choices}
    found: list[tuple[Player, Tier]] = []
    now = clock(view, view.now)
    for user, player in players_of(view).items():
        age = 0 if user in pressed else now - view.players[user]["seen"]
        found.append((player, tier_of(view, view.closed - player.last_active_turn, age)))
    return found


def expected(view: View) -> list[str]:
    """Who is waited for in a window that opens now: players that are not dormant."""
    seated = [(kept["n"], user) for user, kept in view.players.items() if kept["role"] == "player"]
    return [user for _, user in sorted(seated) if tier(view, user) != "dormant"]


# -- coming ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Joining:
    """Somebody who comes, checked."""

    user: str
    name: str
    role: Role = "player"
    seat: int | None = None


def check_joining(user: object, name: object, role: object, seat: object) -> Joining:
    """Check before anything is read."""
    who = check_user(user)
    if role not in ROLES:
        raise InvalidValueError(f"role must be one of {', '.join(ROLES)}, got {role!r}.")
    if seat is not None and role != "player":
        raise InvalidValueError(f"a {role} has no seat.")
    chosen: Any = role
    return Joining(who, check_user_name(name, who), chosen, None if seat is None else check_number(seat, "seat", 1))


def is_full(view: View) -> bool:
    """Whether there is no seat left."""
    limit = view.policy.max_players
    return limit is not None and sum(kept["role"] == "player" for kept in view.players.values()) >= limit


def _seat(view: View, who: Joining) -> int | None:
    if who.role != "player":
        return None
    taken = {kept["seat"]: user for user, kept in view.players.items() if user != who.user}
    mine = view.players.get(who.user, {}).get("seat")
    wanted: int | None = who.seat or mine
    if wanted is None:
        return next(number for number in range(1, len(taken) + 2) if number not in taken)
    if wanted in taken:
        raise ConflictError(f"seat {wanted} is taken by {taken[wanted]!r}.", holder=taken[wanted])
    return wanted


def _no_seat(view: View) -> GameFullError:
    return GameFullError(
        f"every seat of the game is taken (max_players is {view.policy.max_players}).",
        hint="Join as a spectator, or when somebody left.",
    )


def arrival(view: View, who: Joining) -> Patch:
    """The roster's changes for somebody who is not in it; `GameFullError` when there is no seat."""
    if who.role == "player" and is_full(view):
        raise _no_seat(view)
    number = view.data["people"]
    kept: dict[str, Json] = {
        "n": number,
        "name": who.name,
        "joined": view.closed,
        "at": view.now,
        "seen": clock(view, view.now),
        "turn": view.closed,
        "chose": 0,
        "skips": 0,
        "role": who.role,
        "seat": _seat(view, who),
    }
    return ((("players", who.user), kept), (("people",), number + 1))


def join(view: View, who: Joining) -> Write:
    """Somebody joins, or comes again: name and activity are refreshed, skips are not."""
    known = view.players.get(who.user)
    guard = Guard(version=view.session.version)
    if known is None:
        tags = (player_tag(who.user),)
        return Write(view.id, guard, set=arrival(view, who), tag=tags, active=BUCKET, change="joined")
    if who.role == "player" and known["role"] != "player" and is_full(view):
        raise _no_seat(view)
    again = {
        **known,
        "name": who.name,
        "at": max(view.now, known["at"]),
        "seen": max(clock(view, view.now), known["seen"]),
        "turn": max(view.closed, known["turn"]),
        "role": who.role,
        "seat": _seat(view, who),
    }
    moved = ((RULES_COUNTER, 1),) if (again["role"], again["seat"]) != (known["role"], known["seat"]) else ()
    put: list[tuple[Path, Json]] = [(("players", who.user), again)]
    counters: tuple[tuple[str, int], ...] = ()
    if view.window is not None and who.role != "player" and who.user in view.window["expected"]:
        rest = [name for name in view.window["expected"] if name != who.user]
        put.append((("window", "expected"), rest))
        counters = waiting_without(view, who.user, rest)
    return Write(view.id, guard, set=tuple(put), add=moved, put=counters, active=BUCKET, change="joined")


# -- going -------------------------------------------------------------------------------------------------------------


def successor(view: View, gone: str) -> str | None:
    """Who has the crown when its holder is gone: the longest-standing active player, or nobody."""
    order = sorted((kept["n"], user) for user, kept in view.players.items() if kept["role"] == "player" and user != gone)
    return next((user for _, user in order if tier(view, user) == "active"), None)


def leave(view: View, user: str, *, change: str, reason: str = "") -> Write:
    """Somebody is taken out of the roster: seat and crown are free, nobody waits for them; their choices stay."""
    number = view.players[user]["n"]
    put: list[tuple[Path, Json]] = [(("past", str(number)), user)]
    if view.data["crown"] == user:
        put.append((("crown",), successor(view, user)))
    counters: tuple[tuple[str, int], ...] = ()
    if view.window is not None and user in view.window["expected"]:
        rest = [name for name in view.window["expected"] if name != user]
        put.append((("window", "expected"), rest))
        counters = waiting_without(view, user, rest)
    return Write(
        view.id,
        Guard(version=view.session.version),
        set=tuple(put),
        unset=(("players", user),),
        add=((RULES_COUNTER, 1),),
        put=counters,
        change=change,
        reason=reason,
    )


def waiting_without(view: View, user: str, rest: list[str]) -> tuple[tuple[str, int], ...]:
    """How many choices complete the window when this one is not waited for any more, and the rest is."""
    need = view.session.counters.get(NEED, 0)
    if need == 0:
        return ()
    chosen = {entry.author for entry in view.choices}
    if view.policy.close_when == "quorum":
        return ((NEED, max(1, min(need, len(chosen.union(rest))))),)
    return ((NEED, need if user in chosen else max(0, need - 1)),)


def substitute(view: View, user: str, other: Joining) -> Write:
    """Another person takes over a seat, with the crown if it is theirs, and what is expected of it."""
    known = view.players.get(user)
    if known is None:
        raise NotFoundError(f"there is no player {user!r} in the game.")
    if other.user in view.players:
        raise ConflictError(f"{other.user!r} is in the game already.", holder=other.user)
    number = view.data["people"]
    taken = {
        **known,
        "n": number,
        "name": other.name,
        "joined": view.closed,
        "at": view.now,
        "seen": clock(view, view.now),
        "turn": view.closed,
        "chose": 0,
        "skips": 0,
    }
    put: list[tuple[Path, Json]] = [(("players", other.user), taken), (("people",), number + 1)]
    put.append((("past", str(known["n"])), user))
    if view.data["crown"] == user:
        put.append((("crown",), other.user))
    window = view.window
    counters: tuple[tuple[str, int], ...] = ()
    if window is not None and user in window["expected"]:
        chosen = {entry.author for entry in view.choices}
        rest = [other.user if name == user else name for name in window["expected"] if name != user or user not in chosen]
        put.append((("window", "expected"), rest))
        if user not in chosen and other.user in chosen:  # they were in the game before, and have nothing more to bring
            counters = waiting_without(view, user, rest)
    return Write(
        view.id,
        Guard(version=view.session.version),
        set=tuple(put),
        unset=(("players", user),),
        add=((RULES_COUNTER, 1),),
        put=counters,
        tag=(player_tag(other.user),),
        active=BUCKET,
        change="substituted",
    )


# -- the crown ---------------------------------------------------------------------------------------------------------


def crown(view: View, user: str | None) -> Write:
    """The crown goes to somebody of the roster, or to nobody."""
    if user is not None and user not in view.players:
        raise NotFoundError(f"there is no player {user!r} in the game.", hint="Whoever wears the crown joins first.")
    return Write(view.id, Guard(version=view.session.version), set=((("crown",), user),), change="crowned")


def check_actor(view: View, by: str | None) -> None:
    """``by`` may act: nobody (the house), a game master, or the holder of the crown."""
    if by is None or by == view.data["crown"] or view.players.get(by, {}).get("role") == "gm":
        return
    raise ConflictError(
        f"{by!r} neither wears the crown nor is a game master.",
        hint="set_crown() gives it; by=None acts for the house.",
        holder=view.data["crown"],
    )


# -- activity ----------------------------------------------------------------------------------------------------------


def folded(view: View, turn: int) -> tuple[Patch, tuple[Path, ...]]:
    """Activity and skips as the log has them, written into the roster, and what need not be kept beside it any more."""
    pressed = {entry.author: entry for entry in view.choices if entry.author is not None}
    put: list[tuple[Path, Json]] = []
    for user, kept in view.players.items():
        changed = dict(kept)
        changed["skips"] = kept["skips"] + missed_since(view, user, kept["chose"])
        entry = pressed.get(user)
        if entry is not None:
            changed |= {
                "at": max(kept["at"], entry.created_at),
                "seen": max(kept["seen"], clock(view, entry.created_at)),
                "turn": max(kept["turn"], turn),
                "chose": turn,
                "pressed": entry.created_at,
                "skips": 0,
            }
        if changed != kept:
            put.append((("players", user), changed))
    return tuple(put), tuple(("told", name) for name in view.data["told"])
