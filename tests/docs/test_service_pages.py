"""The pages of the service name tests, settings and codes that exist, and leave none out."""

from __future__ import annotations

import ast
import dataclasses
import re
from pathlib import Path
from typing import Final

import pytest

from sojourn.service import ServiceOptions

ROOT: Final = Path(__file__).resolve().parents[2]
STANDARDS: Final = (ROOT / "docs" / "explanation" / "service-standards.md").read_text(encoding="utf-8")
HTTP: Final = (ROOT / "docs" / "reference" / "http.md").read_text(encoding="utf-8")
NAMED: Final = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", STANDARDS)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_the_page_names_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_requirement_says_where_it_is_tested() -> None:
    rows = [line for line in STANDARDS.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 30
    untested = [row.split("|")[1].strip() for row in rows if "tests/" not in row]
    assert untested == ["4.4.1"], "left to a proxy"


def test_every_limit_is_described() -> None:
    assert {field.name for field in dataclasses.fields(ServiceOptions)} <= set(
        re.findall(r"^\| `(\w+)` \|", HTTP, re.MULTILINE)
    )


def test_every_code_of_the_service_is_described_with_its_status() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src" / "sojourn" / "service").rglob("*.py"))
    assert set(re.findall(r'"(service\.\w+)"', source)) - {"service.py"} == set(
        re.findall(r"^\| `(service\.\w+)` \|", HTTP, re.MULTILINE)
    )
