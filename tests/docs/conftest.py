"""The pages of the documentation, as the tests of it read them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
DOCS: Final = ROOT / "docs"

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\]]*\])+\]\(([^()\s]+)\)")
_SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: what its fence says, its text, and the line of the page that its text begins on."""

    info: str
    text: str
    line: int

    @property
    def language(self) -> str:
        """The first word of the fence."""
        return self.info.split()[0] if self.info else ""

    @property
    def flags(self) -> list[str]:
        """The other words."""
        return self.info.split()[1:]


@dataclass(frozen=True)
class Page:
    """One page."""

    path: Path

    def __str__(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @cached_property
    def text(self) -> str:
        """As it is written."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        """Its fenced blocks, in order."""
        found = []
        for match in _FENCE.finditer(self.text):
            indent = len(match["indent"])
            body = "".join(line[indent:] for line in match["body"].splitlines(keepends=True))
            found.append(Block(match["info"].strip(), body, self.text.count("\n", 0, match.start()) + 2))
        return found

    @cached_property
    def prose(self) -> str:
        """Without fenced blocks and comments."""
        return _COMMENT.sub("", _FENCE.sub("", self.text))

    @cached_property
    def spans(self) -> list[str]:
        """What stands between single backticks."""
        return _SPAN.findall(self.prose)

    @cached_property
    def links(self) -> list[str]:
        """Where it links to."""
        return _LINK.findall(_SPAN.sub("", self.prose))

    @property
    def is_working_notes(self) -> bool:
        """Whether it says below its title that it is notes of work under way, which may name what no reader has."""
        return bool(re.match(r"# .+\n\n> \*\*Working notes\*\*", self.text))

    @cached_property
    def anchors(self) -> set[str]:
        """Its headings as links name them (GitHub's way)."""
        found: set[str] = set()
        for heading in _HEADING.findall(_FENCE.sub("", self.text)):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.replace("`", ""))
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            number = 0
            while (name := f"{slug}-{number}" if number else slug) in found:
                number += 1
            found.add(name)
        return found


def all_pages() -> list[Page]:
    """The README and everything under docs/."""
    return [Page(ROOT / "README.md"), *map(Page, sorted(DOCS.rglob("*.md")))]


@pytest.fixture(scope="session")
def pages() -> list[Page]:
    """Every page."""
    return all_pages()


@pytest.fixture(scope="session")
def reference() -> str:
    """All of the reference as one text."""
    return "\n".join(page.text for page in all_pages() if page.path.parent == DOCS / "reference")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes a ``page`` runs for each; one that also takes a ``place``, for each that has something to run.

    A page with commands starts processes, and is slow.
    """
    if "page" not in metafunc.fixturenames:
        return
    if "place" not in metafunc.fixturenames:
        metafunc.parametrize("page", all_pages(), ids=str)
        return
    found = []
    for page in all_pages():
        languages = {block.language for block in page.blocks}
        if languages & {"python", "console"}:
            found.append(pytest.param(page, id=str(page), marks=[pytest.mark.slow] if "console" in languages else []))
    metafunc.parametrize("page", found)
