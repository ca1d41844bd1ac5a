"""The page on standards leaves no section out, and names only tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TEXT: Final = (ROOT / "docs" / "explanation" / "login-standards.md").read_text(encoding="utf-8")

ASVS: Final = {"7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 3, "7.6": 2}
"""How many requirements each section of chapter V7 of ASVS 5.0 has: 19."""

CHEAT_SHEET: Final = (
    "Session ID Properties", "Session ID Name Fingerprinting", "Session ID Length", "Session ID Entropy",
    "Session ID Content (or Value)", "Session Management Implementation", "Built-in Session Management Implementations",
    "Used vs. Accepted Session ID Exchange Mechanisms", "Transport Layer Security", "Cookies", "Secure Attribute",
    "HttpOnly Attribute", "SameSite Attribute", "Domain and Path Attributes", "Expire and Max-Age Attributes",
    "HTML5 Web Storage API", "Session ID Life Cycle",
    "Session ID Generation and Verification: Permissive and Strict Session Management",
    "Manage Session ID as Any Other User Input", "Renew the Session ID After Any Privilege Level Change",
    "Reauthentication After Risk Events", "Considerations When Using Multiple Cookies", "Session Expiration", "Idle Timeout",
    "Absolute Timeout", "Renewal Timeout", "Manual Session Expiration", "Logout Button", "Web Content Caching",
    "Additional Client-Side Defenses for Session Management", "Initial Login Timeout",
    "Force Session Logout On Web Browser Window Close Events", "Disable Web Browser Cross-Tab Sessions",
    "Automatic Client Logout", "Session Attacks Detection", "Session ID Guessing and Brute Force Detection",
    "Detecting Session ID Anomalies", "Binding the Session ID to Other User Properties",
    "Logging Sessions Life Cycle: Monitoring Creation, Usage, and Destruction of Session IDs", "Simultaneous Session Logons",
    "Session Management WAF Protections",
)  # fmt: skip

NIST: Final = ("2.1.3", "2.2.3", "2.3.3", "5.1 ", "5.1.1", "5.1.2", "5.2", "5.3")


def part(heading: str) -> str:
    """What stands below a heading of the second level."""
    return TEXT.split(f"\n## {heading}", 1)[1].split("\n## ", 1)[0]


def test_every_requirement_of_asvs_v7_has_its_row() -> None:
    rows = re.findall(r"^\| (7\.\d)\.(\d) \(L([123])\) \|", part("OWASP ASVS 5.0"), re.MULTILINE)
    assert [f"{section}.{number}" for section, number, _ in rows] == [
        f"{section}.{number}" for section, count in ASVS.items() for number in range(1, count + 1)
    ]


def test_every_section_of_the_cheat_sheet_is_there() -> None:
    text = part("OWASP Session Management Cheat Sheet")
    assert [name for name in CHEAT_SHEET if name not in text] == []


def test_every_section_of_nist_is_there() -> None:
    text = part("NIST SP 800-63B-4")
    assert [number for number in NIST if not re.search(rf"^\| {re.escape(number)}", text, re.MULTILINE)] == []


@cache
def functions_of(path: str) -> frozenset[str]:
    """The names of the tests in a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))
    return frozenset(node.name for node in functions if node.name.startswith("test_"))


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
    assert len(named) > 50
    assert [f"{path}::{name}" for path, name in named if name not in functions_of(path)] == []


def test_rows_without_a_test_are_the_applications_own() -> None:
    for row in re.findall(r"^\| (?!section|#|---).*\|$", TEXT, re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split(" | ")]
        assert len(cells) == 5, row
        if cells[4] == "–":
            assert cells[3] != "–", f"neither tested here nor done there: {row}"
