"""The console in a real browser."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

import sojourn
from sojourn import GamePolicy
from sojourn.testing.browser import BrowserMissingError, find_chromium

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e'
"""What a user may write into every field they control."""

_FOREIGN = """[...document.querySelectorAll('*')].flatMap(node => [...node.attributes]
    .filter(mark => mark.name.startsWith('on') || mark.name === 'style')
    .map(mark => node.tagName + ' ' + mark.name))
    .concat([...document.querySelectorAll('script:not([src$="console.js"]), style, iframe, img')].map(node => node.tagName))"""
"""What a page has that is not ours to have: handlers, styles and scripts in the page, frames, pictures."""

_PATIENCE = 60_000
"""Milliseconds for what a page shows in the end, on a busy machine."""

VIEWPORTS = {"wide": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 800}}


def _browsing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("browsing", Path(__file__).parent / "browsing.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["browsing"] = module
    spec.loader.exec_module(module)
    return module


browsing = _browsing()

try:
    find_chromium()
except BrowserMissingError as missing:
    if os.environ.get("CI"):
        raise
    pytest.skip(f"NO BROWSER: {missing}", allow_module_level=True)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('console')}/app.db"


@pytest.fixture(scope="module")
def filled(url: str) -> dict[str, str]:
    """A store with what every view shows, written by somebody who means harm."""
    with sojourn.open(url, directory=False) as store:
        talk = store.conversations.get_or_create("mallory", channel="telegram", channel_user_id="m1", display_name=HOSTILE)
        store.conversations.update(talk.id, {"note" + HOSTILE: HOSTILE}, title=HOSTILE)
        for number in range(60):
            text = f"message {number} {HOSTILE} flight {number}"
            store.conversations.append(talk.id, "user", text, channel=("telegram", "discord", "web")[number % 3])
        store.conversations.consolidate(talk.id)
        for number in range(60):
            store.conversations.create(f"user {number:02}", title=f"talk {number:02}")
        store.contexts.add("found" + HOSTILE.replace("\u202e", ""), "note", HOSTILE, metadata={HOSTILE: HOSTILE})
        return {"talk": talk.id, "context": "found" + HOSTILE.replace("\u202e", ""), **_others(store)}


def _others(store: sojourn.Store) -> dict[str, str]:
    """Games, logins and workspaces of people who mean harm."""
    name = HOSTILE.replace("\u202e", "")
    game = store.games.boot("table" + name[:40], name[:100], policy=GamePolicy(countdown=timedelta(hours=1), close_when="all"))
    store.games.update(None, {name: HOSTILE}, game_id=game.id)
    for number in range(3):
        store.games.join(None, f"u{number}{name}"[:60], f"{number}{name}"[:60], game_id=game.id)
    for turn in range(3):
        for number in range(3):
            store.games.submit_choice(None, f"u{number}{name}"[:60], f"{number}{name}"[:60], f"{turn}{name}", game_id=game.id)
        claim = store.games.narrate(None, game_id=game.id)
        store.games.record_turn(None, turn + 1, f"Told {name}", token=claim.token, game_id=game.id)
    store.games.submit_choice(None, f"u0{name}"[:60], f"0{name}"[:60], "mine", game_id=game.id)
    for number in range(8):
        client, agent = ("web", "cli")[number % 2] + name[:20] * (number == 0), HOSTILE.replace("\u202e", "")
        store.logins.create("mallory" + name, client_type=client, user_agent=agent, ip="203.0.113.7", metadata={name: HOSTILE})
    login = store.logins.list().items[0]
    work = store.workspaces.start("implementer", project_id="garden", metadata={name: HOSTILE})
    store.workspaces.start("architect", "wren", project_id="garden")
    store.workspaces.claim(work.id, "src/<img src=x onerror=alert(3)>", project_id="garden")
    return {"game": game.id, "login": login.id, "user": login.user_id, "work": work.id}


@pytest.fixture(scope="module")
def server(url: str, filled: dict[str, str]) -> Iterator[Any]:
    with browsing.serving(url) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing.chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def state(browser: Any, server: Any) -> Any:
    """What a browser keeps after it came with the one-time link."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.link)
    assert page.url == f"{server.address}/"
    kept = context.storage_state()
    context.close()
    return kept


