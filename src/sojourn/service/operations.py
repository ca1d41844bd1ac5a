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
    def scope(self) -> str:
        """The kind that a key's scope names."""
        return "logins" if self.kind == "directory" else self.kind

    @property
    def action(self) -> str:
        """What a key must allow."""
        if self.kind == "store":
            return "admin"
        return "read" if self.method == "GET" else "write"

    @property
    def creates(self) -> bool:
        """Whether it makes something new: 201."""
        return self.method == "POST" and self.name in _CREATING

    @property
    def of_a_game(self) -> bool:
        """Whether it is about one game, and can be said on that game's WebSocket."""
        return self.kind == "games" and self.name in _OF_A_GAME and not self.waits

    @property
    def waits(self) -> bool:
        """Whether it waits for what others do."""
        return self.name == "wait_for_countdown"

    @property
    def id(self) -> str:
        """Its name in the OpenAPI document."""
        return f"{self.kind}.{self.name}" + (".by_id" if self.by_id else "")

    @property
    def by_id(self) -> bool:
        """Whether it names a game by its id where the same operation names it by its channel too."""
        return self.path.startswith("/games/{game_id}") and self.name not in ("load", "delete", "resume")


_CREATING: Final = frozenset(
    (
        *("create", "append", "extend", "add", "fork", "branch", "checkpoint", "boot", "invite", "rotate"),
        *("start", "start_system", "add_role", "add_user", "add_world", "add_character"),
    )
)

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

LOGINS: Final = """
    GET    /logins                                             list
    POST   /logins                                             create
    POST   /logins/authenticate                                authenticate
    POST   /logins/find                                        find
    POST   /logins/rotate                                      rotate
    POST   /logins/revoke-token                                revoke_token
    POST   /logins/revoke-all                                  revoke_all
    POST   /logins/delete-expired                              delete_expired
    POST   /logins/clear                                       clear
    GET    /logins/count                                       count_active
    GET    /logins/users/{user_id}                             online
    POST   /logins/users/{user_id}/revoke                      revoke_user
    POST   /logins/characters/{character_id}/revoke            revoke_character
    GET    /logins/worlds/{world_id}/characters                active_characters
    GET    /logins/{id}                                        get
    PATCH  /logins/{id}                                        update
    POST   /logins/{id}/touch                                  touch
    POST   /logins/{id}/step-up                                step_up
    POST   /logins/{id}/revoke                                 revoke
    GET    /logins/{id}/history                                history
    PUT    /logins/{id}/character                              bind_character
    DELETE /logins/{id}/character                              unbind_character
"""

DIRECTORY: Final = """
    POST   /directory/users                                    add_user
    GET    /directory/users/{user_id}                          user
    DELETE /directory/users/{user_id}                          remove_user
    GET    /directory/usernames/{username}                     user_id
    POST   /directory/worlds                                   add_world
    GET    /directory/worlds/{world_id}                        world
    POST   /directory/characters                               add_character
    GET    /directory/characters/{character_id}                character
    PATCH  /directory/characters/{character_id}                rename_character
    DELETE /directory/characters/{character_id}                remove_character
    POST   /directory/characters/{character_id}/move           move_character
"""

WORKSPACES: Final = """
    GET    /workspaces/{project_id}                            list
    POST   /workspaces/{project_id}                            start
    POST   /workspaces/{project_id}/system                     start_system
    GET    /workspaces/{project_id}/count                      count_active
    GET    /workspaces/{project_id}/resolve                    resolve
    POST   /workspaces/{project_id}/load                       load_active
    POST   /workspaces/{project_id}/resume                     resume
    POST   /workspaces/{project_id}/end                        end
    POST   /workspaces/{project_id}/expire-stale               expire_stale
    GET    /workspaces/{project_id}/roles                      roles
    POST   /workspaces/{project_id}/roles                      add_role
    DELETE /workspaces/{project_id}/roles/{name}               remove_role
    GET    /workspaces/{project_id}/claims                     claims
    POST   /workspaces/claims/release                          release
    GET    /workspaces/{project_id}/sessions/{id}              get
    PATCH  /workspaces/{project_id}/sessions/{id}              update
    POST   /workspaces/{project_id}/sessions/{id}/heartbeat    heartbeat
    POST   /workspaces/{project_id}/sessions/{id}/rename       rename
    POST   /workspaces/{project_id}/sessions/{id}/expire       expire
    POST   /workspaces/{project_id}/sessions/{id}/claims       claim
"""

