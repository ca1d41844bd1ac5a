"""What happens in the demo that stays: people write, agents work, devices sign in and out, bots play."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from sojourn.errors import ConflictError, EndedError, ExpiredError, LeaseHeldError, NotFoundError, SojournError
from sojourn.kinds.games.model import Game
from sojourn.kinds.logins.model import NewLogin
from sojourn.service.house import STORY_POLICY, House
from sojourn.store import AsyncStore
from sojourn.story import GREY_POINT

_log = logging.getLogger("sojourn.demo")

_TABLE: Final = "the-lamp"
_PROJECT: Final = "garden-robots"
_BOTS: Final = (("bot-ada", "Ada (a bot)"), ("bot-bert", "Bert (a bot)"), ("bot-cleo", "Cleo (a bot)"))
_CHANNELS: Final = ("telegram", "discord", "web")
_PEOPLE: Final = ("alice", "bob", "carmen", "deniz", "edmund", "fatima", "goran", "zoë")
_CLIENTS: Final = ("web", "web", "android", "ios", "cli")
_AGENTS: Final = (("architect", "lead"), ("implementer", "robin"), ("implementer", "wren"), ("monitor", "owl"))
_FILES: Final = ("src/sensor.py", "src/pump.py", "src/valve.py", "docs/watering.md", "tests/test_pump.py")
_SAID: Final = (
    "Is the greenhouse still too warm?",
    "The sensor in bed 4 says 31 degrees.",
    "Please water the tomatoes at six.",
    "Who moved the pump?",
    "Can you remind me about the seeds tomorrow?",
    "It rained, so skip the lawn tonight.",
)
_ANSWERED: Final = (
    "Done. I will tell you when it is below 28.",
    "I have noted it for tomorrow, eight o'clock.",
    "The pump ran for six minutes; bed 4 is at 24 degrees now.",
    "Skipped. The next watering is on Thursday.",
)


class Traffic:
    """Everybody in the demo, until it is cancelled."""

    def __init__(self, store: AsyncStore, house: House) -> None:
        self._store = store
        self._house = house
        self._dice = random.Random()  # noqa: S311  # who writes next is no secret
        self._devices: list[NewLogin] = []

    async def begin(self, code: str) -> str:
        """The table with its bots, as it was or new; its join code, the one it had where that is still good."""
        games = self._store.games
        game = await games.get(_TABLE)
        if game is None:
            game = await games.boot(_TABLE, GREY_POINT.title, policy=STORY_POLICY)
            code = ""
        for user, name in _BOTS:
            await games.join(None, user, name, game_id=game.id)
        return code or await games.invite(None, game_id=game.id)

    async def run(self) -> None:
        """Go on until cancelled."""
        async with asyncio.TaskGroup() as group:
            for act, pause in (
                (self._somebody_writes, 1.5),
                (self._agents_work, 2.5),
                (self._devices_come_and_go, 3.0),
            ):
                group.create_task(self._again(act, pause))
            group.create_task(self._again(self._look, 0.5))
            for user, name in _BOTS:
                group.create_task(self._bot(user, name))

    async def _again(self, act: Callable[[], Awaitable[None]], pause: float) -> None:
        while True:
            await self._try(act())
            await asyncio.sleep(pause * self._dice.uniform(0.4, 1.6))

    async def _try(self, work: Awaitable[None]) -> None:
        """What people at the console do may come in between: somebody is signed out, a game ends."""
        try:
            await work
        except (ConflictError, EndedError, ExpiredError, NotFoundError, LeaseHeldError) as error:
            _log.info("%s", error)
        except SojournError as error:
            _log.warning("%s", error)

    # -- conversations and contexts --------------------------------------------------------------------------------

    async def _somebody_writes(self) -> None:
        talks, who, channel = self._store.conversations, self._dice.choice(_PEOPLE), self._dice.choice(_CHANNELS)
        talk = await talks.get_or_create(who, channel=channel, channel_user_id=f"{channel}-{who}", display_name=who.title())
        await talks.append(talk.id, "user", self._dice.choice(_SAID), channel=channel, author=who)
        await asyncio.sleep(0.5)
        added = await talks.append(talk.id, "assistant", self._dice.choice(_ANSWERED), channel=channel)
        if added.sequence > 60 and self._dice.random() < 0.2:
            await talks.consolidate(talk.id)

    # -- workspaces ------------------------------------------------------------------------------------------------

    async def _agents_work(self) -> None:
        kind, (role, name) = self._store.workspaces, self._dice.choice(_AGENTS)
        at_work = {item.name: item for item in (await kind.list(project_id=_PROJECT)).items}
        agent = at_work.get(name)
        if agent is None:
            await kind.start(role, name, project_id=_PROJECT)
            return
        path = self._dice.choice(_FILES)
        if self._dice.random() < 0.1:
            await kind.end(agent.id, reason="done", project_id=_PROJECT)
            return
        await kind.heartbeat(agent.id, project_id=_PROJECT)
        try:
            await kind.claim(agent.id, path, ttl=timedelta(seconds=20), project_id=_PROJECT)
        except LeaseHeldError:
            return
        content = f"{name} read {path} and changed {self._dice.randrange(1, 40)} lines."
        await self._store.contexts.add(f"{_PROJECT} {path.partition('/')[0]}", "note", content, scope="default")

    # -- logins ----------------------------------------------------------------------------------------------------

    async def _devices_come_and_go(self) -> None:
        logins = self._store.logins
        if len(self._devices) < 6 or self._dice.random() < 0.4:
            who, client = self._dice.choice(_PEOPLE), self._dice.choice(_CLIENTS)
            ip = f"203.0.113.{self._dice.randrange(1, 255)}"
            agent = "Mozilla/5.0 (the demo)" if client == "web" else f"sojourn-demo {client}"
            self._devices.append(await logins.create(who, client_type=client, ip=ip, user_agent=agent))
            return
        device = self._dice.choice(self._devices)
        if len(self._devices) > 20 or self._dice.random() < 0.3:
            self._devices.remove(device)
            await logins.revoke_token(device.token, reason="signed out")
            return
        try:
            await logins.authenticate(device.token)
        except (EndedError, ExpiredError):
            self._devices.remove(device)

    # -- the game --------------------------------------------------------------------------------------------------

    async def _shown(self) -> Game | None:
        return await self._store.games.get(_TABLE)

    async def _look(self) -> None:
        """The bots wait for no browser: somebody always looks at the table."""
        game = await self._shown()
        if game is not None:
            await self._house.look(self._store, game.id, awake=True)

    async def _bot(self, user: str, name: str) -> None:
        """Chooses something, after thinking for a while, once in every turn."""
        chosen = 0
        while True:
            await asyncio.sleep(self._dice.uniform(0.5, 1.5))
            try:
                game = await self._shown()
                window = None if game is None else game.window
                if window is None or window.paused or window.turn == chosen or not window.options:
                    continue
                await asyncio.sleep(self._dice.uniform(2, 9))
                choice, key = self._dice.choice(window.options), f"{user}/{window.turn}"
                await self._store.games.submit_choice(_TABLE, user, name, choice, key=key, expect_turn=window.turn)
                chosen = window.turn
            except SojournError as error:
                _log.info("%s", error)
