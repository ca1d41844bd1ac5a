"""One coroutine a view: from a request to what its template, or its JSON twin, shows."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from starlette.requests import Request

from sojourn.core.ids import is_id
from sojourn.core.times import to_datetime
from sojourn.errors import ConflictError, InvalidValueError, NotFoundError
from sojourn.kinds.conversations.model import Message
from sojourn.kinds.games.model import Game
from sojourn.service.console import reading
from sojourn.service.console.charts import lanes
from sojourn.service.console.charts import turns as turns_chart
from sojourn.service.console.forms import field_of
from sojourn.service.house import STORY_POLICY
from sojourn.sessions import KINDS
from sojourn.store import AsyncStore
from sojourn.story import GREY_POINT

_PAGE = 50
_MESSAGES = 100
_CHARTED = 2000
_REASON = "console"

PLACES = {
    "conversation": "/conversations",
    "context": "/contexts",
    "game": "/games",
    "login": "/logins",
    "workspace": "/workspaces",
}
"""Kinds that have a view of their own."""


def _after(request: Request) -> str | None:
    return request.query_params.get("after") or None


def _number(request: Request, name: str) -> int | None:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


async def overview(_: Request, store: AsyncStore) -> dict[str, Any]:
    """Counts by kind, what needs attention, the newest events."""
    found = await reading.counts(store)
    figures = [
        {"name": f"active {kind}s", "count": count, "path": PLACES.get(kind, f"/sessions?filter=kind:{kind}")}
        for kind, count in found.items()
    ]
    return {"figures": figures, "attention": await _attention(store), "events": await reading.newest_events(store)}


async def _attention(store: AsyncStore) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    due = await store.sweep(1000, dry_run=True)
    if due["due"]:
        found.append(
            {
                "tone": "warn",
                "title": f"{due['due']:,} sessions are past a deadline.",
                "text": "Nothing is lost: the next sweep acts on them. A runner beside the application does it at once.",
                "fix": "sojourn sweep --apply",
                "action": "/store/sweep",
                "does": "Sweep now",
            }
        )
    facts = await store.facts()
    waiting = int(facts.get("unindexed", 0))
    if waiting > 10_000:
        text = "Searches look through what is not indexed, and are slow."
        found.append(
            {"tone": "warn", "title": f"{waiting:,} commits wait to be indexed.", "text": text, "fix": "sojourn sweep --apply"}
        )
    return found


async def sessions(request: Request, store: AsyncStore) -> dict[str, Any]:
    """The list of sessions of every kind, by the filter grammar."""
    text = request.query_params.get("filter", "").strip()
    page = await store.sessions.list(text, limit=_PAGE, after=_after(request))
    presets = [
        ("All active", ""),
        *((f"{kind}s", f"kind:{kind}") for kind in KINDS),
        ("Idle for a day", "idle>1d"),
        ("Ended", "state:ended"),
    ]
    return {"filter": text, "page": page, "presets": presets}


async def session(request: Request, store: AsyncStore) -> dict[str, Any]:
    """One session of any kind, as it is stored."""
    id = request.path_params["id"]
    row = await store.sessions.get(id)
    if row is None:
        raise NotFoundError(f"there is no session {id!r}.", hint="It may have been deleted, or belong to another tenant.")
    entries, older = await reading.entries(store, id, _number(request, "before"))
    aliases, tags = await reading.names(store, id)
    events = list(reversed(await store.sessions.events(id, limit=50)))
    return {"row": row, "entries": entries, "older": older, "aliases": aliases, "tags": tags, "events": events}


async def conversations(request: Request, store: AsyncStore) -> dict[str, Any]:
    """Conversations by their newest activity, or what a search of their messages finds."""
    words = request.query_params.get("words", "").strip()
    if words:
        hits = await store.conversations.search(words, limit=_PAGE)
        return {"searchable": True, "words": words, "hits": hits, "page": None}
    return {
        "searchable": store.capabilities.search,
        "words": "",
        "hits": [],
        "page": await store.conversations.list(active_only=False, limit=_PAGE, after=_after(request)),
    }


async def conversation(request: Request, store: AsyncStore) -> dict[str, Any]:
    """A transcript: folded parts unfold, channels over time, search within."""
    id, query = request.path_params["id"], request.query_params
    talk = await store.conversations.get(id)
    if talk is None:
        raise NotFoundError(f"there is no conversation {id!r}.", hint="It may have been deleted, or belong to another tenant.")
    folded, words = query.get("folded") == "1", query.get("words", "").strip().casefold()
    messages = await store.conversations.messages(
        id, last=_CHARTED if words else _MESSAGES, before=_number(request, "before"), include_folded=folded or bool(words)
    )
    shown: list[Message] = [item for item in messages if all(word in item.text.casefold() for word in words.split())]
    charted = await store.conversations.messages(id, last=_CHARTED, include_folded=True)
    points = [(item.channel, item.created_at) for item in charted if not item.summary]
    older = messages[0].place if len(messages) == _MESSAGES and messages[0].place > 1 and not words else None
    chart = lanes(points, "Messages over time, by channel")
    return {"talk": talk, "messages": shown, "folded": folded, "words": words, "older": older, "chart": chart}


async def contexts(request: Request, store: AsyncStore) -> dict[str, Any]:
    """The contexts of a scope."""
    scope = request.query_params.get("scope") or "default"
    return {"scope": scope, "page": await store.contexts.list(scope=scope, limit=_PAGE, after=_after(request))}


async def context(request: Request, store: AsyncStore) -> dict[str, Any]:
    """One context with its artifacts."""
    scope, name = request.query_params.get("scope") or "default", request.query_params.get("name", "")
    found = await store.contexts.get(name, scope=scope)
    if found is None:
        raise NotFoundError(f"there is no context {name!r} in scope {scope!r}.")
    return {"item": found, "page": await store.contexts.artifacts(name, scope=scope, limit=_PAGE, after=_after(request))}


async def games(request: Request, store: AsyncStore) -> dict[str, Any]:
    """The lobby: every saved game, newest activity first."""
    return {"page": await store.games.list(order="activity", limit=_PAGE, after=_after(request))}


async def game(request: Request, store: AsyncStore) -> dict[str, Any]:
    """One game: players with tier and crown, the open turn with its countdown, history, and what an operator may do."""
    id = request.path_params["id"]
    found = await store.games.load(id)
    turns = await store.games.history(None, count=50, game_id=found.id)
    names = {user: player.user_name for user, player in found.players.items()}
    return {
        "game": found,
        "players": await store.games.players(None, game_id=found.id),
        "turns": turns,
        "names": names,
        "crown": await store.games.crown_holder_name(None, game_id=found.id),
        "actions": _actions_of(found),
        "code": request.query_params.get("code", ""),
        "chart": turns_chart(turns, names, "Who chose in which turn"),
    }


def _actions_of(game: Game) -> list[tuple[str, str]]:
    """What can be done with a game, as it is now."""
    found = [("invite", "Invite players")]
    if game.window is not None:
        found += [("unpause", "Let it go on")] if game.window.paused else [("close", "Close the turn"), ("pause", "Pause")]
    if game.channel_id is None:
        return [*found, ("resume", "Show it again")]
    return [*found, ("shelve", "Shelve"), ("exit", "End the game")]


async def logins(request: Request, store: AsyncStore) -> dict[str, Any]:
    """Who is signed in, newest activity first; the devices of one user."""
    user = request.query_params.get("user", "").strip()
    page = await store.logins.list(user_id=user or None, limit=_PAGE, after=_after(request))
    newest = await store.logins.list(user_id=user or None, active_only=False, limit=500)
    since = to_datetime(await store._unit.engine.now()) - timedelta(days=1)
    points = [(item.client_type, item.created_at) for item in newest.items if item.created_at > since]
    return {"user": user, "page": page, "chart": lanes(points, "Sign-ins of the last day, by client")}


async def workspaces(request: Request, store: AsyncStore) -> dict[str, Any]:
    """Projects with live sessions; who is at work in one, and what they have claimed."""
    project = request.query_params.get("project", "").strip()
    if not project:
        return {"project": "", "projects": await reading.projects(store), "page": None, "claims": [], "counts": {}}
    return {
        "project": project,
        "projects": [],
        "page": await store.workspaces.list(project_id=project, active_only=False, limit=_PAGE, after=_after(request)),
        "claims": await store.workspaces.claims(project_id=project),
        "counts": await store.workspaces.count_active(project_id=project),
    }


async def store_view(request: Request, store: AsyncStore) -> dict[str, Any]:
    """The engine's facts, what a sweep would do, and its own check."""
    damage: list[str] | None = None
    if request.query_params.get("check") == "1":
        damage = await store.check()
    due = await store.sweep(1000, dry_run=True)
    return {"facts": await store.facts(), "due": due.counts, "damage": damage}