GAMES: Final = """
    GET    /games                                              list
    GET    /games/codes/{code}                                 find_by_code
    POST   /games/codes/{code}/players                         join_by_code
    GET    /games/{game_id}                                    load
    DELETE /games/{game_id}                                    delete
    POST   /games/{game_id}/resume                             resume
    GET    /games/channels/{channel_id}                        get
    POST   /games/channels/{channel_id}                        boot
    POST   /games/channels/{channel_id}/swap                   swap
    POST   /games/channels/{channel_id}/exit                   exit
    POST   /games/channels/{channel_id}/shelve                 shelve
    POST   /games/channels/{channel_id}/lock                   lock
"""

OF_A_GAME: Final = """
    PATCH  .                                                   update
    GET    ./players                                           players
    POST   ./players                                           join
    GET    ./players/active                                    active_players
    DELETE ./players/{user_id}                                 leave
    POST   ./players/{user_id}/kick                            kick
    POST   ./players/{user_id}/substitute                      substitute
    GET    ./crown                                             crown_holder_name
    PUT    ./crown                                             set_crown
    GET    ./crown/{user_id}                                   is_crown_holder
    POST   ./codes                                             invite
    POST   ./choices                                           submit_choice
    POST   ./window                                            open_window
    POST   ./window/close                                      close
    POST   ./window/extend                                     extend
    POST   ./window/pause                                      pause
    POST   ./window/unpause                                    unpause
    GET    ./turns                                             history
    GET    ./turns/next                                        wait_for_countdown
    POST   ./narration                                         narrate
    GET    ./turns/{turn}/narration                            narration
    POST   ./turns/{turn}/narration                            record_turn
    POST   ./saves                                             save
    POST   ./fork                                              fork
    POST   ./rewind                                            rewind
"""
"""What is done with a game, whether it is named by its channel or by its own id."""
_OF_A_GAME: Final = frozenset(line.split()[2] for line in OF_A_GAME.strip().splitlines())

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

LEFT_OUT: Final = {
    "logins": {
        "acting": "ip= and user_agent= are parameters here",
        "require_fresh": "the application compares authenticated_at",
    },
    "workspaces": {
        "hold": "it is a living process that holds; over HTTP, heartbeats say as much",
        "use": "it moves a pointer file, and a project named by its id has none",
    },
    "games": {
        "watch": "a WebSocket and the event stream do",
        "format_banner": "it only formats what GET gives",
        "format_choices": "it only formats what GET gives",
    },
    "store": {
        "for_tenant": "a key names its tenant",
        "watch": "the event stream does",
        "tip": "the event stream begins there",
        "runner": "the server runs one",
        "lease": "a holder's process would have to live in the server",
        "renew": "as lease",
        "export": "sojourn export does, beside the store",
        "load": "sojourn load does, beside the store",
        "backup": "sojourn backup does, beside the store",
        "close": "the server's own business",
    },
}
"""Operations that are not over HTTP, and why."""


def _rows(kind: str, text: str) -> tuple[Operation, ...]:
    rows = [line.split() for line in text.strip().splitlines()]
    return tuple(Operation(kind, row[0], row[1], row[2]) for row in rows)  # type: ignore[arg-type]


OPERATIONS: Final[tuple[Operation, ...]] = (
    *_rows("conversations", CONVERSATIONS),
    *_rows("contexts", CONTEXTS),
    *_rows("logins", LOGINS),
    *_rows("directory", DIRECTORY),
    *_rows("workspaces", WORKSPACES),
    *_rows("games", GAMES),
    *_rows("games", OF_A_GAME.replace(" .", " /games/channels/{channel_id}")),
    *_rows("games", OF_A_GAME.replace(" .", " /games/{game_id}")),
    *_rows("sessions", SESSIONS),
    *_rows("store", STORE),
)
