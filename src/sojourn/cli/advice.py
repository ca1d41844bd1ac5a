"""What the library advises programmers, said to whoever types commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sojourn.errors import SojournError

if TYPE_CHECKING:
    from sojourn.cli.call import Call


def advise(call: Call, error: SojournError) -> SojournError:
    """The same error with a hint that can be typed."""
    hint = error.hint
    if "migrate=True" in hint:
        hint = f"If it is the right one, run: {call.command('migrate')}"
    elif "the 'next' of" in hint:
        hint = "Pass to --after what was printed with the page before ('next' in --json), unchanged."
    elif "event's 'cursor'" in hint:
        hint = "Pass to --after the cursor that 'conversation tail --jsonl' printed with a message, unchanged."
    elif "'sojourn doctor'" in hint:
        hint = f"Check the path. To look closer: {call.command('doctor')}"
        hint += f"\nTo bring a backup back: {call.command('restore BACKUP')}"
    elif hint == "Restore a backup.":
        hint = f"Put a backup in its place: {call.command('restore BACKUP')}"
    elif "mode=ro" in hint and "Open it" in hint:
        hint = "Leave ?mode=ro out of the URL to write."
    elif "add_role()" in hint:
        hint = hint.replace("add_role() adds one", call.command("workspace role add ROLE --base implementer") + " adds one")
    elif "messages()" in hint:
        hint = f"To see what is there: {call.command('conversation show ID')}"
    elif "directory.add_user" in hint:
        hint = "Add one with --username NAME --add-user; --any-user takes the id of an application's own user."
    elif "on_conflict=" in hint:
        hint = "Add --on-conflict take_over, or --on-conflict share."
    error.hint = hint
    return error