@pytest.fixture
def watched(browser: Any, state: Any) -> Iterator[Any]:
    """A signed-in browser in which nothing of others' may run."""
    context = browser.new_context(storage_state=state, viewport=VIEWPORTS["wide"])
    found = browsing.Watched(context)
    yield found
    context.close()
    assert found.trouble == []


def _views(filled: dict[str, str]) -> dict[str, str]:
    from urllib.parse import quote

    return {
        "overview": "/",
        "sessions": "/sessions",
        "sessions-none": "/sessions?filter=kind:game+owner:nobody",
        "games": "/games",
        "game": f"/games/{filled['game']}",
        "logins": "/logins",
        "logins-of": f"/logins?user={quote(filled['user'])}",
        "login": f"/sessions/{filled['login']}",
        "workspaces": "/workspaces",
        "project": "/workspaces?project=garden",
        "workspace": f"/sessions/{filled['work']}",
        "session": f"/sessions/{filled['talk']}",
        "conversations": "/conversations",
        "search": "/conversations?words=flight",
        "conversation": f"/conversations/{filled['talk']}",
        "conversation-unfolded": f"/conversations/{filled['talk']}?folded=1",
        "contexts": "/contexts",
        "context": f"/contexts/view?scope=default&name={quote(filled['context'])}",
        "store": "/store?check=1",
    }


