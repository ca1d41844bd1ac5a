"""``/play/CODE``: a game in a browser tab, for anybody who has its join code. Works without script; live with it."""

from __future__ import annotations

import hmac
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from sojourn.core.times import to_datetime
from sojourn.errors import EndedError, ExpiredError, InvalidValueError, NotFoundError, SojournError, UnavailableError
from sojourn.kinds.logins.api import AsyncLogins
from sojourn.kinds.logins.model import LoginPolicy
from sojourn.service.access import Rates, address_of
from sojourn.service.console.forms import SECURITY, base_of, cookie_of, field_of, form_of, is_own, set_secret, theme_of
from sojourn.service.house import House, Scene
from sojourn.service.keys import TENANT, service_logins
from sojourn.service.live import STREAMING, Streams
from sojourn.service.problems import ProblemError
from sojourn.store import AsyncStore

_log = logging.getLogger("sojourn.service")

COOKIE: Final = "sojourn_play"
CHOSEN: Final = "sojourn_chosen"
PLAYER: Final = "play"
_TICK: Final = timedelta(seconds=1)
_POLICY: Final = LoginPolicy(idle=timedelta(days=7), absolute=timedelta(days=30))
_FOREIGN: Final = "This form did not come from the game's page."


def play_path(tenant: str, own: str, code: str) -> str:
    """Where a game is played, under the console's own path: the service's own tenant needs no name."""
    return f"/play/{quote(code, safe='')}" if tenant == own else f"/play/in/{quote(tenant, safe='')}/{quote(code, safe='')}"


