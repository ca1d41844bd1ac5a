"""Writes what the reference pages take from the source: signatures, docstrings, defaults, tables, promises.

    python tools/reference.py            write the generated parts of docs/
    python tools/reference.py --check    compare, and fail on drift

A page is written by hand but for its generated parts. Each begins with ``<!-- generated: WHAT -->`` and ends with
``<!-- end -->``; WHAT is one of the makers at the end of this file and its arguments. What no signature says (which errors,
what asking again does, how many round trips) is in ``tools/operations.toml``, and ``tests/docs`` proves it.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
FACTS = ROOT / "tools" / "operations.toml"
SCHEMA = ROOT / "src" / "sojourn" / "engines" / "sqlite" / "schema.sql"
CONFORMANCE = ROOT / "src" / "sojourn" / "testing" / "conformance"

BEGIN = re.compile(r"<!-- generated: (.+?) -->\n")
END = "<!-- end -->"

Function = ast.FunctionDef | ast.AsyncFunctionDef


# -- the source --------------------------------------------------------------------------------------------------------


@cache
def tree_of(module: str) -> ast.Module:
    """The syntax tree of a module."""
    return ast.parse(Path(inspect.getfile(importlib.import_module(module))).read_text(encoding="utf-8"))


def node_of(name: str) -> Any:
    """The definition of a public name of the package."""
    value = getattr(importlib.import_module("sojourn"), name)
    found = [node for node in tree_of(value.__module__).body if getattr(node, "name", "") == value.__name__]
    assert len(found) == 1, f"{name} has {len(found)} definitions in {value.__module__}"
    return found[0]


def facts() -> dict[str, Any]:
    """What is known of each operation besides its signature."""
    return tomllib.loads(FACTS.read_text(encoding="utf-8"))


def members(node: ast.ClassDef) -> Iterator[Function]:
    """The public methods and properties of a class, in the order of the source; overloads are left out."""
    for inner in node.body:
        if isinstance(inner, Function) and not inner.name.startswith("_") and "overload" not in decorators(inner):
            yield inner


def decorators(node: Function | ast.ClassDef) -> list[str]:
    """The names of what decorates a definition."""
    return [one.id for one in node.decorator_list if isinstance(one, ast.Name)]


def prose(node: ast.AST) -> str:
    """A docstring as Markdown."""
    assert isinstance(node, Function | ast.ClassDef)
    return markdown(ast.get_docstring(node) or "")


def markdown(text: str) -> str:
    """Docstring text as Markdown: one sort of code span, and paragraphs on one line."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]
    return "\n\n".join(paragraphs).replace("``", "`")


def signature(node: Function) -> str:
    """A signature as it is written, without ``self``, a parameter a line when it is long."""
    arguments = ast.parse(f"def f({ast.unparse(node.args)}): ...").body[0]
    assert isinstance(arguments, ast.FunctionDef)
    arguments.args.args = [one for one in arguments.args.args if one.arg != "self"]
    returns = ast.unparse(node.returns).strip("'\"") if node.returns else "None"
    parts = [part.replace("'", '"').replace("builtins.", "") for part in parameters(arguments.args)]
    returns = returns.replace("builtins.", "")
    short = f"def {node.name}({', '.join(parts)}) -> {returns}: ..."
    if len(short) <= 100:
        return short
    lines = "".join(f"    {part},\n" for part in parts)
    return f"def {node.name}(\n{lines}) -> {returns}: ..."


def parameters(given: ast.arguments) -> Iterator[str]:
    """Each parameter as it is written."""
    plain = [None] * (len(given.args) - len(given.defaults)) + list(given.defaults)
    for one, default in zip(given.args, plain, strict=True):
        yield ast.unparse(one) + ("" if default is None else f" = {ast.unparse(default)}")
    if given.kwonlyargs:
        yield "*"
    for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
        yield ast.unparse(one) + ("" if default is None else f" = {ast.unparse(default)}")


