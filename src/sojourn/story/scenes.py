"""Scenes and the ways between them, and how the players' choices pick one. Pure: nothing is remembered between two turns.

Where a story stands is read from what was told last, whose first line is the name of its scene. So the story needs no record
of its own beside the game's, and telling a turn twice gives the same text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from sojourn.errors import InvalidValueError


@dataclass(frozen=True, slots=True)
class Moment:
    """What a narrator is asked to tell. Turn 0 is the beginning, before anybody has chosen."""

    turn: int
    choices: Mapping[str, str]
    """By the players' names, in the order of the presses."""
    before: str
    """The beginning (500 characters) of what was told for the turn before; empty where that was the beginning."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What a narrator tells, and what may be chosen next."""

    text: str
    options: tuple[str, ...]


Narrator: TypeAlias = Callable[[Moment], Told]
"""Tells a turn. It may be asked for the same turn more than once, after a crash; only its options count then."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A place in a story: what is told there, and which choices lead where."""

    name: str
    text: str
    ways: Mapping[str, str]
    """What may be chosen, and the name of the scene it leads to."""


class Story:
    """Scenes by name, and the first of them."""

    def __init__(self, title: str, *scenes: Scene) -> None:
        self.title = title
        self.start: Scene = scenes[0]
        self._scenes = {scene.name: scene for scene in scenes}
        for scene in scenes:
            if len(scene.name) > 100 or "\n" in scene.name or not scene.ways:
                raise InvalidValueError(f"scene {scene.name!r} needs a name of one short line, and a way out.")
            lost = [to for to in scene.ways.values() if to not in self._scenes]
            if lost:
                raise InvalidValueError(f"scene {scene.name!r} leads to {lost[0]!r}, and there is no such scene.")

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """All of them, the first one first."""
        return tuple(self._scenes.values())

    def where(self, told: str) -> Scene:
        """The scene that was told last; the first one before anything was."""
        name = told.partition("\n")[0]
        return self._scenes.get(name, self.start)

    def tell(self, moment: Moment) -> Told:
        """The scene that the players' choices lead to: most voices win, the earliest of equals."""
        scene = self.where(moment.before)
        if moment.turn == 0:
            return _told(scene, "")
        voices = Counter(choice for choice in moment.choices.values() if choice in scene.ways)
        if not voices:
            return _told(scene, "Nobody moves, and the night goes on without you.\n\n")
        choice, count = voices.most_common(1)[0]
        who = [name for name, chosen in moment.choices.items() if chosen == choice]
        others = sum(voices.values()) - count
        lead = f"{_names(who)}: {choice[0].lower()}{choice[1:]}" + (f" ({count} against {others})" if others else "")
        return _told(self._scenes[scene.ways[choice]], f"{lead}.\n\n")


def _told(scene: Scene, lead: str) -> Told:
    return Told(f"{scene.name}\n\n{lead}{scene.text}", tuple(scene.ways))


def _names(who: list[str]) -> str:
    if len(who) > 3:
        return f"{', '.join(who[:2])} and {len(who) - 2} more"
    return " and ".join(filter(None, [", ".join(who[:-1]), who[-1]]))
