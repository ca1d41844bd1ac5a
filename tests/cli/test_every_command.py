"""What holds for every command there is, and will be."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sojourn.cli.parser import Parser
from sojourn.cli.program import build
from tests.cli.conftest import User, at_home, begin_talk

READS = {
    "conversation list": [],
    "conversation show": ["ID"],
    "conversation search": ["invoice"],
    "conversation export": ["ID"],
    "conversation tail": ["ID", "--no-follow"],
    "context list": [],
    "context show": ["work"],
    "context assemble": ["work"],
    "context export": ["work"],
    "game list": [],
    "game show": ["table"],
    "game history": ["table"],
    "game watch": ["table", "--no-follow"],
    "login list": [],
    "login show": ["LOGIN"],
    "login online": [],
    "workspace status": [],
    "workspace show": ["scout"],
    "workspace list": [],
    "workspace claims": [],
    "workspace check": ["src/other.py"],
    "workspace roles": [],
    "status": [],
    "prompt": ["bash"],
    "key list": [],
    "session list": [],
    "session show": ["ID"],
    "session events": ["ID"],
    "export": [],
    "doctor": [],
    "completion": ["bash"],
}
CHANGES = {
    "conversation append": ["ID", "user", "Hello"],
    "conversation fork": ["ID"],
    "conversation rewind": ["ID", "1"],
    "conversation link": ["ID", "telegram", "t1"],
    "conversation consolidate": ["ID", "--keep", "1"],
    "conversation decay": ["--max-age", "0"],
    "context create": ["other"],
    "context add": ["work", "note", "Hello"],
    "context activate": ["work"],
    "context deactivate": ["current"],
    "context resume": ["work"],
    "context branch": ["work", "other"],
    "context rm": ["work"],
    "game boot": ["other", "New"],
    "game join": ["table", "cy"],
    "game leave": ["table", "ana"],
    "game choose": ["table", "ana", "wait"],
    "game open": ["table"],
    "game close": ["table"],
    "game extend": ["table", "9s"],
    "game pause": ["table"],
    "game unpause": ["still"],
    "game narrate": ["table", "They wait."],
    "game crown": ["table", "ana"],
    "game invite": ["table"],
    "game swap": ["table", "New"],
    "game shelve": ["table"],
    "game exit": ["table"],
    "game resume": ["shelved"],
    "game fork": ["table"],
    "game rewind": ["table", "0"],
    "game delete": ["shelved"],
    "login create": ["42", "--any-user"],
    "login bind": ["LOGIN", "CHARACTER"],
    "login unbind": ["LOGIN"],
    "login revoke": ["LOGIN"],
    "login revoke-user": ["--username", "alice"],
    "init": ["nested"],
    "workspace start": ["--role", "implementer"],
    "workspace end": ["scout"],
    "workspace load": ["scout"],
    "workspace use": ["idler", "--replace"],
    "workspace resume": ["idler"],
    "workspace rename": ["ranger", "--session", "scout"],
    "workspace run": ["scout", "true"],
    "workspace heartbeat": ["scout"],
    "workspace expire": ["scout"],
    "workspace expire-stale": [],
    "workspace claim": ["src/a.py"],
    "workspace release": ["src/parser"],
    "workspace role add": ["tester", "--base", "implementer"],
    "workspace role rm": ["helper"],
    "key create": ["bot"],
    "session end": ["ID"],
    "session rm": ["ID"],
    "import openjarvis": ["SAMPLE"],
    "import tenets": ["TENETS"],
    "import gamegirl": ["GAMEGIRL"],
    "import mud": ["MUD"],
    "import tkt": ["TKT"],
    "load": ["export.jsonl"],
    "sweep": ["--apply"],
    "backup": ["copy.db"],
    "restore": ["backup.db"],
    "erase": ["alice"],
    "migrate": [],
}
UNCHANGING = ("load", "migrate", "workspace expire-stale", "workspace load")
"""Commands for which there is nothing to do here: everything is there, and activity was marked a moment ago."""
ELSEWHERE = {"demo", "game play", "copy", "bench", "login rotate", "key revoke", "key rotate", "serve"}
"""Commands with words of their own, for people alone, or that read standard input, tested where they are."""

SAMPLE = Path(__file__).parent.parent / "formats" / "data" / "openjarvis" / "sessions.db"
TENETS = SAMPLE.parent.parent / "tenets" / "tenets.db"
GAMEGIRL = SAMPLE.parent.parent / "gamegirl" / "redis.json"
TKT = SAMPLE.parent.parent / "tkt" / "project"
MUD = SAMPLE.parent.parent / "mud" / "mud.db"


def commands(parser: Parser | None = None, name: str = "") -> Iterator[tuple[str, Parser]]:
    """Every command, whole."""
    root = build().fill_all() if parser is None else parser
    for word, child in root.children().items():
        whole = f"{name} {word}".strip()
        if child.children():
            yield from commands(child, whole)
        else:
            yield whole, child


NAMES = [name for name, _ in commands()]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project with a store, a backup and an export, and the id of its conversation; made once, and copied for each test."""
    place = tmp_path_factory.mktemp("built")
    with pytest.MonkeyPatch.context() as patch:
        user = at_home(place, patch)
        talk = begin_talk(user)
        _fill(user)
    return (place / "project").rename(place / "moved"), talk  # a copy beside the original would be taken for another project


