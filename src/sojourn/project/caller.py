"""Who is asking, as far as the environment tells: an agent, a pane of a terminal multiplexer, or a terminal.

The answer is the key of a pointer, so that several agents and terminals in one project each have their own. It is hashed: what
tools put into their variables is nobody's business, and may be no file name.
"""

from __future__ import annotations

import os
from hashlib import sha256

SESSION = "SOJOURN_SESSION"
AGENT = "SOJOURN_AGENT"

AGENT_VARIABLES = (
    "CLAUDE_CODE_SESSION_ID",  # Claude Code, in its Bash tool since 2.1.132
    "CODEX_THREAD_ID",  # Codex CLI, in the shells it starts (openai/codex pull request 10096)
    "GEMINI_SESSION_ID",  # Gemini CLI, in its hooks
    "AMP_CURRENT_THREAD_ID",  # Amp, in its shell tool
    "AGENT_SESSION_ID",  # Goose, in what its extensions run
    "OPENCODE_SESSION_ID",  # opencode, by a plug-in
)
"""What coding agents put into the environment of the commands they run, to tell one of their sessions from another."""

_PANES = (
    ("TMUX_PANE", "TMUX"),
    ("ZELLIJ_PANE_ID", "ZELLIJ_SESSION_NAME"),
    ("WINDOW", "STY"),  # GNU screen
)
"""A pane's number, and what names the multiplexer that gave it."""

_DIGITS = 32


class Caller:
    """What a pointer may belong to: ``kind`` is agent or terminal, ``key`` the name of its file."""

    __slots__ = ("key", "kind")

    def __init__(self, kind: str, source: str) -> None:
        self.kind: str = kind
        self.key: str = key_of(source)


def key_of(source: str) -> str:
    """The name of the pointer file of whatever ``source`` tells from all others."""
    return sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]


def caller() -> Caller | None:
    """Who is asking; None for a shell without agent and terminal (a scheduled job, for example)."""
    given = _value(AGENT)
    if given:
        return Caller("agent", f"{AGENT}\0{given}")
    # All of them: an agent that was started by another one has inherited that one's variable, and set its own.
    tools = [f"{name}\0{_value(name)}" for name in AGENT_VARIABLES if _value(name)]
    if tools:
        return Caller("agent", "\0".join(tools))
    terminal = _pane() or _terminal()
    return Caller("terminal", terminal) if terminal else None


def chosen() -> str | None:
    """What ``SOJOURN_SESSION`` says; None when it is unset or blank."""
    return _value(SESSION) or None


def _value(name: str) -> str:
    return os.environ.get(name, "").strip()


def _pane() -> str:
    for number, server in _PANES:
        pane, place = _value(number), _value(server)
        if pane and place:
            # tmux: socket, process of the server, session. The first two last as long as the pane; it may change sessions.
            return f"{number}\0{','.join(place.split(',')[:2])}\0{pane}"
    return ""


def _terminal() -> str:
    """The controlling terminal, and who opened it: devices are used again, by others, as soon as they are closed."""
    device, leader = _controlling()
    return f"terminal\0{device}\0{leader}" if device else ""


def _controlling() -> tuple[str, str]:
    found = _process_fields("self")
    if found:
        session, number = found[3], found[4]
        return ("", "") if number == "0" else (number, f"{session} {_started(session)}")
    for stream in (0, 2, 1):
        try:
            return os.ttyname(stream), str(os.getsid(0))
        except (OSError, AttributeError):
            continue
    return "", ""


def _started(process: str) -> str:
    """When a process was started, which tells it from a later one of the same number; empty when it is gone."""
    found = _process_fields(process)
    return found[19] if len(found) > 19 else ""


def _process_fields(process: str) -> list[str]:
    """The fields of Linux's ``/proc/PID/stat`` behind the name, which may hold anything; empty elsewhere."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode("ascii").split()
    except (OSError, ValueError):
        return []