def fields(node: ast.ClassDef) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and description of each public field of a dataclass."""
    for place, inner in enumerate(node.body):
        if not isinstance(inner, ast.AnnAssign) or not isinstance(inner.target, ast.Name) or inner.target.id.startswith("_"):
            continue
        following = node.body[place + 1] if place + 1 < len(node.body) else None
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = markdown(str(following.value.value))
        default = "" if inner.value is None else default_text(inner.value)
        yield inner.target.id, ast.unparse(inner.annotation).strip("'\""), default, text


def default_text(value: ast.expr) -> str:
    """A default as a reader would write it."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field":
        for keyword in value.keywords:
            if keyword.arg == "default":
                return ast.unparse(keyword.value)
            if keyword.arg == "default_factory":
                return {"dict": "{}", "list": "[]"}.get(ast.unparse(keyword.value), f"{ast.unparse(keyword.value)}()")
        return ""
    if isinstance(value, ast.Constant) and isinstance(value.value, int) and not isinstance(value.value, bool):
        return f"{value.value:_}" if value.value >= 10_000 else str(value.value)
    return ast.unparse(value).replace("'", '"')


# -- what is made of it ------------------------------------------------------------------------------------------------


def operation(title: str, node: Function, key: str) -> str:
    """One operation: how it is called, what it does, and what is known of it."""
    known = facts().get(key, {})
    property_ = "property" in decorators(node)
    parts = [f"### `{title}`"]
    if property_:
        parts.append(f"A property: `{ast.unparse(node.returns) if node.returns else 'None'}`.")
    else:
        parts.append(f"```python signature\n{signature(node)}\n```")
    parts.append(prose(node))
    if isinstance(known, dict) and known:
        parts.append("\n".join(known_lines(known)))
    return "\n\n".join(parts)


def known_lines(known: dict[str, Any]) -> Iterator[str]:
    """The facts of an operation as a list."""
    for argument, text in known.get("arguments", {}).items():
        yield f"- `{argument}`: {text}."
    if "gives" in known:
        yield f"- Gives: {known['gives']}"
    if known.get("raises"):
        yield "- Raises: " + "; ".join(f"`{name}` ({why})" for name, why in known["raises"].items()) + "."
    if "again" in known:
        yield f"- Asked again: {known['again']}"
    if known.get("trips"):
        counts = [f"{count} ({case})" if case != "always" else str(count) for case, count in known["trips"].items()]
        yield f"- Round trips: {', '.join(counts)}."


def make_functions(*names: str) -> str:
    """Functions of the package."""
    return "\n\n".join(operation(f"sojourn.{name}", node_of(name), f"sojourn.{name}") for name in names)


def make_class(name: str, prefix: str) -> str:
    """Every operation of a class, as callers write it."""
    node = node_of(name)
    return "\n\n".join(operation(f"{prefix}.{inner.name}", inner, f"{name}.{inner.name}") for inner in members(node))


def make_values(*names: str) -> str:
    """Values: their fields, and what can be asked of them."""
    return "\n\n".join(value(name) for name in names)


def value(name: str) -> str:
    """One value."""
    node = node_of(name)
    lines = [f"### `{name}`", prose(node)]
    listed = []
    for field, kind, _, text in fields(node):
        listed.append(f"- `{field}: {kind}`" + (f" – {text}" if text else ""))
    for inner in members(node):
        call = f"{inner.name}" if "property" in decorators(inner) else f"{inner.name}()"
        returns = ast.unparse(inner.returns).strip("'\"") if inner.returns else "None"
        listed.append(f"- `{call}` → `{returns}` – {prose(inner)}")
    return "\n\n".join([*lines, "\n".join(listed)] if listed else lines)


def make_policy(name: str) -> str:
    """The settings of a policy."""
    rows = []
    for field, kind, default, text in fields(node_of(name)):
        rows.append(f"### `{field}`\n\n`{kind}`, by default `{default}`. {text}".rstrip())
    return "\n\n".join(rows)


def make_promises() -> str:
    """What every engine promises, each with the test that proves it."""
    from sojourn.engines.contract import PROMISES

    rows = ["| promise | sentence | proven by |", "|---|---|---|"]
    for name, sentence in PROMISES.items():
        rows.append(f"| {name} | {sentence} | `test_{name}` in `{home_of_test(name)}` |")
    return "\n".join(rows)


