"""Names that people give: 1–32 characters of a–z, 0–9 and hyphens, and generated ones of two curated words."""

from __future__ import annotations

import re
import secrets

from sojourn.errors import InvalidNameError

LONGEST = 32
_ALLOWED = re.compile(r"[a-z0-9-]*")

ADJECTIVES = tuple(
    """
    amber ample brave brisk calm clear cosy crisp deft eager early fair fleet fresh gentle glad golden grand green
    happy hardy honest humble jolly keen kind lively lucid lucky mellow merry mild neat nimble noble patient plain
    polite proud quick quiet rapid ready robust silent silver sleek smart snug sober solid spry steady still
    sturdy subtle sunny swift tidy tranquil trusty vivid warm wise witty
    """.split()  # noqa: SIM905  # a list of words reads better as text
)
NOUNS = tuple(
    """
    acorn alder anchor aspen badger beacon birch bison brook cedar cliff comet coral crane creek dune eagle elm
    ember falcon fern finch fjord forest gale garnet glade grove harbor hawk hazel heron island jade juniper
    kestrel lagoon lark ledge linden lynx maple marsh meadow mesa moss oak orchard osprey otter pebble pine plover
    pond quartz quill raven reed ridge river robin sage shore slate sparrow spruce stone summit swan thicket
    thrush tide tundra valley walnut willow wren
    """.split()  # noqa: SIM905  # a list of words reads better as text
)


def validate_name(name: object) -> str:
    """``name`` when it keeps every rule; `InvalidNameError` names the one it breaks."""
    if not isinstance(name, str):
        raise InvalidNameError(f"a name must be text, not {type(name).__name__}.")
    if not name:
        raise InvalidNameError("a name must not be empty.", hint="Use 1 to 32 of a-z, 0-9 and hyphens.")
    if len(name) > LONGEST:
        raise InvalidNameError(f"a name has at most {LONGEST} characters, this one has {len(name)}.")
    if not _ALLOWED.fullmatch(name):
        wrong = next(character for character in name if not _ALLOWED.fullmatch(character))
        raise InvalidNameError(f"a name has only a-z, 0-9 and hyphens; {name!r} has {wrong!r}.")
    if name.startswith("-"):
        raise InvalidNameError(f"a name must not begin with a hyphen: {name!r}.")
    if name.endswith("-"):
        raise InvalidNameError(f"a name must not end with a hyphen: {name!r}.")
    if "--" in name:
        raise InvalidNameError(f"a name must not have two hyphens in a row: {name!r}.")
    return name


def generate_name(*, suffix: bool = False) -> str:
    """A name of two words such as ``brisk-heron``; with ``suffix`` four hexadecimal digits more, for when names clash."""
    name = f"{secrets.choice(ADJECTIVES)}-{secrets.choice(NOUNS)}"
    return f"{name}-{secrets.token_hex(2)}" if suffix else name