@dataclass(frozen=True, slots=True)
class Guest:
    """Who plays in this browser."""

    user_id: str
    secret: str

    @property
    def csrf(self) -> str:
        """The token that every form of this player carries."""
        return hmac.new(self.secret.encode(), b"play form", sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Table:
    """Where somebody plays: the store of a tenant, a code, the game it leads to, and the page's own path."""

    store: AsyncStore
    code: str
    id: str
    path: str


class PlayRoom:
    """The page of one service."""

    def __init__(
        self,
        of_tenant: Callable[[str], AsyncStore],
        own: AsyncStore,
        house: House,
        streams: Streams,
        strangers: Rates,
        pages: Environment,
    ) -> None:
        self._of_tenant = of_tenant
        self._own = own
        self._house = house
        self._streams = streams
        self._strangers = strangers
        self._templates = pages
        self._logins: AsyncLogins = service_logins(own, _POLICY)

    def pages(self) -> list[tuple[str, str, Callable[[Request], Awaitable[Response]]]]:
        """The page, its two forms and its signal: of the service's own tenant, and of the others."""
        return [
            (method, f"/play/{place}{name}", page)
            for place in ("{code}", "in/{tenant}/{code}")
            for method, name, page in (
                ("GET", "", self._page),
                ("POST", "/join", self._join),
                ("POST", "/choose", self._choose),
                ("GET", "/live", self._live),
            )
        ]

    async def _guest(self, request: Request) -> Guest | None:
        token = cookie_of(request, COOKIE)
        if not token:
            return None
        try:
            login = await self._logins.authenticate(token)
        except (NotFoundError, ExpiredError, EndedError, InvalidValueError):
            return None
        return Guest(login.user_id, token) if login.client_type == PLAYER else None

    async def _table(self, request: Request) -> Table:
        """The game of the page's code; whoever guesses is slowed down."""
        code, tenant = request.path_params["code"], request.path_params.get("tenant", self._own.tenant)
        try:
            if tenant == TENANT:
                raise NotFoundError("there is no such join code.", hint="Ask for a new one.")
            store = self._of_tenant(tenant)
            game = await store.games.find_by_code(code)
        except (NotFoundError, InvalidValueError):
            self._strangers.take(address_of(request))
            raise
        return Table(store, code, game.id, base_of(request) + play_path(tenant, self._own.tenant, code))

    # -- the page --------------------------------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        table, guest = await self._table(request), await self._guest(request)
        game = await table.store.games.load(table.id)
        scene = await self._house.look(table.store, table.id, awake=guest is not None and guest.user_id in game.players)
        shown = await self._shown(request, table, guest, scene)
        text = self._templates.get_template("play.html").render(shown)
        return HTMLResponse(text, headers=SECURITY)

    async def _shown(self, request: Request, table: Table, guest: Guest | None, scene: Scene) -> dict[str, Any]:
        game, window = scene.game, scene.game.window
        here = guest is not None and guest.user_id in game.players
        place, _, told = scene.told.partition("\n\n")
        return {
            "base": base_of(request),
            "theme": theme_of(request),
            "path": table.path,
            "game": game,
            "scene": scene,
            "told": told if told and len(place) <= 100 else scene.told,
            "place": place if told and len(place) <= 100 else game.name,
            "players": await table.store.games.players(None, game_id=game.id),
            "names": {user: player.user_name for user, player in game.players.items()},
            "here": here,
            "me": game.players[guest.user_id] if guest is not None and here else None,
            "options": () if window is None else window.options or (),
            "chosen": request.cookies.get(CHOSEN) == (f"{game.id}.{window.turn}" if window else "-"),
            "csrf": "" if guest is None else guest.csrf,
            "once": secrets.token_hex(16),
            "now": to_datetime(await table.store._unit.engine.now()),
            "live": f"{table.path}/live",
        }

    # -- acting ----------------------------------------------------------------------------------------------------

    async def _join(self, request: Request) -> Response:
        form, guest = await form_of(request), await self._guest(request)
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise ProblemError(403, "service.forbidden", _FOREIGN)
        self._strangers.take(address_of(request))
        table = await self._table(request)
        name = field_of(form, "name").strip()
        if not name:
            raise InvalidValueError("a player needs a name.", hint="Go back and say who you are.")
        user = f"web-{secrets.token_hex(8)}" if guest is None else guest.user_id
        await table.store.games.join_by_code(table.code, user, name)
        response = _to(table)
        if guest is None:
            made = await self._logins.create(user, client_type=PLAYER)
            set_secret(request, response, COOKIE, str(made.token))
        return response

    async def _choose(self, request: Request) -> Response:
        form, guest = await form_of(request), await self._guest(request)
        table = await self._table(request)
        if guest is None:
            return _to(table)
        if not is_own(request, guest.csrf, form):
            raise ProblemError(403, "service.forbidden", _FOREIGN)
        game = await table.store.games.load(table.id)
        player, turn = game.players.get(guest.user_id), field_of(form, "turn")
        if player is None or not (turn.isascii() and turn.isdigit() and len(turn) < 10):
            return _to(table)
        answer = await table.store.games.submit_choice(
            None,
            guest.user_id,
            player.user_name,
            field_of(form, "choice"),
            key=f"play/{field_of(form, 'once')[:64]}/{turn}",
            expect_turn=int(turn),
            game_id=table.id,
        )
        response = _to(table)
        if answer.status in ("accepted", "replaced", "duplicate"):
            path = base_of(request) or "/"
            secure = request.url.scheme == "https"
            response.set_cookie(
                CHOSEN, f"{table.id}.{turn}", path=path, max_age=3600, secure=secure, httponly=True, samesite="lax"
            )
        return response

    # -- live ------------------------------------------------------------------------------------------------------

    async def _live(self, request: Request) -> Response:
        """Says that something changed; meanwhile this looks after the game once a second, as every open tab does."""
        table = await self._table(request)
        self._streams.check_room()
        headers = {**SECURITY, **STREAMING}
        return StreamingResponse(self._signals(table), media_type="text/event-stream", headers=headers)

    async def _signals(self, table: Table) -> AsyncIterator[bytes]:
        with self._streams.counted():
            seen: object = None
            yield b"retry: 500\n\n"
            while not self._streams.stopping:
                wait = _TICK.total_seconds()
                try:
                    scene = await self._house.look(table.store, table.id)
                except UnavailableError as error:  # the store is away for a while: the page stays as it is
                    _log.warning("game %s cannot be looked at: %s", table.id, error.code)
                    yield b": still here\n\n"
                except SojournError:  # the game is gone, or the store was closed
                    return
                else:
                    shown = (scene.game.version, bool(scene.told))
                    yield b": still here\n\n" if shown == seen else b"event: changed\ndata: 1\n\n"
                    seen, wait = shown, _until(scene)
                await self._streams.pause(wait)


def _until(scene: Scene) -> float:
    """Seconds until the deadline, or a while."""
    window = scene.game.window
    if window is None or window.remaining is None or window.paused:
        return _TICK.total_seconds()
    return max(0.05, min(_TICK.total_seconds(), window.remaining.total_seconds() + 0.02))


def _to(table: Table) -> Response:
    return RedirectResponse(table.path, 303, headers={"cache-control": "no-store"})