def home_of_test(promise: str) -> str:
    """The file of the conformance suite that has a promise's test."""
    found = [
        path.name for path in sorted(CONFORMANCE.glob("*.py")) if f"def test_{promise}(" in path.read_text(encoding="utf-8")
    ]
    assert len(found) == 1, f"test_{promise} is in {found or 'no file'}"
    return found[0]


def make_schema() -> str:
    """The tables of the SQLite engine, with what the schema says about them."""
    parts = []
    comment: list[str] = []
    lines = iter(SCHEMA.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("--"):
            comment.append(line.removeprefix("--").strip())
        elif found := re.match(r"create (virtual )?table (\w+)", line):
            columns = [] if found[1] else list(columns_of(lines))
            parts.append(table(found[2], " ".join(comment), columns))
            comment = []
        elif found := re.match(r"create (unique )?index \w+ on (\w+) (.+)", line):
            parts[-1] += f"\n- {'unique index' if found[1] else 'index'} on `{found[3].rstrip(';')}`"
        elif not line.strip():
            comment = []
    return "\n\n".join(parts)


def columns_of(lines: Iterator[str]) -> Iterator[str]:
    """The columns and keys of the table that begins here."""
    for line in lines:
        if line.startswith(")"):
            return
        yield line.strip().rstrip(",")


def table(name: str, comment: str, columns: list[str]) -> str:
    """One table."""
    return "\n\n".join(part for part in (f"### `{name}`", comment, "\n".join(f"- `{column}`" for column in columns)) if part)


# -- the service -------------------------------------------------------------------------------------------------------


def make_routes(kind: str) -> str:
    """The table of a kind's routes: method, path, operation."""
    from sojourn.service.operations import ELSEWHERE, OPERATIONS

    rows = ["| method | path | operation |", "|---|---|---|"]
    for item in OPERATIONS:
        if item.kind != kind or item.by_id:
            continue
        path = f"/v1{item.path}"
        if item.of_a_game or item.waits:
            path = path.replace("/v1/games/channels/{channel_id}", "GAME")
        owner = "store" if kind == "store" else f"store.{kind}"
        rows.append(f"| {item.method} | `{path}` | [`{item.name}`](api.md#{owner.replace('.', '')}{item.name}) |")
    for second, first in ELSEWHERE.get(kind, {}).items():
        rows.append(f"| | | `{second}` is `{first}` |")
    return "\n".join(rows)


def make_routes_left_out() -> str:
    """The operations that have no route, and why."""
    from sojourn.service.operations import LEFT_OUT

    rows = ["| operation | why |", "|---|---|"]
    for kind, names in LEFT_OUT.items():
        owner = "store" if kind == "store" else f"store.{kind}"
        rows += [f"| `{owner}.{name}` | {why} |" for name, why in names.items()]
    return "\n".join(rows)


MAKERS: dict[str, Callable[..., str]] = {
    "functions": make_functions,
    "class": make_class,
    "values": make_values,
    "policy": make_policy,
    "promises": make_promises,
    "schema": make_schema,
    "routes": make_routes,
    "routes_left_out": make_routes_left_out,
}


# -- pages -------------------------------------------------------------------------------------------------------------


def render(text: str) -> str:
    """A page with its generated parts made anew."""
    out: list[str] = []
    place = 0
    for begin in BEGIN.finditer(text):
        what, *arguments = begin[1].split()
        end = text.index(END, begin.end())
        out += [text[place : begin.end()], "\n", MAKERS[what](*arguments), "\n\n"]
        place = end
    return "".join([*out, text[place:]])


def main() -> int:
    """Write, or with ``--check`` compare."""
    check = "--check" in sys.argv[1:]
    drifted = 0
    for path in sorted(DOCS.rglob("*.md")):
        text = path.read_text(encoding="utf-8")
        if not BEGIN.search(text):
            continue
        made = render(text)
        if made == text:
            continue
        if check:
            drifted += 1
            print(f"{path.relative_to(ROOT)} has drifted: run python tools/reference.py", file=sys.stderr)
        else:
            path.write_text(made, encoding="utf-8")
    return 1 if drifted else 0


if __name__ == "__main__":
    raise SystemExit(main())
