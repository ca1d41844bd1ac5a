"""``/play/CODE``: a game in a browser tab, for anybody who has its join code. Works without script; live with it."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any, Final

from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from sojourn.core.times import to_datetime
from sojourn.errors import EndedError, ExpiredError, InvalidValueError, NotFoundError, SojournError
from sojourn.kinds.games.model import Game
from sojourn.kinds.logins.model import LoginPolicy
from sojourn.service import problems
from sojourn.service.console.forms import SECURITY, base_of, form_of, is_own, theme_of
from sojourn.service.house import House, Scene
from sojourn.service.keys import service_logins
from sojourn.service.live import Streams
from sojourn.service.problems import ProblemError
from sojourn.store import AsyncStore

COOKIE: Final = "sojourn_play"
PLAYER: Final = "play"
_TICK: Final = timedelta(seconds=1)
_POLICY: Final = LoginPolicy(idle=timedelta(days=7), absolute=timedelta(days=30))


@dataclass(frozen=True, slots=True)
class Guest:
    """Who plays in this browser."""

    user_id: str
    secret: str

    @property
    def csrf(self) -> str:
        """The token that every form of this player carries."""
        return hmac.new(self.secret.encode(), b"play form", sha256).hexdigest()


class PlayRoom:
    """The page of one service."""

    def __init__(self, store: AsyncStore, house: House, streams: Streams, pages: Environment) -> None:
        self._store = store
        self._house = house
        self._streams = streams
        self._pages = pages
        self._logins = service_logins(store, _POLICY)

    def routes(self) -> list[BaseRoute]:
        """The page, its two forms and its signal."""
        return [
            Route("/play/{code}", self._page, methods=["GET"]),
            Route("/play/{code}/join", self._join, methods=["POST"]),
            Route("/play/{code}/choose", self._choose, methods=["POST"]),
            Route("/play/{code}/live", self._live, methods=["GET"]),
        ]

    async def _guest(self, request: Request) -> Guest | None:
        token = request.cookies.get(COOKIE, "")
        if not token:
            return None
        try:
            login = await self._logins.authenticate(token)
        except (NotFoundError, ExpiredError, EndedError):
            return None
        return Guest(login.user_id, token) if login.client_type == PLAYER else None

    async def _game(self, code: str) -> str:
        """The id of the game of a code."""
        view, _ = await self._store.games._lobby.by_code(code)
        return view.id

    # -- the page --------------------------------------------------------------------------------------------------

    async def _page(self, request: Request) -> Response:
        code = request.path_params["code"]
        try:
            id = await self._game(code)
            guest = await self._guest(request)
            scene = await self._house.look(id)
            if guest is not None and guest.user_id in scene.game.players:
                scene = await self._house.look(id, awake=True)
        except SojournError as error:
            return self._failed(request, error)
        return self._render(request, "play.html", await self._shown(request, code, guest, scene))

    async def _shown(self, request: Request, code: str, guest: Guest | None, scene: Scene) -> dict[str, Any]:
        game, window = scene.game, scene.game.window
        players = await self._store.games.players(None, game_id=game.id)
        here = guest is not None and guest.user_id in game.players
        return {
            "code": code,
            "game": game,
            "scene": scene,
            "told": scene.told.partition("\n\n")[2] or scene.told,
            "place": scene.told.partition("\n")[0],
            "players": players,
            "names": {user: player.user_name for user, player in game.players.items()},
            "here": here,
            "me": game.players[guest.user_id] if guest is not None and here else None,
            "options": () if window is None else window.options or (),
            "chosen": request.cookies.get("sojourn_chosen") == (f"{game.id}.{window.turn}" if window else "-"),
            "csrf": "" if guest is None else guest.csrf,
            "once": secrets.token_hex(16),
            "crown": _crown(game),
            "now": to_datetime(await self._store._unit.engine.now()),
            "live": f"{base_of(request)}/play/{code}/live",
        }

    def _render(self, request: Request, name: str, shown: dict[str, Any], status: int = 200) -> Response:
        around = {"base": base_of(request), "theme": theme_of(request)}
        return HTMLResponse(self._pages.get_template(name).render({**around, **shown}), status, headers=SECURITY)

    def _failed(self, request: Request, error: SojournError) -> Response:
        status = problems.status_of(error)
        title = "There is no such game" if status == 404 else "That did not work"
        shown = {"title": title, "text": error.message, "hint": error.hint, "home": False, "form": ""}
        return self._render(request, "message.html", shown, status)

    # -- acting ----------------------------------------------------------------------------------------------------

    async def _join(self, request: Request) -> Response:
        code = request.path_params["code"]
        form = await form_of(request)
        guest = await self._guest(request)
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return problems.answer(ProblemError(403, "service.forbidden", "This form did not come from the game's page."))
        response = RedirectResponse(f"{base_of(request)}/play/{code}", 303, headers={"cache-control": "no-store"})
        try:
            name = form.get("name", [""])[0].strip()
            if not name:
                raise InvalidValueError("a player needs a name.", hint="Go back and say who you are.")
            await self._game(code)
            if guest is None:
                user = f"web-{secrets.token_hex(8)}"
                made = await self._logins.create(user, client_type=PLAYER)
                guest = Guest(user, str(made.token))
                path = f"{base_of(request)}/"
                secure = request.url.scheme == "https"
                response.set_cookie(COOKIE, guest.secret, path=path, secure=secure, httponly=True, samesite="lax")
            await self._store.games.join_by_code(code, guest.user_id, name)
        except SojournError as error:
            return self._failed(request, error)
        return response

    async def _choose(self, request: Request) -> Response:
        code = request.path_params["code"]
        form, guest = await form_of(request), await self._guest(request)
        response = RedirectResponse(f"{base_of(request)}/play/{code}", 303, headers={"cache-control": "no-store"})
        if guest is None:
            return response
        if not is_own(request, guest.csrf, form):
            return problems.answer(ProblemError(403, "service.forbidden", "This form did not come from the game's page."))
        try:
            id = await self._game(code)
            game = await self._store.games.load(id)
            player, turn = game.players.get(guest.user_id), form.get("turn", [""])[0]
            if player is None or not (turn.isascii() and turn.isdigit() and len(turn) < 10):
                return response
            answer = await self._store.games.submit_choice(
                None,
                guest.user_id,
                player.user_name,
                form.get("choice", [""])[0],
                key=f"play/{form.get('once', [''])[0][:64]}/{turn}",
                expect_turn=int(turn),
                game_id=id,
            )
        except SojournError as error:
            return self._failed(request, error)
        if answer.status in ("accepted", "replaced", "duplicate"):
            path = f"{base_of(request)}/"
            response.set_cookie("sojourn_chosen", f"{id}.{turn}", path=path, max_age=3600, httponly=True, samesite="lax")
        return response

    # -- live ------------------------------------------------------------------------------------------------------

    async def _live(self, request: Request) -> Response:
        """Says that something changed; meanwhile this looks after the game once a second, as every open tab does."""
        try:
            id = await self._game(request.path_params["code"])
        except SojournError as error:
            return problems.answer(error)
        return StreamingResponse(self._signals(id), media_type="text/event-stream", headers=SECURITY)

    async def _signals(self, id: str) -> AsyncIterator[bytes]:
        self._streams.open += 1
        try:
            seen = -1
            yield b"retry: 500\n\n"
            while not self._streams.stopping:
                try:
                    scene = await self._house.look(id)
                except NotFoundError:
                    return
                if scene.game.version != seen:
                    seen = scene.game.version
                    yield b"event: changed\ndata: 1\n\n"
                else:
                    yield b": still here\n\n"
                await self._streams.pause(self._wait(scene))
        finally:
            self._streams.open -= 1

    @staticmethod
    def _wait(scene: Scene) -> float:
        """Until the deadline, or a while."""
        window = scene.game.window
        if window is None or window.remaining is None or window.paused:
            return _TICK.total_seconds()
        return max(0.05, min(_TICK.total_seconds(), window.remaining.total_seconds() + 0.02))


def _crown(game: Game) -> str:
    holder = game.players.get(game.crown_holder or "")
    return "" if holder is None else holder.user_name
