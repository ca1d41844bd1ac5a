"""Links lead somewhere, names exist, and pages are fit to be read."""

from __future__ import annotations

import builtins
import io
import keyword
import re
import sys
import tokenize
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import sojourn

if TYPE_CHECKING:
    from tests.docs.conftest import Page

ROOT: Final = Path(__file__).resolve().parents[2]

FACES: Final = {
    "store": sojourn.Store,
    "store.conversations": sojourn.Conversations,
    "store.directory": sojourn.Directory,
    "store.logins": sojourn.Logins,
    "store.sessions": sojourn.Sessions,
    "sojourn": sojourn,
}

ELSEWHERE: Final = {
    # of Python's library and of other programs
    "fork", "fsync", "sqlite3", "apsw", "asyncio", "pytest", "send", "timedelta", "multiprocessing",
    "app", "db", "wal", "shm", "cp", "make", "demo", "campaign", "killing", "kills", "cat", "xargs", "jq", "pip",
    # of HTTP, and of what web applications are made with
    "Cache", "Clear", "Control", "Cookie", "Fetch", "Host", "Sec", "Set", "Site", "Vary", "multipart", "proxy",
    "Domain", "Lax", "Security", "Strict", "Transport", "localStorage", "After", "Allow", "Forwarded", "Proto",
    "traceparent", "sojourn_requests_total",  # which Prometheus makes of sojourn_requests
    # of PostgreSQL and what stands before it
    "CREATE", "DELETE", "EXECUTE", "INSERT", "SELECT", "UPDATE", "SOJOURN_PGBOUNCER", "SOJOURN_TEST_EVERYTHING",
    "application_name", "max_prepared_statements", "search_path", "sslmode", "target_session_attrs",
    "synchronous_standby_names", "wal_writer_delay",
    # what pages make up: users, channels, files, functions
    "alice", "ada", "acme", "globex", "telegram", "mail", "web", "sms", "reply", "d9", "crash", "message_id", "first",
    "countdown_started",  # of GameGirl Color
    "bot", "test_bot", "openjarvis", "brisk", "heron",
    # kinds that are to come
    "logins", "workspaces", "games", "contexts", "bench",
}  # fmt: skip
"""Names that stand between backticks and are not Sojourn's."""


def test_links_of_the_other_files_lead_somewhere() -> None:
    for name in ("CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^()\s#]+)", text):
            assert re.match(r"https?://", link) or (ROOT / link).exists(), f"{name} links to {link}"