@pytest.fixture
def talk(built: tuple[Path, str]) -> str:
    return built[1]


@pytest.fixture
def files(user: User, built: tuple[Path, str]) -> User:
    shutil.copytree(built[0], user.project, dirs_exist_ok=True)
    return user


def _fill(user: User) -> None:
    user.fine("context", "add", "work", "note", "An artifact")
    user.fine("context", "create", "current")
    user.fine("context", "activate", "current")
    user.fine("game", "boot", "still", "Still", "--id", "still")
    user.fine("game", "pause", "still")
    user.fine("game", "boot", "shelf", "Shelved", "--id", "shelved")
    user.fine("game", "shelve", "shelf")
    user.fine("game", "boot", "table", "Tea", "--countdown", "9d")
    user.fine("game", "choose", "table", "ana", "stay")
    user.fine("game", "close", "table")
    user.fine("game", "choose", "table", "ana", "go")
    user.fine("init")
    (user.project / "nested").mkdir()
    user.fine("workspace", "start", "--role", "implementer", "--name", "idler", "--pointer", "none")
    user.fine("workspace", "start", "--role", "architect", "--name", "scout")
    user.fine("workspace", "claim", "src/parser")
    user.fine("workspace", "role", "add", "helper", "--base", "monitor")
    with user.store() as store:
        alice = store.directory.add_user("alice")
        store.directory.add_world("w", "World")
        held, other = (store.directory.add_character(alice, "w", name) for name in "AB")
        login = store.logins.create(alice, character_id=held).login
    Path("words.json").write_text(json.dumps({"LOGIN": login.id, "CHARACTER": other}))
    user.fine("backup", "backup.db")
    user.fine("export", "--output", "export.jsonl")


def words_of(name: str, talk: str) -> list[str]:
    words = {**READS, **CHANGES}[name]
    known = {
        "ID": talk,
        "SAMPLE": str(SAMPLE),
        "TENETS": str(TENETS),
        "TKT": str(TKT),
        "MUD": str(MUD),
        "GAMEGIRL": str(GAMEGIRL),
    }
    if Path("words.json").exists():
        known |= json.loads(Path("words.json").read_text())
    return [*name.split(), *[known.get(word, word) for word in words]]