# -- acting ------------------------------------------------------------------------------------------------------------


async def end(_: Request, store: AsyncStore, form: dict[str, list[str]]) -> str:
    """End the chosen sessions; what to say."""
    chosen = [id for id in dict.fromkeys(form.get("id", ())) if is_id(id)]
    done = [await _end(store, id) for id in chosen]
    return f"{sum(done)} ended." if chosen else "Nothing was chosen."


async def _end(store: AsyncStore, id: str) -> bool:
    """End a session the way its kind ends; False for one that is over, or gone."""
    row = await store.sessions.get(id)
    if row is None or row.state != "active":
        return False
    if row.kind == "login":
        return await store.logins.revoke(id, reason=_REASON)
    if row.kind == "game":
        channel = (await store.games.load(id)).channel_id
        if channel is not None:
            await store.games.exit(channel)
            return True
    if row.kind == "workspace":
        await store.workspaces.end(id, reason=_REASON, project_id=(await _project(store, id)))
    elif row.kind == "conversation":
        await store.conversations.end(id, reason=_REASON)
    else:
        await store.sessions.end(id, reason=_REASON)
    return True


async def _project(store: AsyncStore, id: str) -> str | None:
    session = (await store._unit.engine.load(store.tenant, id)).session
    return None if session is None else session.home