def test_links_lead_somewhere(page: Page, pages: list[Page]) -> None:
    by_path = {other.path: other for other in pages}
    for link in page.links:
        if re.match(r"https?://|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), f"{page} links to {link}, which does not exist"
        if anchor:
            assert anchor in by_path[path].anchors, f"{page} links to {link}, a heading that does not exist"


def test_every_page_is_linked(pages: list[Page]) -> None:
    linked = {(page.path.parent / link.partition("#")[0]).resolve() for page in pages for link in page.links}
    lonely = [str(page) for page in pages if page.path not in linked and page.path != ROOT / "README.md"]
    assert lonely == []


def test_a_page_has_one_title_and_no_skipped_level(page: Page) -> None:
    levels = [len(found) for found in re.findall(r"^(#+) ", page.prose, re.MULTILINE)]
    assert levels[0] == 1, f"{page} begins with no title"
    assert levels.count(1) == 1, f"{page} has several titles"
    for before, after in pairwise(levels):
        assert after <= before + 1, f"{page} skips from heading level {before} to {after}"


def test_a_page_names_no_machine_and_has_no_emoji(page: Page) -> None:
    assert not re.search(r"/(?:home|root|Users|work)/\w", page.text), f"{page} names a path of somebody's machine"
    assert not re.search("[\U0001f000-\U0001faff\u2600-\u27bf]", page.text), f"{page} has an emoji"


def test_fences_are_closed_and_say_what_they_hold(page: Page) -> None:
    assert page.text.count("```") == 2 * len(page.blocks), f"{page} has a fence that is not closed"
    for block in page.blocks:
        assert block.language in ("", "python", "console", "text", "json", "sql", "mermaid", "toml", "ini"), (
            f"{page}, line {block.line}: {block.language}"
        )


def test_only_explanations_are_working_notes(page: Page) -> None:
    assert not page.is_working_notes or page.path.parent == ROOT / "docs" / "explanation"


def test_pages_that_are_worked_through_share_no_store(pages: list[Page]) -> None:
    """Who works through them in one directory, one after another, finds no page's data in another's."""
    users: dict[str, set[str]] = {}
    for page in pages:
        if page.path.parent.name in ("tutorial", "howto", "examples") or page.path == ROOT / "README.md":
            for block in page.blocks:
                if block.language in ("python", "console"):
                    for name in re.findall(r"[\w.-]+\.(?:db|jsonl)\b|(?<=file=)\S+", f"{block.info}\n{block.text}"):
                        users.setdefault(name, set()).add(str(page))
    assert {name: sorted(found) for name, found in users.items() if len(found) > 1} == {}


# -- names -------------------------------------------------------------------------------------------------------------


def test_dotted_names_exist(page: Page) -> None:
    for span in page.spans:
        for prefix, name in re.findall(
            r"\b(store\.conversations|store\.directory|store\.logins|store\.sessions|store|sojourn)\.([a-zA-Z_]\w*)", span
        ):
            if prefix == "sojourn" and is_module(name):
                continue
            if name in (
                "db",
                "toml",
                "conversations",
                "sessions",
                "games",
                "logins",
                "workspaces",
                "contexts",
                "directory",
                "py",
            ):
                continue
            assert hasattr(FACES[prefix], name), f"{page} names {prefix}.{name}, which does not exist"


def is_module(name: str) -> bool:
    """Whether the package has a module of this name."""
    return (ROOT / "src" / "sojourn" / name).is_dir() or (ROOT / "src" / "sojourn" / f"{name}.py").is_file()


def test_names_between_backticks_exist(page: Page) -> None:
    if "adr" in page.path.parts or page.is_working_notes:  # these may name what was not taken, and the inside of engines
        return
    unknown = {name for span in page.spans for name in names_in(span) if not is_known(name)}
    shown = {word for block in page.blocks for word in re.findall(r"\w+", block.text)}
    assert not unknown - shown, f"{page} names what is neither in the source nor in its examples: {sorted(unknown - shown)}"


def names_in(span: str) -> list[str]:
    """What looks like a name in a code span; texts in quotation marks and paths are left out."""
    if re.search(r"[\\/$]|://|\.(?:db|md|py|jsonl)\b|^--", span):
        return []
    return re.findall(r"\b[a-zA-Z]\w*\b", re.sub(r"\"[^\"]*\"|'[^']*'", "", span))


def is_known(name: str) -> bool:
    """Whether a name is the source's, Python's, or in the list above."""
    return (
        name in words_of_source()
        or keyword.iskeyword(name)
        or hasattr(builtins, name)
        or name in sys.stdlib_module_names
        or name in ELSEWHERE
    )


_TEXTS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
"""From Python 3.12 on, the text of an f-string is a token of its own."""


@cache
def words_of_source() -> frozenset[str]:
    """Every name in the source and the tools, and every word of its texts."""
    found: set[str] = set()
    for folder in ("src", "tools", "tests/conformance"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            source = path.read_text(encoding="utf-8")
            for token in tokenize.generate_tokens(io.StringIO(source).readline):
                if token.type == tokenize.NAME:
                    found.add(token.string)
                elif token.type in _TEXTS and '"""' not in token.string:
                    found.update(re.findall(r"\w+", token.string))
    for path in (ROOT / "src").rglob("*.sql"):
        found.update(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return frozenset(found)
