"""The demo that stays: a service with its console, and all five kinds alive in it until Ctrl-C.

It may be killed at any moment: whoever starts it again finds everything as it was, countdowns included. The store is in a
place of its own, which Ctrl-C removes; with ``--keep`` it is where the user says, and stays.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from sojourn.demo.tour import url_of
from sojourn.demo.traffic import Traffic
from sojourn.service.application import ServiceOptions, application
from sojourn.service.console.operators import LinkOperators
from sojourn.service.keys import LoginKeys
from sojourn.service.logs import configure
from sojourn.service.serving import ListenError, address_of, listen, on_enter, say, serve
from sojourn.store import aopen

PORT = 8765
HOST = "127.0.0.1"


def play(keep: Path | None, port: int | None) -> None:
    """Run until Ctrl-C. ``port``: None for the usual one, or any that is free."""
    with _place(keep) as place:
        asyncio.run(_play(place, keep, port))


@contextmanager
def _place(keep: Path | None) -> Generator[Path, None, None]:
    """A directory that this process has for itself; removed at the end, but for what the user wants to keep."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
        return
    place = Path(tempfile.gettempdir()) / f"sojourn-play-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise OSError(f"{place} belongs to somebody else.")
    held = (place / "held").open("w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # another one plays there: this one has a place of its own
        held.close()
        with tempfile.TemporaryDirectory(prefix="sojourn-play-") as own:
            yield Path(own)
        return
    with held:
        yield place
        shutil.rmtree(place)


class _Known:
    """The join code of the table, which keeps the printed link good over a restart; the store knows its digest only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.code = path.read_text() if path.exists() else ""

    def remember(self, code: str) -> None:
        """Keep it, for this user alone."""
        self._path.touch(mode=0o600)
        self._path.write_text(code)


async def _play(place: Path, keep: Path | None, port: int | None) -> None:
    configure(requests=False)
    path, known = place / "demo.db", _Known(place / "join-code")
    again = bool(known.code)
    key = f"sja_{secrets.token_urlsafe(32)}"
    with _listen(port) as listening:
        async with aopen(url_of(path), directory=False) as store, store.runner():
            operators = LinkOperators(store)
            keys = LoginKeys(store, admin_secret=key)
            app = application(store, keys=keys, operators=operators, options=ServiceOptions(strangers_per_second=100.0))
            traffic = Traffic(store, app.state.service.house)
            code = await traffic.begin(known.code)
            known.remember(code)
            address = address_of(listening, HOST)

            def started() -> None:
                say(_greeting(address, operators.link(), key, code, place if keep is not None else None, again=again))
                on_enter(lambda: say([f"  Console  {address}{operators.link()}"]))

            going_on = asyncio.create_task(traffic.run())
            try:
                await serve(app, listening, started)
            finally:
                going_on.cancel()
                await asyncio.gather(going_on, return_exceptions=True)
    kept = f"The store is kept: {path}" if keep is not None else "Nothing is left of it."
    say(["", kept])


def _listen(port: int | None) -> socket.socket:
    if port is not None:
        return listen(HOST, port)
    try:
        return listen(HOST, PORT)
    except ListenError:
        return listen(HOST, 0)


def _greeting(address: str, link: str, key: str, code: str, kept: Path | None, *, again: bool) -> list[str]:
    """One screenful."""
    start = "sojourn demo --play" if kept is None else f"sojourn demo --play --keep {kept}"
    begun = "It goes on where it was killed: look at the countdown." if again and kept is None else ""
    return [
        *([begun, ""] if begun else []),
        "Five kinds of sessions are alive in one store. Open these in a browser:",
        "",
        f"  Console  {address}{link}",
        "           signs in once; Enter prints another link",
        f"  Play     {address}/play/{code}",
        "           three bots are at the table: join them, in as many tabs as you like",
        "",
        "Try:",
        "  1. Play a turn. It closes when all have chosen, or when the countdown is over, and is told once.",
        f"  2. Kill me: kill -9 {os.getpid()}   and start me again: {start}",
        "     The countdown goes on from what is stored, the turn closes once, and your tab finds its way back.",
        "  3. In the console, open a conversation: messages arrive over three channels while you look. Fold it, fork it.",
        "  4. Sign somebody out under Logins; end a game under Games; see who has claimed what under Workspaces.",
        "  5. Follow everything that is committed, from another terminal:",
        f"     curl -N -H 'Authorization: Bearer {key}' {address}/v1/events",
        f"  6. All operations are described at {address}/openapi.json (with the same header).",
        "",
        "Ctrl-C stops; the store stays." if kept is not None else "Ctrl-C stops, and nothing is left.",
    ]
