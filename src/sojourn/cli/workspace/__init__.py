"""``sojourn workspace``: who is at work in a project.

Here is what the commands take; what they do is imported when one is run, so that help costs no kind and no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sojourn.cli.options import Run, duration, json_object, page_size
from sojourn.cli.parser import Parser
from sojourn.cli.status import add_to

if TYPE_CHECKING:
    from sojourn.cli.call import Call

_POINTERS = ("auto", "terminal", "project", "none")


def fill(_: str, parser: Parser) -> None:
    """Add the commands."""
    parser.description = (
        "A workspace session says who is at work in a project: a person or an agent, in a role. Each agent and terminal has a\n"
        "pointer of its own to its session; --session names another one. A project is made by 'sojourn init'."
    )
    parser.commands()
    for add in (_start, _end, _status, _load, _show, _list, _use, _resume, _rename, _run, _heartbeat):
        add(parser)
    for add in (_expire, _expire_stale, _claim, _release, _claims, _check, _roles, _role):
        add(parser)


def _does(module: str, name: str) -> Run:
    def run(call: Call) -> int | None:
        command: Run = getattr(import_module(f"sojourn.cli.workspace.{module}"), name)
        return command(call)

    return run


def _reference(parser: Parser, *, needed: bool = False) -> None:
    text = "an id, the end of one, a name, the beginning of one, or - for the one before"
    if needed:
        parser.add_argument("reference", metavar="REF", help=text)
    else:
        parser.add_argument("reference", metavar="REF", nargs="?", help=f"{text}; your own without it")


def _pointing(parser: Parser, choices: tuple[str, ...]) -> None:
    parser.add_argument(
        "--pointer",
        choices=choices,
        default="auto",
        help="which pointer leads to it: auto (the agent's or terminal's, else the project's if nobody at work has it), "
        f"{', '.join(choices[1:])}",
    )
    parser.add_argument("--replace", action="store_true", help="take the project's pointer from whoever is at work and has it")


def _start(parser: Parser) -> None:
    made = parser.command(
        "start",
        "begin to work: a new session, and a pointer to it",
        _does("writing", "start"),
        examples="sojourn workspace start --role implementer\n"
        "sojourn workspace start --role architect --name review --pointer project\n"
        "export SOJOURN_SESSION=$(sojourn workspace start --role implementer --pointer none -q)",
        more="A store that does not exist yet is made.",
    )
    made.add_argument("--role", metavar="ROLE", required=True, help="a role of the project (see: sojourn workspace roles)")
    made.add_argument("--name", metavar="NAME", default="", help="a name that nobody at work has (default: one is made)")
    _pointing(made, _POINTERS)
    made.add_argument("--system", action="store_true", help="a program's own session: no pointer, and not counted")
    made.add_argument("--actor", metavar="USER", help="who delegated the work")
    made.add_argument("--metadata", metavar="JSON", type=json_object, help='a JSON object kept with it, such as {"ticket":7}')
    made.add_argument("--key", metavar="KEY", help="an id of this operation: the same again starts nothing a second time")


def _end(parser: Parser) -> None:
    made = parser.command(
        "end",
        "end a session; its name and its claims are free",
        _does("writing", "end"),
        examples='sojourn workspace end\nsojourn workspace end reviewer --reason "merged"',
        more="Ending it again keeps the first time.",
    )
    _reference(made)
    made.add_argument("--reason", metavar="TEXT", default="", help="why, kept with it")


def _status(parser: Parser) -> None:
    parser.noun("status", "who am I here (as: sojourn status)", lambda made: add_to(made, "workspace status"))


def _load(parser: Parser) -> None:
    made = parser.command(
        "load",
        "who am I here, for a tool that goes on to work: marks activity",
        _does("writing", "load"),
        examples="sojourn workspace load -q\nsojourn workspace load --json",
        more="Ends with 3 when nobody is at work here, and with 5 when the session has ended or expired.",
    )
    _reference(made)


def _show(parser: Parser) -> None:
    made = parser.command(
        "show",
        "show a session",
        _does("reading", "show"),
        examples="sojourn workspace show\nsojourn workspace show reviewer --json",
    )
    _reference(made)


def _list(parser: Parser) -> None:
    made = parser.command(
        "list",
        "list who is at work, the newest first",
        _does("reading", "list_workspaces"),
        examples="sojourn workspace list\nsojourn workspace list --role implementer --all --json",
    )
    made.add_argument("--role", metavar="ROLE", help="only this role")
    made.add_argument("--all", action="store_true", help="those that have ended or expired too")
    page_size(made, "sessions")


def _use(parser: Parser) -> None:
    made = parser.command(
        "use",
        "be another session from here on: point at it",
        _does("writing", "use"),
        examples="sojourn workspace use reviewer\nsojourn workspace use -",
    )
    _reference(made, needed=True)
    _pointing(made, _POINTERS[:3])


def _resume(parser: Parser) -> None:
    made = parser.command(
        "resume",
        "take up a session again, an idle or lost one too, and point at it",
        _does("writing", "resume"),
        examples="sojourn workspace resume brisk-heron",
    )
    _reference(made, needed=True)
    _pointing(made, _POINTERS)


def _rename(parser: Parser) -> None:
    made = parser.command(
        "rename",
        "give a session another name",
        _does("writing", "rename"),
        examples="sojourn workspace rename parser-fix\nsojourn workspace rename parser-fix --session brisk-heron",
    )
    made.add_argument("name", metavar="NAME", help="1 to 32 of a-z, 0-9 and hyphens")


def _run(parser: Parser) -> None:
    made = parser.command(
        "run",
        "run a command, and hold a session while it lives",
        _does("running", "run"),
        examples="sojourn workspace run --role implementer parser-fix -- make test\nsojourn workspace run reviewer -- bash",
        more="The command finds its session in SOJOURN_SESSION, gets the signals, and gives the exit code. A session that run\n"
        "begins ends with the command; one that was there goes on. If run is killed, the session is lost at once.",
    )
    made.usage = "%(prog)s [options] NAME -- COMMAND ..."
    made.add_argument("name", metavar="NAME", help="a session at work; with --role a new one, if nobody at work has the name")
    made.add_argument("command", metavar="COMMAND", nargs="+", help="what to run, with its arguments")
    made.add_argument("--role", metavar="ROLE", help="begin a session of this role")


def _heartbeat(parser: Parser) -> None:
    made = parser.command(
        "heartbeat",
        "say that a session is at work; a lost one is back",
        _does("writing", "heartbeat"),
        examples="sojourn workspace heartbeat",
    )
    _reference(made)


def _expire(parser: Parser) -> None:
    made = parser.command(
        "expire",
        "have a session go stale now; its name and its claims are free",
        _does("writing", "expire"),
        examples="sojourn workspace expire brisk-heron",
    )
    _reference(made, needed=True)


def _expire_stale(parser: Parser) -> None:
    parser.command(
        "expire-stale",
        "put away the sessions in which nothing was done for 4 hours",
        _does("writing", "expire_stale"),
        examples="sojourn workspace expire-stale --dry-run\nsojourn workspace expire-stale",
        more="They count as expired by then, whether this is run or not; sweep does it for all projects. Pointers of\n"
        "agents and terminals to sessions that were over a week ago are removed too.",
    )


def _resource(parser: Parser, *, optional: bool = False) -> None:
    text = "a path, from the working directory; with --as-is any name"
    if optional:
        parser.add_argument("resource", metavar="RESOURCE", nargs="?", help=f"{text}: only what overlaps it")
    else:
        parser.add_argument("resource", metavar="RESOURCE", help=text)
    parser.add_argument("--as-is", action="store_true", help="RESOURCE is a name, or a path from the project's root")


def _claim(parser: Parser) -> None:
    made = parser.command(
        "claim",
        "claim a path, with all below it, or any other name; again to renew it",
        _does("claims", "claim"),
        examples="sojourn workspace claim src/parser/\nsojourn workspace claim deploy --as-is --ttl 1h",
    )
    _resource(made)
    made.add_argument("--ttl", metavar="TIME", type=duration, help="free after so long (default: 15m)")


def _release(parser: Parser) -> None:
    made = parser.command(
        "release",
        "give a claim back",
        _does("claims", "release"),
        examples="sojourn workspace release src/parser/",
    )
    _resource(made)


def _claims(parser: Parser) -> None:
    made = parser.command(
        "claims",
        "list what is claimed, and by whom",
        _does("claims", "list_claims"),
        examples="sojourn workspace claims\nsojourn workspace claims src/parser/lexer.py",
    )
    _resource(made, optional=True)


def _check(parser: Parser) -> None:
    made = parser.command(
        "check",
        "say who else has claimed these paths",
        _does("claims", "check"),
        examples="sojourn workspace check src/parser/lexer.py\nsojourn init --hooks claude",
        more="Ends with 7 when somebody has. With --hook it reads from standard input what a coding agent is about to edit,\n"
        "and ends with 2 to stop it; 'sojourn init --hooks' sets that up.",
    )
    made.usage = "%(prog)s [options] (PATH ... | --hook)"
    made.add_argument("paths", metavar="PATH", nargs="*", help="a path, from the working directory")
    made.add_argument("--hook", action="store_true", help="as a coding agent's hook before an edit")


def _roles(parser: Parser) -> None:
    parser.command(
        "roles",
        "list the project's roles",
        _does("reading", "roles"),
        examples="sojourn workspace roles",
    )


def _role(parser: Parser) -> None:
    parser.noun("role", "add a role to the project, or remove one", _fill_role)


def _fill_role(parser: Parser) -> None:
    parser.description = "Roles of a project count under a built-in one: architect, implementer or monitor."
    parser.commands()
    made = parser.command(
        "add",
        "add a role",
        _does("writing", "add_role"),
        examples="sojourn workspace role add tester --base implementer",
    )
    made.add_argument("name", metavar="ROLE", help="2 to 64 of a-z, 0-9 and underscores, beginning with a letter")
    made.add_argument("--base", metavar="ROLE", required=True, help="architect, implementer or monitor")
    made = parser.command(
        "rm",
        "remove a role that nobody at work has",
        _does("writing", "remove_role"),
        examples="sojourn workspace role rm tester",
    )
    made.add_argument("name", metavar="ROLE", help="a role of the project's own")
