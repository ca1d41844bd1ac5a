"""``workspace run``: a command that works in a session, which is held while the command lives."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable
from typing import Final

from sojourn.cli.call import Call
from sojourn.cli.exits import UsageError
from sojourn.cli.workspace.shown import settled, title
from sojourn.errors import NotFoundError
from sojourn.kinds.workspaces.model import Workspace
from sojourn.project.caller import SESSION
from sojourn.sync.store import Store

_PASSED: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
_FROM_TERMINAL: Final = (signal.SIGINT, signal.SIGQUIT)
_DEFAULT: Final = (signal.SIGPIPE, signal.SIGXFSZ)
"""Signals that Python ignores, and most commands do not."""
_NOT_FOUND: Final = 127
_NOT_EXECUTABLE: Final = 126
_BY_SIGNAL: Final = 128


def run(call: Call) -> int:
    """``workspace run``."""
    given = call.arguments
    settled(call)
    program = shutil.which(given.command[0])
    if program is None:
        there = os.path.exists(given.command[0])
        call.output.remark(f"sojourn: {given.command[0]} {'cannot be executed' if there else 'was not found'}.")
        return _NOT_EXECUTABLE if there else _NOT_FOUND
    if call.dry_run:
        call.output.would(f"hold session {given.name} and run {given.command[0]}")
        return 0
    call.may_migrate(create=True)  # asks while Ctrl-C still is ours
    # Signals are the command's, once it is there. Threads begun from here on (a pool's, the heartbeats) leave them to this one.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_PASSED, signal.SIGCHLD})
    try:
        store = call.store(create=True, adopt=True)
        session, begun = _session(store, given.name, given.role)
        with store.workspaces.hold(session.id) as held:
            call.output.note(f"Holding {title(session)}.")
            if signal.sigpending() & set(_PASSED):
                signal.pthread_sigmask(signal.SIG_SETMASK, before)  # asked to end before there is a command to end
            code = _spawned(call, program, {**os.environ, SESSION: session.id}, before)
            if held.lost:
                call.output.remark(f"Session {title(session)} was lost meanwhile: {held.error}")
        if begun:
            store.workspaces.end(session.id, reason=f"the command ended with {code}")
        return code
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _spawned(call: Call, program: str, environment: dict[str, str], mask: Iterable[int]) -> int:
    """Run the command; its exit code, and the shells' one for what the system does not take for a program."""
    words = call.arguments.command
    try:
        child = os.posix_spawn(program, words, environment, setsigmask=mask, setsigdef=_DEFAULT)
    except OSError as error:
        call.output.remark(f"sojourn: {words[0]} cannot be executed: {error.strerror}.")
        return _NOT_EXECUTABLE
    return _wait(child)


def _session(store: Store, name: str, role: str | None) -> tuple[Workspace, bool]:
    """The session to hold, and whether it is begun with this command: by a role, when nobody at work has the name."""
    try:
        found = store.workspaces.resolve(name).workspace
        if found.state not in ("ended", "expired"):
            return found, False
    except NotFoundError:
        found = None
    if role is not None:
        return store.workspaces.start(role, name, pointer=None), True
    what = f"there is no session {name!r}" if found is None else f"session {title(found)} has {found.state}"
    raise UsageError(f"{what}.", hint="Add --role ROLE to begin one of that name, or see: sojourn workspace list")


def _wait(child: int) -> int:
    """Pass signals on until the command ends; its exit code, 128 and the signal's number when one killed it."""
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            while late := signal.sigpending() & set(_PASSED):  # what came before the end was the command's, and is not ours
                signal.sigwait(late)
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else _BY_SIGNAL - code
        number = signal.sigwait({*_PASSED, signal.SIGCHLD})
        if number != signal.SIGCHLD and not (number in _FROM_TERMINAL and _in_foreground()):
            try:
                os.kill(child, number)
            except ProcessLookupError:
                continue


def _in_foreground() -> bool:
    """Whether Ctrl-C on the terminal reaches the command by itself, which is in our process group."""
    for stream in (0, 1, 2):
        try:
            return os.tcgetpgrp(stream) == os.getpgrp()
        except OSError:
            continue
    return False
