"""A game in real browser tabs, while the server is killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import TimeoutError as PlaywrightTimeout

import sojourn
from sojourn.testing.browser import BrowserMissingError, find_chromium

_spec = spec_from_file_location("browsing", Path(__file__).parent / "browsing.py")
assert _spec is not None
assert _spec.loader is not None
browsing = module_from_spec(_spec)
sys.modules["browsing"] = browsing
_spec.loader.exec_module(browsing)

try:
    find_chromium()
except BrowserMissingError as missing:
    if os.environ.get("CI"):
        raise
    pytest.skip(f"NO BROWSER: {missing}", allow_module_level=True)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_server_stays() -> Iterator[None]:
    yield
    for process in browsing.STARTED:
        if process.poll() is None:
            process.kill()
            process.communicate()


def _join(browser: Any, address: str, name: str) -> tuple[Any, Any]:
    """A tab of a browser of its own, in which somebody has joined."""
    context = browser.new_context(viewport={"width": 390, "height": 800})
    watched = browsing.Watched(context)
    page = watched.page()
    page.goto(address)
    page.fill("#name", name)
    page.click("text=Join")
    page.wait_for_selector("form.choices button")
    return watched, page


def _turn(page: Any, number: int) -> None:
    """Wait until the tab shows that this turn is open."""
    page.wait_for_selector(f"text=Turn {number}", timeout=60_000)
    page.wait_for_selector("form.choices button", timeout=60_000)


def _choose(page: Any, then: int) -> None:
    """Press until it counts: a page that is just brought up to date may swallow a click. The last one sees the next turn."""
    for _ in range(6):
        page.click("form.choices button >> nth=0")
        try:
            page.wait_for_selector(f"text=/Your choice is in|Turn {then}/", timeout=10_000)
        except PlaywrightTimeout:
            continue
        return
    raise AssertionError("no click ever counted")


def _linger(url: str, game: str) -> None:
    """Give the open turn minutes: it closes when all have chosen, however slow the browsers are."""
    with sojourn.open(url) as store:
        store.games.extend(None, timedelta(minutes=5), game_id=game)


@pytest.mark.timeout(300)
def test_three_tabs_play_on_while_the_server_is_killed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    server = browsing.serve(url)
    with browsing.chromium() as browser:
        operator = browser.new_context()
        desk = operator.new_page()
        desk.goto(server.link)
        desk.goto(f"{server.address}/games")
        desk.fill("#channel", "table-1")
        desk.click("text=Begin a story there")
        place = f"{server.address}{desk.get_attribute('.note.good a', 'href')}"
        game = desk.url.partition("/games/")[2].partition("?")[0]
        tabs = [_join(browser, place, "Ann")]
        _linger(url, game)
        tabs += [_join(browser, place, name) for name in ("Bo", "<b>Cy</b>")]
        pages = [page for _, page in tabs]
        for page in pages:
            _turn(page, 1)
        _choose(pages[0], 2)  # who joined after the window opened is waited for from turn 2 on
        for page in pages:
            _turn(page, 2)
        _linger(url, game)
        for page in pages:
            assert "Turn 1 was" in page.inner_text("main")
            assert "<b>Cy</b>" in page.inner_text("main")
        _choose(pages[0], 3)
        port = int(server.address.rpartition(":")[2])
        server.kill()  # in the middle of the countdown of turn 2
        with sojourn.open(url) as store:
            before = store.games.load(game).window
        assert before is not None
        assert (before.turn, before.choices_made) == (2, 1)
        server = browsing.serve(url, port=port)
        for page in pages[1:]:
            page.wait_for_selector("[data-status]:text-is('live')", timeout=60_000)
            _choose(page, 3)
        for page in pages:
            _turn(page, 3)
        pages[0].screenshot(path=browsing.artefacts("play-phone"))
        with sojourn.open(url) as store:
            turns = store.games.history(None, game_id=game)
            assert [turn.number for turn in turns] == [1, 2]
            assert len(turns[1].choices) == 3
            assert turns[1].deadline == before.deadline
            assert all(turn.state == "resolved" and turn.narrative_summary for turn in turns)
        desk.goto(server.address + "/")
        assert desk.goto(f"{server.address}/games/{game}").status == 200
        desk.screenshot(path=browsing.artefacts("game-wide"), full_page=True)
        for watched, _ in tabs:
            trouble = [line for line in watched.trouble if "ERR_" not in line and "Failed to fetch" not in line]
            assert trouble == []
            watched.context.close()
        operator.close()
    assert server.stop() == 0


def test_a_code_that_is_none_is_told(tmp_path: Path) -> None:
    with browsing.serving(f"sqlite:///{tmp_path}/app.db") as server, browsing.chromium() as browser:
        page = browser.new_page()
        assert page.goto(f"{server.address}/play/NOSUCH").status == 404
        assert "no such join code" in page.inner_text("main")
