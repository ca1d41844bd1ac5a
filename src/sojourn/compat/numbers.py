"""Whole numbers for records of programs that number them, allotted once for a store however many processes ask at once.

The number of moves of an alias is the counter: it only grows, and one commit moves it. Its target keeps the highest number
that an import brought, above which counting begins.
"""

from __future__ import annotations

from typing import Final

from sojourn.core.batch import Point, Refusal
from sojourn.core.session import AliasKey
from sojourn.shell.bridge import run_sync
from sojourn.shell.unit import Unit, perform

_HOME: Final = "compat.numbers"


def allot(unit: Unit, name: str, above: int) -> int:
    """A number that nobody else gets, higher than ``above``."""
    return run_sync(_allot(unit, AliasKey(f"{_HOME}/{name}", _HOME, name), above))


async def _allot(unit: Unit, place: AliasKey, above: int) -> int:
    async def step() -> int | Refusal:
        alias = (await unit.engine.follow(unit.tenant, place)).alias
        epoch, offset = (0, 0) if alias is None else (alias.epoch, int(alias.target or 0))
        number = max(offset + epoch + 1, above + 1)
        point = Point(place, str(number - epoch - 1), epoch)
        answer = await unit.attempt(place.home, point)
        return answer.refusal or number

    return await perform(step, "number")
