"""Which operation is where: one line each, from which routes, arguments, answers and the OpenAPI document are made.

``{name}`` in a path is the operation's parameter of that name. Of what is left, GET and DELETE take it from the query, the
others from a JSON body; ``key`` is the ``Idempotency-Key`` header and ``expected_version`` the ``If-Match`` header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of a kind, and its place."""

    kind: str
    """The store's attribute: ``conversations``; ``store`` for the store itself."""
    method: Method
    path: str
    name: str

    @property
    def action(self) -> str:
        """What a key must allow."""
        if self.kind == "store":
            return "admin"
        return "read" if self.method == "GET" else "write"

    @property
    def id(self) -> str:
        """Its name in the OpenAPI document."""
        return f"{self.kind}.{self.name}"


CONVERSATIONS: Final = """
    GET    /conversations                                      list
    POST   /conversations                                      create
    POST   /conversations/current                              get_or_create
    GET    /conversations/search                               search
    GET    /conversations/handles/{channel}/{channel_user_id}  resolve
    POST   /conversations/decay                                decay
    GET    /conversations/{id}                                 get
    PATCH  /conversations/{id}                                 update
    DELETE /conversations/{id}                                 delete
    GET    /conversations/{id}/messages                        messages
    POST   /conversations/{id}/messages                        append
    POST   /conversations/{id}/messages/batch                  extend
    POST   /conversations/{id}/messages/{sequence}/hide        hide
    POST   /conversations/{id}/messages/{sequence}/unhide      unhide
    POST   /conversations/{id}/messages/{sequence}/redact      redact
    POST   /conversations/{id}/messages/{sequence}/expand      expand
    POST   /conversations/{id}/messages/pop                    pop
    GET    /conversations/{id}/window                          window
    GET    /conversations/{id}/export                          export
    POST   /conversations/{id}/consolidate                     consolidate
    POST   /conversations/{id}/repair                          repair
    POST   /conversations/{id}/channels                        link_channel
    DELETE /conversations/{id}/channels/{channel}              unlink_channel
    POST   /conversations/{id}/end                             end
    POST   /conversations/{id}/clear                           clear
    POST   /conversations/{id}/fork                            fork
    POST   /conversations/{id}/rewind                          rewind
    POST   /conversations/{id}/undo-rewind                     undo_rewind
    GET    /conversations/{id}/checkpoints                     checkpoints
    POST   /conversations/{id}/checkpoints                     checkpoint
    POST   /conversations/{id}/lease                           run_lease
"""

CONTEXTS: Final = """
    GET    /contexts                                           list
    POST   /contexts                                           create
    DELETE /contexts                                           delete_all
    GET    /contexts/active                                    active
    GET    /contexts/search                                    search
    POST   /contexts/resume                                    resume
    GET    /contexts/artifacts                                 artifacts
    DELETE /contexts/kept/{id}                                 purge
    GET    /contexts/named/{name}                              get
    PATCH  /contexts/named/{name}                              update
    DELETE /contexts/named/{name}                              delete
    POST   /contexts/named/{name}/artifacts                    add
    GET    /contexts/named/{name}/artifacts/{sequence}         artifact
    POST   /contexts/named/{name}/artifacts/{sequence}/pin     pin
    GET    /contexts/named/{name}/assembly                     assemble
    GET    /contexts/named/{name}/export                       export
    POST   /contexts/named/{name}/rename                       rename
    POST   /contexts/named/{name}/branch                       branch
    PUT    /contexts/named/{name}/active                       set_active
"""

SESSIONS: Final = """
    GET    /sessions                                           list
    GET    /sessions/{id}                                      get
    DELETE /sessions/{id}                                      delete
    GET    /sessions/{id}/events                               events
    POST   /sessions/{id}/end                                  end
"""

STORE: Final = """
    GET    /store/facts                                        facts
    GET    /store/check                                        check
    POST   /store/sweep                                        sweep
    POST   /store/erase                                        erase
"""

ELSEWHERE: Final = {
    "conversations": {
        "fold": "consolidate",
        "unfold": "expand",
        "turn": "run_lease",
    },
    "contexts": {"update_metadata": "update"},
}
"""Operations that are another one under a second name."""


def _rows(kind: str, text: str) -> tuple[Operation, ...]:
    rows = [line.split() for line in text.strip().splitlines()]
    return tuple(Operation(kind, row[0], row[1], row[2]) for row in rows)  # type: ignore[arg-type]


OPERATIONS: Final[tuple[Operation, ...]] = (
    *_rows("conversations", CONVERSATIONS),
    *_rows("contexts", CONTEXTS),
    *_rows("sessions", SESSIONS),
    *_rows("store", STORE),
)
