"""What the parts of the engine share: a driver, the shards of the store, the scripts, the time that a test gives."""

from __future__ import annotations

from collections.abc import Sequence

from redis.exceptions import ConnectionError

from sojourn.engines.contract import Clock
from sojourn.engines.redis.address import Place
from sojourn.engines.redis.commands import Command, Scripts, scripts
from sojourn.engines.redis.driver import Driver, Reply
from sojourn.engines.redis.faults import Unanswered, translate
from sojourn.engines.redis.keys import SHARDS, Shard, Shards


def _is_cut(reply: Reply) -> bool:
    """Whether the connection broke before the reply: not when the server was too slow, and would only be asked more."""
    return isinstance(reply, Unanswered) and isinstance(reply.__cause__, ConnectionError)


class Talk:
    """A store on its servers."""

    def __init__(self, place: Place, driver: Driver, clock: Clock | None) -> None:
        self.place = place
        self.driver = driver
        self.clock = clock
        self.scripts: Scripts = scripts()
        self.shards: Shards = Shards(place.prefix, place.shards or SHARDS)

    def use_shards(self, count: int) -> None:
        """Go by the number of shards that the store was made with."""
        if count != len(self.shards):
            self.shards = Shards(self.place.prefix, count)

    def time(self) -> bytes:
        """The time for a script: a test's, or nothing, and then it asks the server's."""
        return b"" if self.clock is None else b"%d" % self.clock()

    async def ask(self, command: Command) -> Reply:
        """The reply to one command that may be asked again."""
        return (await self.ask_all([command], wide=False))[0]

    async def ask_all(self, commands: Sequence[Command], *, wide: bool = True) -> list[Reply]:
        """The replies to commands that may be asked again, as they are when the server hung up; the first error is raised."""
        replies = await self.driver.ask(commands, wide=wide, again=True) if commands else []
        if any(_is_cut(reply) for reply in replies):
            replies = await self.driver.ask(commands, wide=wide, again=True)
        for reply in replies:
            if isinstance(reply, Exception):
                raise translate(reply, self.place.shown, writing=False) from reply
        return replies

    def asked(self, tenant: str, home: str | None) -> Sequence[Shard]:
        """The shards that may have what is asked for: one when the home is known."""
        return tuple(self.shards) if home is None else (self.shards.of_home(tenant, home),)
