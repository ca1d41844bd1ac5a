"""Named statements from files: ``-- name: x``, a line that says what it is for, and the statement."""

from __future__ import annotations

from importlib import resources


def read_statements(package: str, file: str) -> dict[str, str]:
    """The statements of a ``.sql`` file by name, without their comments."""
    text = resources.files(package).joinpath(file).read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in text.split("-- name: ")[1:]:
        name, _, rest = part.partition("\n")
        lines = [line for line in rest.splitlines() if not line.startswith("--")]
        found[name.strip()] = "\n".join(lines).strip().rstrip(";")
    return found


def read_script(package: str, file: str) -> str:
    """A whole ``.sql`` file."""
    return resources.files(package).joinpath(file).read_text(encoding="utf-8")
