"""A story that several people play turn by turn, and what tells it: for the terminal and for the web page.

A narrator is any callable that takes a `Moment` and gives a `Told`; the built-in one is `GREY_POINT.tell`. What a game needs
next is decided by `needed`, from what is stored alone, so that any process may do it and any may die.
"""

from sojourn.story.grey_point import GREY_POINT
from sojourn.story.scenes import Moment, Narrator, Scene, Story, Told
from sojourn.story.steps import Need, moment_of, needed

__all__ = ["GREY_POINT", "Moment", "Narrator", "Need", "Scene", "Story", "Told", "moment_of", "needed"]
