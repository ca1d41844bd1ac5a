"""What exists is in the reference, and what is in the reference exists."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import sojourn
from sojourn import errors
from sojourn.engines.contract import PROMISES
from sojourn.kinds.games import transitions

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCE: Final = ROOT / "src" / "sojourn"
REFERENCE: Final = ROOT / "docs" / "reference"
EXPLANATION: Final = ROOT / "docs" / "explanation"

FACES: Final = {
    "store": (sojourn.Store, sojourn.AsyncStore),
    "store.contexts": (sojourn.Contexts, sojourn.AsyncContexts),
    "store.games": (sojourn.Games, sojourn.AsyncGames),
    "store.conversations": (sojourn.Conversations, sojourn.AsyncConversations),
    "store.directory": (sojourn.Directory, sojourn.AsyncDirectory),
    "store.logins": (sojourn.Logins, sojourn.AsyncLogins),
    "store.workspaces": (sojourn.Workspaces, sojourn.AsyncWorkspaces),
    "store.sessions": (sojourn.Sessions, sojourn.AsyncSessions),
    "runner": (sojourn.Runner, sojourn.AsyncRunner),
}
POLICIES: Final = (
    sojourn.ContextPolicy,
    sojourn.ConversationPolicy,
    sojourn.GamePolicy,
    sojourn.EngineOptions,
    sojourn.WorkspacePolicy,
    sojourn.LoginPolicy,
)


def read(name: str) -> str:
    """A page of the reference."""
    return (REFERENCE / name).read_text(encoding="utf-8")


def test_the_generated_parts_have_not_drifted() -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "reference.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


# -- the library -------------------------------------------------------------------------------------------------------


def test_every_public_name_is_in_the_reference(reference: str) -> None:
    missing = [name for name in sojourn.__all__ if not re.search(rf"\b{name}\b", reference)]
    assert not missing


@pytest.mark.parametrize("prefix", FACES)
def test_every_operation_has_an_entry_and_every_entry_an_operation(prefix: str) -> None:
    blocking, _ = FACES[prefix]
    public = {name for name in vars(blocking) if not name.startswith("_")}
    entries = set(re.findall(rf"^### `{re.escape(prefix)}\.(\w+)`$", read("api.md"), re.MULTILINE))
    assert entries == public


@pytest.mark.parametrize("prefix", FACES)
def test_both_colours_have_the_operations_that_the_reference_names(prefix: str) -> None:
    blocking, waiting = FACES[prefix]
    public = {name for name in vars(waiting) if not name.startswith("_")}
    made = {name for name in vars(blocking) if not name.startswith("_")}
    set_by_constructor = set(re.findall(r"self\.([a-z]\w*)\b", inspect.getsource(waiting)))
    assert public <= made <= public | set_by_constructor


@pytest.mark.parametrize("policy", POLICIES)
def test_every_field_of_a_policy_is_described(policy: type) -> None:
    text = read("policies.md")
    part = text[text.index(f"policy {policy.__name__} -->") :].partition("<!-- end -->")[0]
    for field in dataclasses.fields(policy):
        entry = re.search(rf"^### `{field.name}`\n\n(.+)$", part, re.MULTILINE)
        assert entry, f"{policy.__name__}.{field.name} has no entry"
        described = entry[1].partition(". ")[2]
        assert described, f"{policy.__name__}.{field.name} is not described"


def test_every_value_that_operations_give_is_described() -> None:
    values = {name for name in sojourn.__all__ if dataclasses.is_dataclass(getattr(sojourn, name))}
    values -= {policy.__name__ for policy in POLICIES}
    assert values <= set(re.findall(r"^### `(\w+)`$", read("api.md"), re.MULTILINE))


# -- errors ------------------------------------------------------------------------------------------------------------


def family(base: type[errors.SojournError] = errors.SojournError) -> Iterator[type[errors.SojournError]]:
    """The errors of the library, their root included."""
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from family(kind)


def error_rows() -> dict[str, list[str]]:
    """The rows of the table of errors, by code."""
    rows = re.findall(r"^\| `([\w.]+)` \| (.+) \|$", read("errors.md"), re.MULTILINE)
    assert len({code for code, _ in rows}) == len(rows)
    return {code: rest.split(" | ") for code, rest in rows}


def test_every_error_code_is_described_with_its_class() -> None:
    assert {code: row[0] for code, row in error_rows().items()} == {kind.code: f"`{kind.__name__}`" for kind in family()}


def test_every_error_says_whose_it_is_and_what_to_do() -> None:
    for code, (_, whose, stored, advice, _) in error_rows().items():
        assert whose in ("you", "others", "operator", "–"), code
        assert stored in ("no", "**unknown**", "–"), code
        assert len(advice) > 20, code


def test_every_exit_code_is_the_command_lines() -> None:
    from sojourn.cli.exits import EXIT_CODES

    assert {code: int(row[-1]) for code, row in error_rows().items()} == {kind.code: EXIT_CODES[kind.code] for kind in family()}


# -- events ------------------------------------------------------------------------------------------------------------


def changes_in_source() -> set[str]:
    """Every name of a change that the source can give an event."""
    found: set[str] = set()
    for path in sorted(SOURCE.rglob("*.py")):
        if "testing" not in path.parts and "cli" not in path.parts:
            found |= changes_in(ast.parse(path.read_text(encoding="utf-8")))
    return found


def changes_in(tree: ast.Module) -> set[str]:
    """The names in one module: ``change=…`` of calls, defaults of ``change: str``, and what `change_view` and `_note` take."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            given = [keyword.value for keyword in node.keywords if keyword.arg == "change"]
            given += {"change_view": node.args[3:4], "_note": node.args[1:2], "Event": node.args[3:4]}.get(called, [])
            for value in given:
                found |= texts_of(value, tree)
        elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == "change" and node.value is not None:
            found |= texts_of(node.value, tree)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for argument, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
                if argument.arg == "change" and default is not None:
                    found |= texts_of(default, tree)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(re.findall(r"\bchange = '(\w+)'", node.value))
    return found