async def fork(request: Request, store: AsyncStore, form: dict[str, list[str]]) -> str:
    """Fork a conversation, and go there."""
    made = await store.conversations.fork(request.path_params["id"])
    form["back"] = [f"/conversations/{made.id}"]
    return "This is the fork: it shares what came before, and goes on by itself."


async def unfold(request: Request, store: AsyncStore, form: dict[str, list[str]]) -> str:
    """Undo a fold."""
    id = request.path_params["id"]
    sequence = field_of(form, "sequence")
    if not (sequence.isascii() and sequence.isdigit() and len(sequence) < 16):
        raise InvalidValueError("a summary is named by its sequence.")
    await store.conversations.unfold(id, int(sequence))
    form["back"] = [f"/conversations/{id}"]
    return "Unfolded: the summary's messages are back in their places."


async def sweep(_: Request, store: AsyncStore, __: dict[str, list[str]]) -> str:
    """One bounded pass."""
    done = await store.sweep(1000)
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in done.counts.items()) or "Nothing was due."


async def boot(_: Request, store: AsyncStore, form: dict[str, list[str]]) -> str:
    """Begin a story in a channel, and show it."""
    made = await store.games.boot(field_of(form, "channel").strip(), GREY_POINT.title, policy=STORY_POLICY)
    code = await store.games.invite(None, game_id=made.id)
    form["back"] = [f"/games/{made.id}?code={code}"]
    return "The story waits for its first player."


async def game_action(request: Request, store: AsyncStore, form: dict[str, list[str]]) -> str:
    """What an operator does with a game."""
    id, name = request.path_params["id"], request.path_params["name"]
    form["back"] = ["/games"]
    games, found = store.games, await store.games.load(id)
    form["back"] = [f"/games/{id}"]
    channel = found.channel_id or ""
    if name == "invite":
        form["back"] = [f"/games/{id}?code={await games.invite(None, game_id=id)}"]
        return "Send the link to whoever should play."
    if name in ("pause", "unpause", "close"):
        await getattr(games, name)(None, game_id=id)
        return {"pause": "The countdown stands.", "unpause": "It goes on.", "close": "The turn is closed."}[name]
    if name == "resume":
        await games.resume(id)
        return "It is shown in its channel again."
    if name in ("shelve", "exit"):
        if not channel:
            raise ConflictError("the game is shown in no channel.", hint="It is on the shelf already, or over.")
        await getattr(games, name)(channel)
        return {"shelve": "It is on the shelf, as it is.", "exit": "The game has ended."}[name]
    raise NotFoundError(f"a game has no action {name!r}.")


async def revoke(_: Request, store: AsyncStore, form: dict[str, list[str]]) -> str:
    """Revoke the chosen logins, or all of one user."""
    if "all" in form:
        return f"{await store.logins.revoke_user(field_of(form, 'all'), reason=_REASON)} revoked."
    done = [await store.logins.revoke(id, reason=_REASON) for id in dict.fromkeys(form.get("id", ())) if is_id(id)]
    return f"{sum(done)} revoked." if done else "Nothing was chosen."