def state(user: User) -> dict[str, str]:
    return {
        str(path.relative_to(user.project)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in user.project.rglob("*")
        if path.is_file()
    }


def test_these_are_all_the_commands() -> None:
    assert set(NAMES) == set(READS) | set(CHANGES) | ELSEWHERE


@pytest.mark.parametrize("name", sorted(READS))
def test_reading_changes_no_byte(files: User, talk: str, name: str) -> None:
    before = state(files)
    files.fine(*words_of(name, talk))
    assert state(files) == before


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_a_dry_run_changes_no_byte_and_never_asks(files: User, talk: str, name: str) -> None:
    before = state(files)
    result = files.fine(*words_of(name, talk), "--dry-run")
    assert result.out + result.err
    assert state(files) == before
    assert files.fine(*words_of(name, talk), "--dry-run", "--json").data is not None


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_what_changes_something_does_so_with_a_yes(files: User, talk: str, name: str) -> None:
    if name == "restore":
        files.append("more")
    if name in ("workspace load", "workspace expire-stale"):
        files.fine(*words_of(name, talk))  # notes where the project is now, and activity, which another a moment later does not
    before = state(files)
    files.fine(*words_of(name, talk), "--yes", "--json")
    assert (state(files) != before) == (name not in UNCHANGING)


@pytest.mark.parametrize("name", [*sorted(READS), *sorted(CHANGES)])
def test_help_has_a_sentence_and_an_example_that_the_parser_takes(name: str, user: User) -> None:
    text = user.fine(*name.split(), "--help").out
    assert text.startswith(f"usage: sojourn {name}")
    examples = [line.strip() for line in text.partition("examples:\n")[2].partition("\n\n")[0].splitlines()]
    assert examples, "no example"
    assert all("sojourn" in example for example in examples)
    assert re.search(r"\n\n[A-Z][^\n]+\.?\n", text)


def test_every_line_of_help_fits_a_wide_page(user: User) -> None:
    for words in ([], *(name.split() for name in NAMES if name not in ELSEWHERE)):
        for line in user.fine(*words, "--help").lines:
            assert len(line) <= 120, (words, line)


def test_the_list_of_all_commands_names_each(user: User) -> None:
    text = user.fine("--help").out
    for name in NAMES:
        assert f"\n  {name.split()[0]} " in text


def test_completion_knows_every_command(user: User) -> None:
    pytest.importorskip("shtab")
    for shell in ("bash", "zsh"):
        script = user.fine("completion", shell).out
        for name in NAMES:
            assert name.split()[-1] in script


def test_completion_without_its_package_says_what_to_install(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "shtab", None)
    result = user("completion", "bash")
    assert (result.code, "pip install 'sojourn[cli]'" in result.err) == (78, True)


def test_an_import_is_reported_and_repeated_without_harm(user: User) -> None:
    first = user.fine("import", "openjarvis", SAMPLE, "--json").data
    assert first["format"] == "openjarvis"
    listed = user.fine("conversation", "list", "--all", "-q", "--limit", "1000").lines
    assert listed
    assert "read" in user.fine("import", "openjarvis", SAMPLE).out
    assert user.fine("conversation", "list", "--all", "-q", "--limit", "1000").lines == listed


def test_the_demo_gets_its_words_as_they_are(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys
    from types import SimpleNamespace

    seen: list[list[str]] = []

    def run(words: list[str]) -> int:
        seen.append(words)
        return 7

    monkeypatch.setitem(sys.modules, "sojourn.demo", SimpleNamespace(main=run))
    assert user("demo", "--play", "--port", "0").code == 7
    assert user("--no-color", "demo", "--no-color").code == 7
    assert seen == [["--play", "--port", "0"], []]


def test_the_demo_runs(user: User) -> None:
    user.fine("demo")
    assert not user.path.exists()


def test_a_mistake_of_ours_is_told_whole(user: User, talk: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sojourn.cli.conversation import reading

    def fail(call: object) -> None:
        raise RuntimeError("\x1b[2J unexpected")

    monkeypatch.setattr(reading, "list_conversations", fail)
    result = user("conversation", "list", terminal=True)
    assert result.code == 1
    assert "please report it" in result.err
    assert "in fail" in result.err
    assert "\x1b[2J" not in result.err
    error = user("conversation", "list", "--json").error
    assert (error["code"], "in fail" in error["trace"]) == ("internal", True)
