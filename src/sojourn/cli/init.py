"""``sojourn init``: make a project, say what a copy is to be, and tell coding agents what others have claimed."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, Final

from sojourn.cli.call import Call
from sojourn.cli.exits import SystemFault, UsageError
from sojourn.cli.parser import Parser
from sojourn.errors import InvalidValueError
from sojourn.project import identity
from sojourn.project.root import Root, find, require, working_directory, working_tree

HOOK: Final = "sojourn workspace check --hook"
_SECONDS: Final = 10

TOOLS: Final = {
    "claude": (Path(".claude", "settings.local.json"), "Edit|MultiEdit|Write|NotebookEdit"),
    "codex": (Path(".codex", "hooks.json"), "apply_patch|Edit|Write"),
}
"""Where a coding agent keeps the hooks of a project, and which of its tools edit files."""


def fill(_: str, parser: Parser) -> None:
    """Add what the command takes."""
    parser.description = (
        "Make a project: a directory .sojourn with an id, kept out of git; without DIRECTORY at the top of the git\n"
        "repository, or in the working directory where there is none. In a project it changes nothing: it may be repeated."
    )
    parser.examples("sojourn init\nsojourn init --hooks claude\nsojourn init --renew")
    parser.add_argument("directory", metavar="DIRECTORY", nargs="?", help="exactly there")
    parser.add_argument("--id", metavar="ID", help="the project's id (default: one is made); for clones that share a store")
    parser.add_argument("--renew", action="store_true", help="this directory is a copy: make it a project of its own")
    parser.add_argument("--keep", action="store_true", help="this directory is a copy: let it be the same project")
    parser.add_argument(
        "--hooks", choices=tuple(TOOLS), help="have this coding agent ask, before it edits a file, who has claimed it"
    )
    parser.set_defaults(run=init)


def init(call: Call) -> None:
    """``init``."""
    given = call.arguments
    if given.renew and given.keep:
        raise UsageError("--renew and --keep exclude each other.", hint="See: sojourn init --help")
    if given.renew or given.keep:
        root, text = _copy(call)
    else:
        root, text = _make(call)
    hooks = ""
    if given.hooks is not None:
        hooks = _add_hooks(call, root, given.hooks)
    if call.dry_run:
        call.output.would(" and ".join(part for part in (text, hooks) if part) or "do nothing")
        return
    found = identity.id_of(root)
    document = {"directory": root.directory, "project_id": found, "done": text, "hooks": hooks}
    call.output.answer(document, [found], "\n".join(f"{part[0].upper()}{part[1:]}." for part in (text, hooks) if part))


def _make(call: Call) -> tuple[Root, str]:
    given = call.arguments
    here = working_directory()
    known = find() if given.directory is None else _at(given.directory)
    if known is not None and os.path.exists(os.path.join(known.state, identity.ID)):
        if given.id is not None and identity.id_of(known) != identity.check_id(given.id):
            raise InvalidValueError(
                f"{known.directory} is project {identity.id_of(known)} already.",
                hint=f"To give it another id: sojourn init --renew --id {given.id}",
            )
        identity.project_of(known)
        return known, f"{known.directory} is project {identity.id_of(known)} already"
    place = given.directory or (known.directory if known is not None else working_tree(here) or here)
    if call.dry_run:
        if given.id is not None:
            identity.check_id(given.id)
        return Root(os.path.realpath(place)), f"make a project of {os.path.realpath(place)}"
    root = identity.make(place, given.id)
    return root, f"{root.directory} is project {identity.id_of(root)} now"


def _at(directory: str) -> Root | None:
    root = Root(os.path.realpath(directory))
    return root if os.path.isdir(root.state) else None


def _copy(call: Call) -> tuple[Root, str]:
    given = call.arguments
    root = require(given.directory)
    before = identity.id_of(root)
    if given.keep:
        if given.id is not None:
            raise UsageError("--keep keeps the id; --id gives another.", hint="Use --renew --id ID.")
        if call.dry_run:
            return root, f"let {root.directory} be project {before}"
        identity.adopt(root)
        return root, f"{root.directory} is project {before}"
    if call.dry_run:
        return root, f"give {root.directory} a new id, and remove its pointers"
    call.output.confirm(
        f"Give {root.directory} a new id? It is project {before} now, whose sessions are not shown here any more.",
        yes=call.options.yes or bool(identity.copied_from(root, before)),
    )
    identity.renew(root, given.id)
    return root, f"{root.directory} is project {identity.id_of(root)} now, and no session of {before} is its own"


# -- hooks -------------------------------------------------------------------------------------------------------------


def _add_hooks(call: Call, root: Root, tool: str) -> str:
    """Add the check to a coding agent's own settings, beside whatever is there; what was or would be done."""
    path, matcher = Path(root.top) / TOOLS[tool][0], TOOLS[tool][1]
    settings = _settings(path)
    groups = _groups(settings, path)
    if any(HOOK in str(group) for group in groups):
        return f"{path} asks before edits already"
    if call.dry_run:
        return f"have {tool} ask before edits, in {path}"
    hook = {"type": "command", "command": HOOK, "timeout": _SECONDS}
    groups.append({"matcher": matcher, "hooks": [hook]})
    _write(path, json.dumps(settings, indent=2, ensure_ascii=False) + "\n")
    return f"{tool} asks before edits who has claimed a file: {path}"


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(f"{path} is not JSON: {error}.", hint="Mend it first; nothing was changed.") from error
    if not isinstance(found, dict):
        raise InvalidValueError(f"{path} is no JSON object.", hint="Mend it first; nothing was changed.")
    return found


def _groups(settings: dict[str, Any], path: Path) -> list[Any]:
    """The list of what is done before a tool is used, made where there is none."""
    hooks = settings.setdefault("hooks", {})
    groups = hooks.setdefault("PreToolUse", []) if isinstance(hooks, dict) else None
    if not isinstance(groups, list):
        raise InvalidValueError(f"the hooks in {path} are not as expected.", hint="Mend them first; nothing was changed.")
    return groups


def _write(path: Path, text: str) -> None:
    """Whole or not at all, with the rights that the file has."""
    path.parent.mkdir(exist_ok=True)
    if path.is_symlink():
        raise SystemFault(f"{path} is a symbolic link.", hint="Add the hook to the file that it names.")
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    partial = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
