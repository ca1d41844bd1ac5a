"""Commands as they travel, and the scripts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha1

from sojourn.engines.statements import read_script


def pack(words: Sequence[bytes]) -> bytes:
    """A command in the server's protocol."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


class Command:
    """One command as it is sent. Its second word is the key that says where on a Cluster, unless ``key`` does.

    One that ``follows`` is about the command before it, and travels on its connection whenever that does.
    """

    __slots__ = ("follows", "key", "packed")

    def __init__(self, *words: bytes, key: bytes | None = None, follows: bool = False) -> None:
        self.packed: bytes = pack(words)
        self.key: bytes = words[1] if key is None and len(words) > 1 else key or b""
        self.follows: bool = follows


class ScriptCall(Command):
    """A command that runs a script by its digest; `with_text` is for a server that does not know the script."""

    __slots__ = ("_words", "script")

    def __init__(self, script: Script, words: Sequence[bytes]) -> None:
        super().__init__(b"EVALSHA", script.digest, *words, key=words[1] if words[0] != b"0" else b"")
        self.script: Script = script
        self._words = words

    def with_text(self) -> Command:
        """The same with the whole script, which the server then knows."""
        return Command(b"EVAL", self.script.text, *self._words, key=self.key)


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the digest it is called by."""

    text: bytes
    digest: bytes = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha1(self.text, usedforsecurity=False).hexdigest().encode())

    def call(self, keys: Sequence[bytes], *arguments: bytes) -> Command:
        """The command that runs it."""
        return ScriptCall(self, (b"%d" % len(keys), *keys, *arguments))


@dataclass(frozen=True, slots=True)
class Scripts:
    """All of them."""

    commit: Script
    load: Script
    follow: Script
    show: Script
    aliases: Script
    page: Script
    counted: Script
    recent: Script
    due: Script
    tip: Script
    events: Script
    history: Script
    make: Script
    stale: Script
    purge: Script
    owned: Script
    forget: Script
    erase: Script


@cache
def scripts() -> Scripts:
    """The scripts, read once. A reading one says so and may run on a replica."""
    return Scripts(
        _script(
            "quick",
            "authors",
            "shown",
            "commit",
            "places",
            "moving",
            "answers",
            "emptying",
            "making",
            "names",
            "data",
            "decide",
            flags="",
        ),
        _script("shown", "load"),
        _script("shown", "follow"),
        _script("shown", "show"),
        _script("aliases"),
        _script("page"),
        _script("counted"),
        _script("recent"),
        _script("due"),
        _script("replication", "tip"),
        _script("replication", "events"),
        _script("history"),
        _script("make", flags=""),
        _script("stale"),
        _script("authors", "emptying", "purging", "purge", flags=""),
        _script("owned"),
        _script("forget", flags=""),
        _script("authors", "emptying", "places", "purging", "erase", flags=""),
    )


def _script(*names: str, flags: str = " flags=no-writes") -> Script:
    return Script("".join([f"#!lua{flags}\n", *map(_lua, ("session", *names))]).encode())


def _lua(name: str) -> str:
    """A script without its comments and indentation."""
    lines = (line.strip() for line in read_script("sojourn.engines.redis", f"{name}.lua").splitlines())
    return "".join(f"{line}\n" for line in lines if line and not line.startswith("--"))
