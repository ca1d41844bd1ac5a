"""Where a caller stands, as the kind is told: the project of the working directory, pointers, who holds what on this host.

The kind knows project ids and sessions. Files, terminals and the environment are behind `Places`, which `sojourn.project`
implements for the working directory; a store that serves others (HTTP) is always given a ``project_id`` and asks for none of
it. Nothing here waits: each method is a few system calls.
"""

from __future__ import annotations

from typing import Literal, Protocol, TypeAlias

Spot: TypeAlias = Literal["terminal", "project"]
"""Where a pointer is kept: for this agent or terminal alone, or for everybody in the project."""

Source: TypeAlias = Literal["argument", "environment", "agent", "terminal", "project"]
"""What led to a session: an explicit argument, ``SOJOURN_SESSION``, the pointer of an agent, a terminal, or the project."""


class Grip(Protocol):
    """A session that this process holds on this host."""

    def let_go(self) -> None:
        """Hold it no more; idempotent. The end of the process does the same, however it ends."""
        ...


class Places(Protocol):
    """The working directory's project, as the operations of workspaces see it. Made anew for each store, asked at each call."""

    def project_id(self) -> str:
        """The id of the project of the working directory; `NoProjectError` where there is none."""
        ...

    def chosen(self) -> str | None:
        """What ``SOJOURN_SESSION`` says; None when it is unset or blank."""
        ...

    def keyed_by(self) -> Literal["agent", "terminal"] | None:
        """What the ``terminal`` pointer belongs to here; None where there is neither (a fresh shell without a terminal)."""
        ...

    def read(self, spot: Spot) -> str | None:
        """What a pointer says, without blanks around it; None when there is none, or it is blank."""
        ...

    def write(self, spot: Spot, session: str) -> None:
        """Point at a session, whole or not at all; what was there is `previous` from now on. `PointerError` when it fails."""
        ...

    def swap(self, spot: Spot, before: str | None, session: str) -> bool:
        """As `write`, if the pointer still says ``before`` (as `read` gave it); False, and nothing done, when it does not."""
        ...

    def clear(self, spot: Spot) -> None:
        """Remove a pointer; idempotent. `PointerError` when it fails."""
        ...

    def previous(self) -> str | None:
        """The session that was pointed at from here before the present one; None when there was none."""
        ...

    def where(self, spot: Spot) -> str:
        """The pointer as people find it (its path), for messages."""
        ...

    def host(self) -> str:
        """This host as it runs now: another after a restart, when nobody holds what was held before."""
        ...

    def hold(self, session: str) -> Grip:
        """Hold a session as this process, until it lets go or ends; `LeaseHeldError` when another process of this host does.

        Children of this process hold nothing.
        """
        ...

    def held(self, session: str) -> bool | None:
        """Whether a living process of this host holds a session; None where that cannot be told (nobody here ever held it).

        This and `hold` and `host` need no project.
        """
        ...