@pytest.mark.timeout(300)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", list(VIEWPORTS))
def test_every_view_in_both_themes_and_sizes(
    browser: Any, state: Any, server: Any, filled: dict[str, str], theme: str, size: str
) -> None:
    context = browser.new_context(storage_state=state, viewport=VIEWPORTS[size], color_scheme=theme)
    found = browsing.Watched(context)
    page = found.page()
    for name, path in _views(filled).items():
        answer = page.goto(server.address + path)
        assert answer.status == 200, name
        assert page.locator("h1").count() == 1
        page.screenshot(path=browsing.artefacts(f"{name}-{theme}-{size}"), full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        assert wide, f"{name} is wider than the {size} window"
        results = Axe().run(page)
        found_wrong = [
            (wrong["id"], [node["target"] for node in wrong["nodes"][:2]]) for wrong in results.response["violations"]
        ]
        assert found_wrong == [], f"{name}, {theme}, {size}"
    context.close()
    assert found.trouble == []


def test_a_link_signs_in_once(browser: Any, server: Any) -> None:
    context = browser.new_context()
    page = context.new_page()
    assert page.goto(f"{server.address}/sessions").status == 401
    assert page.goto(server.link).status == 401
    assert "used before" in page.inner_text("main")
    assert page.goto(f"{server.address}/sessions.json").status == 401
    context.close()


def test_filter_page_and_choose(watched: Any, server: Any) -> None:
    page = watched.page()
    page.goto(f"{server.address}/")
    page.keyboard.press("/")
    page.keyboard.type("kind:conversation")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sessions?filter=kind*")
    assert page.locator("tr[data-row]").count() == 50
    page.click("a[rel=next]")
    page.wait_for_url("**after=**")
    assert 5 <= page.locator("tr[data-row]").count() <= 11


def test_a_filter_that_cannot_be_read_is_told(browser: Any, state: Any, server: Any) -> None:
    context = browser.new_context(storage_state=state)
    page = context.new_page()
    assert page.goto(f"{server.address}/sessions?filter=owner:user+07").status == 422
    assert "cannot read '07'" in page.inner_text("main")
    assert page.goto(f"{server.address}/conversations/nothing").status == 404
    assert "there is no conversation" in page.inner_text("main")
    context.close()


def test_end_in_bulk(watched: Any, server: Any, url: str) -> None:
    with sojourn.open(url) as store:
        ids = [store.conversations.create(f"bulk{number}").id for number in range(3)]
    page = watched.page()
    page.goto(f"{server.address}/sessions?filter=owner:bulk0")
    page.goto(f"{server.address}/sessions")
    for id in ids[:2]:
        page.check(f"tr[data-row='{id}'] input")
    page.click("text=End the chosen")
    assert "2 ended." in page.inner_text("[role=status]")
    with sojourn.open(url) as store:
        assert [store.conversations.get(id).state for id in ids] == ["ended", "ended", "active"]  # type: ignore[union-attr]


def test_unfold_and_fork(watched: Any, server: Any, url: str) -> None:
    with sojourn.open(url) as store:
        talk = store.conversations.create("folder")
        for number in range(60):
            store.conversations.append(talk.id, "user", f"word{number}")
        store.conversations.consolidate(talk.id)
    page = watched.page()
    page.goto(f"{server.address}/conversations/{talk.id}")
    assert page.locator("li.summary").count() == 1
    page.click("button:text-is('Unfold')")
    assert "Unfolded" in page.inner_text("[role=status]")
    expect(page.locator("li.summary")).to_have_count(0, timeout=_PATIENCE)
    expect(page.locator("ol.talk > li")).to_have_count(60, timeout=_PATIENCE)
    page.fill("#words", "word59")
    page.press("#words", "Enter")
    expect(page.locator("ol.talk > li")).to_have_count(1, timeout=_PATIENCE)
    page.goto(f"{server.address}/conversations/{talk.id}")
    page.click("button:text-is('Fork')")
    page.wait_for_url(lambda address: talk.id not in address)
    assert f"fork of {talk.id[-8:]}" in page.inner_text("main")


def test_rows_appear_while_one_looks(watched: Any, server: Any, url: str) -> None:
    page = watched.page()
    page.goto(f"{server.address}/conversations")
    page.wait_for_selector("[data-status]:text-is('live')")
    with sojourn.open(url) as store:
        made = store.conversations.create("newcomer", title="just now")
    page.wait_for_selector(f"tr[data-row='{made.id}']", timeout=_PATIENCE)
    assert "just now" in page.inner_text(f"tr[data-row='{made.id}']")


def test_it_reads_without_script(browser: Any, state: Any, server: Any, filled: dict[str, str]) -> None:
    context = browser.new_context(storage_state=state, java_script_enabled=False)
    page = context.new_page()
    for path in _views(filled).values():
        assert page.goto(server.address + path).status == 200
        assert page.locator("main h1").count() == 1
    page.goto(f"{server.address}/")
    page.click("button:text-is('Dark')")
    expect(page.locator("html[data-theme=dark]")).to_have_count(1, timeout=_PATIENCE)
    context.close()


def test_a_form_of_another_site_is_refused(browser: Any, state: Any, server: Any, filled: dict[str, str]) -> None:
    context = browser.new_context(storage_state=state)
    for token in ("", "0" * 64):
        answer = context.request.post(f"{server.address}/sessions/end", form={"id": filled["talk"], "csrf": token})
        assert answer.status == 403
    headers = {"sec-fetch-site": "cross-site"}
    answer = context.request.post(f"{server.address}/store/sweep", form={"csrf": ""}, headers=headers)
    assert answer.status == 403
    context.close()


def test_pages_say_what_may_run_and_twins_are_json(browser: Any, state: Any, server: Any, filled: dict[str, str]) -> None:
    context = browser.new_context(storage_state=state)
    for path in _views(filled).values():
        answer = context.request.get(server.address + path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        page = context.new_page()
        page.set_content(answer.text())
        assert page.evaluate(_FOREIGN) == []
        page.close()
        place, _, query = path.partition("?")
        twin = context.request.get(f"{server.address}{place.rstrip('/') or '/overview'}.json?{query}")
        assert twin.status == 200
        assert isinstance(twin.json(), dict)
    context.close()


def test_signing_out_ends_the_login(browser: Any, url: str) -> None:
    with browsing.serving(url) as running:
        context = browser.new_context()
        page = context.new_page()
        page.goto(running.link)
        kept = context.storage_state()
        page.click("text=Sign out")
        assert "Nobody is signed in" in page.inner_text("main")
        again = browser.new_context(storage_state=kept)
        assert again.new_page().goto(f"{running.address}/").status == 401
        assert running.stop() == 0
        again.close()
        context.close()