def texts_of(value: ast.expr, tree: ast.Module) -> set[str]:
    """The texts that an expression may be; of a name, those that are assigned to it anywhere in the module."""
    if isinstance(value, ast.Constant):
        return {value.value} if isinstance(value.value, str) else set()
    if isinstance(value, ast.IfExp):
        return texts_of(value.body, tree) | texts_of(value.orelse, tree)
    if isinstance(value, ast.Name):
        assigned = [node.value for node in ast.walk(tree) if isinstance(node, ast.Assign) and same_name(node.targets, value.id)]
        return {text for inner in assigned if isinstance(inner, ast.IfExp) for text in texts_of(inner, tree)}
    return set()


def same_name(targets: list[ast.expr], name: str) -> bool:
    """Whether an assignment is to this name."""
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def test_every_change_of_events_is_described() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", read("events.md"), re.MULTILINE)) - {"change"}
    of_games = {row.change for row in transitions.TRANSITIONS}
    assert described == (changes_in_source() - {sojourn.GamePolicy().change}) | of_games


def test_an_event_has_the_fields_that_are_named() -> None:
    text = read("events.md")
    assert all(f"`{field.name}`" in text for field in dataclasses.fields(sojourn.Event))


# -- commands and environment ------------------------------------------------------------------------------------------


def test_every_command_and_option_is_in_the_reference() -> None:
    from sojourn.cli.parser import Parser
    from sojourn.cli.program import build

    text = read("cli.md")
    missing: list[str] = []

    def look(parser: Parser) -> None:
        children = parser.children()
        if not children and parser.prog not in text:
            missing.append(parser.prog)
        for action in parser._actions:
            missing.extend(f"{parser.prog} {name}" for name in action.option_strings if f"{name}" not in text)
        for child in children.values():
            look(child)

    look(build().fill_all())
    assert not missing


def test_every_environment_variable_is_in_the_reference(reference: str) -> None:
    found: set[str] = set()
    for path in [*SOURCE.rglob("*.py"), *SOURCE.rglob("*.c")]:
        text = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"\bSOJOURN_[A-Z_]+\b", text))
        found |= set(re.findall(r"environ(?:\.get\(|\[)\"(\w+)\"", text))
    assert {"SOJOURN_URL", "NO_COLOR"} <= found
    found -= {"PATH", "PYTHONPATH"}  # handed on to programs that tests start
    assert not [name for name in found if f"`{name}`" not in reference]


# -- explanations ------------------------------------------------------------------------------------------------------


def test_every_promise_is_in_the_guarantees() -> None:
    text = (EXPLANATION / "guarantees.md").read_text(encoding="utf-8")
    assert all(f"| {name} | {sentence} |" in text for name, sentence in PROMISES.items())


WORDS: Final = (
    "session entry sequence version phase alias tag batch guard snapshot decision conflict home touch deadline due sweep fold "
    "lease event watch principal end revoke expired ended engine driver store kind rule operation"
)


def test_every_word_of_the_house_is_in_the_glossary() -> None:
    terms = re.findall(r"^\*\*(.+?)\*\*", (EXPLANATION / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE)
    known = {word for term in terms for word in term.split(", ")}
    assert not [word for word in [*WORDS.split(), "operation id", "not found"] if word not in known]
    assert terms == sorted(terms, key=str.lower)
