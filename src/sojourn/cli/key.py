"""``sojourn key``: keys of the HTTP API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sojourn.cli.call import Call
from sojourn.cli.exits import MissingPackageError, UsageError
from sojourn.cli.output import Listing, standard_text
from sojourn.cli.parser import Parser
from sojourn.cli.text import ago
from sojourn.core.ids import tail
from sojourn.errors import NotFoundError

if TYPE_CHECKING:
    from sojourn.kinds.logins.model import Login, NewLogin
    from sojourn.service.keys import LoginKeys


def fill(_: str, parser: Parser) -> None:
    """Add the commands."""
    parser.description = (
        "A key lets a program use the HTTP API ('sojourn serve') in one tenant, as far as its scopes go. Keys are kept in\n"
        "the store that is served, as digests; a key is shown once, when it is made."
    )
    parser.commands()
    made = parser.command(
        "create",
        "make a key and print it, this once",
        create,
        examples="sojourn key create bot\nsojourn key create dashboard --scope read\n"
        "sojourn key create talker --scope conversations:read --scope conversations:write --tenant acme",
        more="Scopes: read and write of everything the tenant has, KIND:read and KIND:write of one kind (conversations,\n"
        "contexts, games, logins, workspaces, sessions), and admin, which includes all, and the store's own upkeep.",
    )
    made.add_argument("name", metavar="NAME", help="who or what uses it")
    made.add_argument(
        "--scope", action="append", metavar="SCOPE", help="what it allows; may be repeated (default: read and write)"
    )
    parser.command("list", "the keys that can be used, of every tenant", list_keys, examples="sojourn key list")
    parser.command(
        "rotate",
        "replace the key on standard input, and print the new one, this once",
        rotate,
        examples="sojourn key rotate < old.key > new.key",
        more="The old one is good no longer.",
    )
    made = parser.command("revoke", "make a key useless at once", revoke, examples="sojourn key revoke 7Q2M8XKD")
    made.add_argument("id", metavar="ID", help="its id, or the end of it")


def create(call: Call) -> None:
    """``key create``."""
    from sojourn.shell.bridge import run_sync

    given = call.arguments
    _must_be_seen(call)
    scopes = given.scope or ["read", "write"]
    if call.dry_run:
        call.output.would(f"make a key {given.name} for the tenant {call.options.tenant}: {', '.join(scopes)}")
        return
    keys = _keys(call, create=True)
    made = run_sync(keys.create(given.name, tenant=call.options.tenant, scopes=scopes))
    _answer(call, made)


def list_keys(call: Call) -> None:
    """``key list``."""
    from sojourn.shell.bridge import run_sync

    items: list[Login] = []
    if call.exists:
        items = run_sync(_keys(call).list())
    if not items:
        call.output.note(f"No keys at {call.place}. Make one with: {call.command('key create NAME')}")
    now = call.now
    rows = [
        [tail(item.id), item.user_id, _tenant(item), ", ".join(_scopes(item)), ago(item.last_activity_at, now)]
        for item in items
    ]
    columns = ["ID", "NAME", "TENANT", "SCOPES", "LAST USED"]
    call.output.listing(Listing([_document(item) for item in items], columns, rows, [item.id for item in items]))


def rotate(call: Call) -> None:
    """``key rotate``."""
    from sojourn.shell.bridge import run_sync

    _must_be_seen(call)
    token = standard_text().strip()
    if not token:
        raise UsageError("there is no key on standard input.", hint="For example: sojourn key rotate < old.key > new.key")
    if call.dry_run:
        call.output.would("replace the key on standard input")
        return
    _answer(call, run_sync(_keys(call).rotate(token)))


def revoke(call: Call) -> None:
    """``key revoke``."""
    from sojourn.shell.bridge import run_sync

    keys = _keys(call)
    given: str = call.arguments.id
    wanted = given.strip().lstrip("…").upper()
    found = [item for item in run_sync(keys.list()) if len(wanted) >= 4 and item.id.endswith(wanted)]
    if len(found) > 1:
        raise UsageError(
            f"several keys end with {given!r}.", hint="Give more characters: 'sojourn key list --json' has whole ids."
        )
    if not found:
        raise NotFoundError(f"there is no key whose id ends in {given}.", hint=f"See: {call.command('key list')}")
    item = found[0]
    what = f"revoke the key {tail(item.id)} of {item.user_id}"
    if call.dry_run:
        call.output.would(what, id=item.id)
        return
    call.output.confirm(f"{what[0].upper()}{what[1:]}?", yes=call.options.yes)
    run_sync(keys.revoke(item.id))
    call.output.answer({"id": item.id, "revoked": True}, [item.id], f"Revoked {tail(item.id)} of {item.user_id}.")


def _keys(call: Call, *, create: bool = False) -> LoginKeys:
    try:
        from sojourn.service.keys import LoginKeys
    except ImportError as error:
        raise MissingPackageError(
            f"keys of the service need the package {error.name}.", hint="Install it: pip install 'sojourn[service]'"
        ) from error
    return LoginKeys(call.store(create=create)._aio)


def _must_be_seen(call: Call) -> None:
    if call.output.mode == "quiet" and not call.dry_run:
        raise UsageError(
            "with --quiet nobody would ever see the key.",
            hint="Leave it away (the key alone is on standard output), or use --json.",
        )


def _answer(call: Call, made: NewLogin) -> None:
    """The key alone on standard output; in JSON beside what it is."""
    login = made.login
    if call.output.human:
        scopes = ", ".join(_scopes(login))
        call.output.note(
            f"Key {tail(login.id)} of {login.user_id}, for the tenant {_tenant(login)}: {scopes}. It is not shown again:"
        )
    call.output.answer({**_document(login), "key": str(made.token)}, [login.id], str(made.token))


def _document(item: Login) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.user_id,
        "tenant": _tenant(item),
        "scopes": _scopes(item),
        "created_at": item.created_at.isoformat(),
        "last_used_at": item.last_activity_at.isoformat(),
    }


def _tenant(item: Login) -> str:
    return str(item.metadata.get("tenant"))


def _scopes(item: Login) -> list[str]:
    found = item.metadata.get("scopes")
    return [str(scope) for scope in found] if isinstance(found, list) else []
