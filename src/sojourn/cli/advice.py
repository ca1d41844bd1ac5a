"""What the library advises programmers, said to whoever types commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sojourn.errors import SojournError

if TYPE_CHECKING:
    from sojourn.cli.call import Call

_TYPED: Final = (
    ("migrate=True", "If it is the right one, run: {migrate}"),
    ("the 'next' of", "Pass to --after what was printed with the page before ('next' in --json), unchanged."),
    ("event's 'cursor'", "Pass to --after the cursor that 'conversation tail --jsonl' printed with a message, unchanged."),
    ("'sojourn doctor'", "Check the path. To look closer: {doctor}\nTo bring a backup back: {restore BACKUP}"),
    ("Restore a backup.", "Put a backup in its place: {restore BACKUP}"),
    ("Open it without mode=ro", "Leave ?mode=ro out of the URL to write."),
    ("messages()", "To see what is there: {conversation show ID}"),
    ("directory.add_user", "Add one with --username NAME --add-user; --any-user takes the id of an application's own user."),
    ("on_conflict=", "Add --on-conflict take_over, or --on-conflict share."),
)
"""What a hint of the library says, and the same to be typed; in braces, a command with this store's options."""


def advise(call: Call, error: SojournError) -> SojournError:
    """The same error with a hint that can be typed."""
    hint = error.hint
    if "add_role()" in hint:
        hint = hint.replace("add_role() adds one", call.command("workspace role add ROLE --base implementer") + " adds one")
    for said, typed in _TYPED:
        if said in hint:
            hint = typed
            for words in ("migrate", "doctor", "restore BACKUP", "conversation show ID"):
                hint = hint.replace(f"{{{words}}}", call.command(words))
            break
    error.hint = hint
    return error
