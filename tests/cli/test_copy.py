"""``sojourn copy``: any store to any other, taken up after a kill, compared, and the source as it was."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

import sojourn
from sojourn.cli import main
from sojourn.engines.locate import EngineOptions
from sojourn.testing.engines import EnginePlaces, Place


def whole(lines: Iterable[str]) -> list[tuple[str, int]]:
    """The kind of each session of an export, and how many entries of its own it has."""
    found: list[tuple[str, int]] = []
    for row in map(json.loads, lines):
        if row.get("type") == "session":
            found.append((row["kind"], 0))
        elif row.get("type") == "entry":
            found[-1] = found[-1][0], found[-1][1] + 1
    return found


@pytest.fixture(scope="module")
def places() -> Generator[EnginePlaces]:
    with EnginePlaces() as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> str:
    """A store with a little of everything."""
    url = f"sqlite:///{tmp_path / 'source.db'}"
    with sojourn.open(url) as store:
        for name in ("ann", "bob"):
            talk = store.conversations.create(name, title="Trip", metadata={"n": [1, 0.1]})
            store.conversations.link_channel(talk.id, "telegram", f"t-{name}")
            messages = [{"role": "user", "content": f"Message {place}"} for place in range(250)]
            store.conversations.extend(talk.id, messages, key="k")
            store.conversations.fork(talk.id)
            store.conversations.redact(talk.id, 7)
        store.contexts.add("work", "note", "An artifact")
        store.contexts.set_active("work")
        store.conversations.end(store.conversations.create("cy").id)
    return url


def url_of(place: Place) -> str:
    more = "&".join(f"{name}={value}" for name, value in place.options.more.items())
    return f"{place.url}?{more}" if more else place.url


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = main([*words])
    return code, capsys.readouterr().out


def contents(path: Path) -> list[Any]:
    """All rows of a file, as they are stored."""
    connection = sqlite3.connect(path)
    try:
        names = connection.execute(
            "select name from sqlite_master where type = 'table' and name not like '%words%' order by name"
        )
        return [connection.execute(f"select * from {name} order by 1, 2").fetchall() for (name,) in names.fetchall()]
    finally:
        connection.close()


@pytest.mark.parametrize("engine", [name for name in EnginePlaces.available() if name != "memory"])
def test_there_and_back_again_everything_is_the_same(
    source: str, engine: str, places: EnginePlaces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, back = url_of(places.fresh(engine, tmp_path)), f"sqlite:///{tmp_path / 'back.db'}"
    before = contents(tmp_path / "source.db")
    for one, other in ((source, there), (there, back)):
        code, out = run(capsys, "copy", one, other, "--json")
        assert code == 0
        answer = json.loads(out)["data"]
        assert answer["sessions"] == 6
        assert all(part["alike"] and part["source"] == part["target"] for part in answer["verified"])
        counted = {part["part"]: part["source"]["count"] for part in answer["verified"] if part["source"]["count"]}
        assert counted == {"conversation": 5, "context": 1, "names of people": 2}
    assert contents(tmp_path / "source.db") == before, "the source was only read"
    with sojourn.open(source) as first, sojourn.open(back) as last:
        assert list(last.export()) == list(first.export())
        assert [hit.message.text for hit in last.conversations.search("message 249", user_id="ann")]


def test_a_dry_run_says_what_would_be_copied_and_copies_nothing(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = f"sqlite:///{tmp_path / 'target.db'}"
    code, out = run(capsys, "copy", source, target, "--dry-run")
    assert (code, "5 sessions of kind conversation" in out) == (0, True)
    assert not (tmp_path / "target.db").exists()
    assert main(["copy", source, target, "-q"]) == 0
    capsys.readouterr()
    code, out = run(capsys, "copy", source, target, "--dry-run")
    assert (code, "Would copy nothing" in out) == (0, True)


def test_what_differs_is_named(source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Changed after it was copied: the copy is told from the source, and left alone."""
    target = f"sqlite:///{tmp_path / 'target.db'}"
    assert main(["copy", source, target]) == 0
    assert "the same" in capsys.readouterr().out
    with sojourn.open(source) as store:
        changed = store.conversations.list(user_id="ann").items[0].id
        store.conversations.append(changed, "user", "afterwards")
    code, out = run(capsys, "copy", source, target)
    assert code == 1
    assert "NOT THE SAME" in out
    assert f"differs: {changed}" in out
    assert main(["copy", source, target, "--no-verify"]) == 0


def test_a_rate_is_kept(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by how long it would have waited: nothing sleeps here."""
    from sojourn.engines.sqlite.engine import SqliteEngine

    waited: list[float] = []

    async def sleep(_: object, seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(SqliteEngine, "sleep", sleep)
    assert main(["copy", source, f"sqlite:///{tmp_path / 'target.db'}", "--rate", "10", "-q"]) == 0
    assert max(waited) > 40, "some 500 lines at ten a second"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.db", "x.db"], "there is no store"),
        (["a.db", "a.db"], "the same store"),
        (["a.db", "b.db", "--rate", "0"], "--rate"),
    ],
)
def test_mistakes_are_said(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["copy", *words]) != 0
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("engine", [name for name in EnginePlaces.available() if name != "memory"])
def test_who_is_logged_in_stays_so(
    engine: str, places: EnginePlaces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A copy has what an export must not have: a token goes on working, and one that was revoked does not."""
    url, place = f"sqlite:///{tmp_path / 'logins.db'}", places.fresh(engine, tmp_path)
    with sojourn.open(url) as store:
        ann, bob = [store.directory.add_user(name) for name in ("ann", "bob")]
        kept, revoked = store.logins.create(ann), store.logins.create(bob)
        store.logins.revoke_token(revoked.token)
    code, out = run(capsys, "copy", url, url_of(place))
    assert code == 0, out
    with sojourn.open(place.url, engine=EngineOptions(more=place.options.more)) as copy:
        assert copy.logins.authenticate(kept.token).user_id == ann
        with pytest.raises(sojourn.SojournError):
            copy.logins.authenticate(revoked.token)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", [name for name in EnginePlaces.available() if name != "memory"])
def test_a_copy_that_was_killed_is_taken_up(
    source: str, engine: str, places: EnginePlaces, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGKILL again and again, wherever it is; nobody sees half of a session, and in the end all is there, once."""
    place = places.fresh(engine, tmp_path)
    target = url_of(place)
    assert main(["migrate", "--store", target]) == 0
    options = EngineOptions(more=place.options.more)
    kills = 0
    for turn in range(15):
        command = [sys.executable, "-m", "sojourn", "copy", source, target, "--rate", "600", "--no-verify"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})
        limit = time.monotonic() + 0.35 + 0.12 * turn
        while process.poll() is None and time.monotonic() < limit:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        with sojourn.open(place.url, engine=options) as store:  # by its export: reading messages would fold some
            for kind, entries in whole(store.export()):
                assert kind != "conversation" or entries in (0, 250), "half of a session is never seen"
        if process.returncode == 0:
            break
    capsys.readouterr()
    assert kills > 1
    code, out = run(capsys, "copy", source, target, "--json")
    verified = json.loads(out)["data"]["verified"]
    assert [part for part in verified if not part["alike"]] == []
    assert code == 0
