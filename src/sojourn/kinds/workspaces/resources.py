"""What can be claimed: paths of a project, which cover what is below them, and other names. Pure."""

from __future__ import annotations

from typing import Final
from unicodedata import normalize

from sojourn.core.codec import check_text
from sojourn.errors import InvalidValueError

LONGEST: Final = 1024
WHOLE: Final = "."
"""The whole project."""


def check_resource(resource: object) -> str:
    """A resource in the form that is kept: no empty steps, no ``.``, no slash at the end; ``.`` for the whole project.

    Refused: an absolute path, a step ``..``, and control characters, a line's end among them.
    """
    text = check_text(resource, "resource", LONGEST)
    if not text.strip():
        raise InvalidValueError("a resource must not be empty.", hint="Claim a path such as src/, or '.' for all of it.")
    wrong = next((character for character in text if not character.isprintable()), None)
    if wrong is not None:
        raise InvalidValueError(f"a resource must not have the character {wrong!r}: {text[:200]!r}.")
    if text.startswith("/"):
        raise InvalidValueError(f"a resource is a path inside the project, not {text!r}.", hint="Begin at the project's root.")
    steps = [step for step in text.split("/") if step not in ("", ".")]
    if ".." in steps:
        raise InvalidValueError(f"a resource must not have '..': {text!r}.", hint="Begin at the project's root.")
    return "/".join(steps) or WHOLE


def steps_of(resource: str) -> tuple[str, ...]:
    """The steps of a kept resource; equal for names that differ only in how their letters are composed."""
    return () if resource == WHOLE else tuple(normalize("NFC", resource).split("/"))


def overlap(one: str, other: str) -> bool:
    """Whether one covers the other: it is the same, or the other lies below it."""
    left, right = steps_of(one), steps_of(other)
    length = min(len(left), len(right))
    return left[:length] == right[:length]
