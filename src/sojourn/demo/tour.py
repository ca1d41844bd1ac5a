"""The steps of the demo. Each shows something and checks it; the first that does not hold ends the demo as failed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from textwrap import shorten
from typing import Final
from urllib.parse import quote

import sojourn
from sojourn.demo.served import serving
from sojourn.errors import EndedError, LeaseHeldError
from sojourn.formats.openjarvis import import_openjarvis
from sojourn.kinds.conversations.model import Conversation, Message
from sojourn.kinds.games.model import GamePolicy
from sojourn.kinds.logins.model import Login, NewLogin
from sojourn.story import GREY_POINT, moment_of
from sojourn.sync.opening import open as open_store
from sojourn.sync.store import Store

_SHOWN: Final = 6
_WORDS: Final = "garden sensor"
_HANDLES: Final = (("slack", "s1001"), ("discord", "d2001"))
_IN_PYTHON: Final = 'print(sojourn.open("{url}").conversations.search("{words}")[0].snippet)'
_CHILD_WITHIN: Final = 30.0
"""Seconds another process may take to store something."""


class StepError(Exception):
    """A step did not do what it says."""


class Tour:
    """One run of the demo in ``directory``; with ``keep`` the store is copied there at the end."""

    def __init__(self, directory: Path, keep: Path | None, say: Callable[[str], None]) -> None:
        self._directory = directory
        self._url = url_of(directory / "demo.db")
        self._keep = keep
        self._say = say
        self._step = 0

    def run(self) -> None:
        """All steps."""
        self._say("Sojourn keeps sessions. A tour of all five kinds, in a throw-away SQLite store.")
        with open_store(self._url) as store:
            self._move_in(store)
            self._list(store)
            self._fold(store)
            self._search(store)
            self._pull_the_plug(store)
            self._gather(store)
            self._share(store)
            self._play(store)
            self._sign_in(store)
            self._serve(store)
            if self._keep is not None:
                store.backup(self._keep)
        self._what_next()

    # -- steps -----------------------------------------------------------------------------------------------------

    def _move_in(self, store: Store) -> None:
        self._title("Move in: a database that another program (OpenJarvis) wrote is imported, and not changed.")
        with as_file(files("sojourn.demo").joinpath("openjarvis", "sessions.db")) as source:
            before = source.read_bytes()
            report = import_openjarvis(store, source)
            again = import_openjarvis(store, source)
            self._check(source.read_bytes() == before, "the source was changed")
        for line in report.lines():
            self._line(line)
        self._line(f"imported once more: {again.imported} new rows, {again.present:,} here already")
        self._check(report.rows_read == report.imported > 0 == again.imported, "rows are missing, or were imported twice")

    def _list(self, store: Store) -> None:
        self._title("One person, one conversation, over whatever channels they write.")
        page = store.conversations.list(limit=200)
        self._line(f"{'id':<10}{'who':<10}{'messages':>8}  {'channels':<20}last activity (UTC)")
        for talk in page.items[:_SHOWN]:
            channels = ", ".join(sorted(talk.identity.channel_ids)) or "-"
            when = f"{talk.last_activity_at:%Y-%m-%d %H:%M}"
            self._line(f"{talk.id[-8:]:<10}{_who(talk):<10}{talk.message_count:>8}  {channels:<20}{when}")
        self._line(f"... and {len(page) - _SHOWN} more")
        users = {store.conversations.resolve(channel, handle) for channel, handle in _HANDLES}
        self._check(users == {"bob"}, "a channel handle was lost")
        self._line(f"{' and '.join(f'{handle} on {channel}' for channel, handle in _HANDLES)} are one person: {users.pop()}")

    def _fold(self, store: Store) -> None:
        self._title("A long conversation is folded: a summary stands for the older half. Unfolded, all is there.")
        talk = store.conversations.list(user_id="edmund").items[0]
        before = store.conversations.messages(talk.id)
        summary = store.conversations.fold(talk.id)
        self._check(summary is not None and summary.covers is not None, "nothing was folded")
        assert summary is not None and summary.covers is not None  # noqa: S101, PT018  # checked just now
        folded = store.conversations.messages(talk.id)
        first, last = summary.covers
        self._line(f"{_who(talk)}: {len(before)} messages, folded to {len(folded) - 1} and a summary of {first} to {last}:")
        self._line(f"    summary    {_cut(' '.join(summary.text.split()), 80)}")
        self._messages(folded[1:3])
        store.conversations.unfold(talk.id, summary.sequence)
        after = store.conversations.messages(talk.id)
        self._line(f"unfolded, the {len(after)} messages as they were:")
        self._messages(after[:3])
        self._check(after == before, "unfolding did not bring back what was folded")

    def _search(self, store: Store) -> None:
        hits = store.conversations.search(_WORDS, limit=200)
        self._title(f"Search everything that was said: {_WORDS!r} ({len(hits)} messages), the newest first.")
        for hit in hits[:4]:
            talk = store.conversations.get(hit.conversation_id)
            self._check(talk is not None, "a conversation that was found is not there")
            if talk is not None:
                self._line(f"    {_who(talk):<10}{hit.message.created_at:%m-%d %H:%M}  {_cut(hit.snippet, 74)}")
        self._check(len(hits) > 0, "nothing was found")

    def _pull_the_plug(self, store: Store) -> None:
        self._title("Pull the plug: another process appends, is told that it is stored, and is killed at once.")
        talk = store.conversations.list(user_id="zoë").items[0]
        text = "If you can read this, it survived."
        sequence, status = self._killed("writer", talk.id, text)
        self._line(f"child: message {sequence} of {_who(talk)}'s conversation is stored")
        self._line(f"child: killed (exit status {status}), with no chance to close anything")
        with open_store(self._url) as again:
            found = again.conversations.messages(talk.id, last=1)
            self._check(len(found) == 1 and found[0].content == text, "the message was lost")
            self._check(found[0].sequence == sequence, "the message is not where it was said to be")
            problems = again.check()
        self._line(f"parent: read back from the file: {found[0].text!r}")
        self._check(not problems, f"the store is damaged: {problems}")
        self._line("parent: the store's integrity check finds nothing wrong")

    def _gather(self, store: Store) -> None:
        self._title("Gather what a task needs under a name, give a model what fits, and resume it tomorrow.")
        for name in ("leaky sensor", "release notes"):
            store.contexts.add(name, "note", f"What {name} needs is gathered here.")
            store.contexts.set_active(name)
        log = "".join(f"14:{minute:02} pressure low\n" for minute in range(60)) * 10
        for kind, content in (("file", log), ("file", log), ("diff", "-  limit = 4\n+  limit = 3")):
            store.contexts.add("leaky sensor", kind, content)
        store.contexts.set_active("release notes", False)
        self._check(store.contexts.active() is None, "a context that was left is still active")
        self._check(store.contexts.resume().name == "release notes", "not the last active one was resumed")
        work = store.contexts.resume("leaky sensor")
        self._check([item.name for item in store.contexts.list() if item.active] == [work.name], "not one context is active")
        found = store.contexts.assemble(work.name, budget=100)
        self._line(f"resumed {work.name!r}: {work.artifact_count} artifacts, {work.bytes:,} bytes; in a budget of 100 tokens:")
        for item in found.artifacts:
            self._line(f"    {item.sequence:>3} {item.kind:<10} {_cut(' '.join(item.content.split()), 80)}")
        for left in found.left_out:
            self._line(f"    {left.sequence:>3} {left.kind:<10} left out: {left.tokens:,} tokens ({left.reason})")
        self._check([item.sequence for item in found.artifacts] == [1, 4], "the assembly took something else")

    def _share(self, store: Store) -> None:
        self._title("Share a project: agents claim what they work on, and nobody takes another's name or files.")
        kind, project = store.workspaces, "demo"
        lead = kind.start("architect", "lead", project_id=project)
        first, second = (kind.start("implementer", project_id=project) for _ in range(2))
        for one in (lead, first, second):
            self._line(f"    {one.id[-8:]}  {one.role:<12} {one.name:<18} {one.state}")
        claim = kind.claim(first.id, "src/")
        self._line(f"{first.name} claims src/ (number {claim.fence})")
        try:
            kind.claim(second.id, "src/sensor.py")
        except LeaseHeldError as error:
            self._line(f"refused: {error.message}")
            self._check(error.holder == first.id, "somebody else has the claim")
        else:
            self._check(False, "two have claims that overlap")
        kind.end(first.id, reason="done")
        taken = kind.claim(second.id, "src/sensor.py")
        self._line(f"{first.name} ends, and {second.name} claims src/sensor.py (number {taken.fence})")
        again = kind.start("implementer", first.name, project_id=project)
        self._line(f"the name {again.name} is free again; at work: {kind.count_active(project_id=project)}")
        self._check(
            taken.fence > claim.fence and kind.count_active(project_id=project)["implementer"] == 2, "not two are there"
        )

    def _sign_in(self, store: Store) -> None:
        self._title(
            "Sign in on two devices: the store knows no token, a stolen one ends its login, and signed out is for good."
        )
        kind = store.logins
        user = store.directory.add_user("mira")
        store.directory.add_world("reeds", "The Reeds")
        hero = store.directory.add_character(user, "reeds", "Mira of the Reeds")
        laptop = kind.create(user, client_type="web", ip="203.0.113.7", amr=["pwd", "otp"])
        phone = kind.create(username="mira", client_type="app", character_id=hero)
        for login in kind.list(user_id=user):
            plays = f"plays in {login.world_id}" if login.character_id else "account only"
            self._line(f"    {login.id[-8:]}  {login.client_type:<5} {plays:<16} until {login.expires_at:%Y-%m-%d %H:%M} UTC")
        self._line(f"in {', '.join(kind.online(user).world_ids)}: {', '.join(kind.active_characters(world_id='reeds'))}")
        stored = b"".join(path.read_bytes() for path in self._directory.iterdir() if path.is_file())
        self._check(b"Mira of the Reeds" in stored, "the store is not where it should be")
        self._check(not any(str(new.token).encode() in stored for new in (laptop, phone)), "a token was stored")
        kind.rotate(laptop.token, reauthenticated=True)
        reason = self._refused(store, laptop)
        self._line(f"the laptop's token was replaced; a thief presents the old one, and nobody goes on with it: {reason}")
        ended = kind.revoke_user(user, reason="signed out everywhere")
        self._line(f"signed out everywhere ({ended} device), and the phone is told: {self._refused(store, phone)}")
        self._check((reason, ended) == ("reuse", 1), "a stolen token, or signing out, did something else")

    def _refused(self, store: Store, new: NewLogin) -> str:
        """Why a token does not answer any more."""
        try:
            store.logins.authenticate(new.token)
        except EndedError as error:
            return str(error.record.reason) if isinstance(error.record, Login) else ""
        raise StepError(f"step {self._step} failed: a token answers that has ended.")

    def _play(self, store: Store) -> None:
        self._title("Play: a window is open until all have chosen. One player's process dies, and her choice counts.")
        games, up = store.games, next(iter(GREY_POINT.start.ways))
        policy = GamePolicy(countdown=timedelta(minutes=5), close_when="all")
        game = games.boot("table", GREY_POINT.title, policy=policy)
        for user in ("ana", "ben"):
            games.join("table", user, user.title())
        turn, status = self._killed("player", "table", "ana", up)
        self._line(f"child: Ana's choice is acknowledged for turn {turn}, and she is killed (exit status {status})")
        again = games.submit_choice("table", "ana", "Ana", up, key="ana's choice")
        self._line(f"parent: Ana asks again with the same key: {again.status}, turn {again.turn}")
        games.submit_choice("table", "ben", "Ben", up)
        claim = games.narrate("table")
        told = GREY_POINT.tell(moment_of(games.load(game.id), claim.turn, ""))
        played = games.record_turn("table", claim.turn.number, told.text, token=claim.token)
        self._line(f"parent: Ben chooses, which closes turn {played.number} ({played.reason}); it is told once:")
        for line in (*games.format_choices(played, game=games.load(game.id)).splitlines(), *told.text.splitlines()[:3]):
            if line:
                self._line(f"    {_cut(line, 90)}")
        self._check((again.status, again.turn) == ("duplicate", turn), "the choice was counted twice, or not at all")
        self._check(played.choices == {"ana": up, "ben": up}, "a choice that was acknowledged is not in its turn")

    def _serve(self, store: Store) -> None:
        """The service in a process of its own, over the same store; left out where it is not installed."""
        self._title("Serve it: the same operations over HTTP, with a console for a browser.")
        if find_spec("uvicorn") is None:
            self._line("left out: the service is not installed (pip install 'sojourn[service]')")
            return
        with serving(self._url) as served:
            talk = store.conversations.list(user_id="zoë").items[0]
            said = {"role": "user", "content": "Over HTTP, too.", "channel": "web"}
            place = f"/v1/conversations/{talk.id}/messages"
            once = {"Idempotency-Key": "demo"}
            first, again = (served.ask("POST", place, said, once)["sequence"] for _ in range(2))
            self._line(f"POST a message of {_who(talk)}: sequence {first}; asked again with the same key: {again}")
            described = served.ask("GET", "/openapi.json")
            operations = sum(len(methods) for methods in described["paths"].values())
            self._line(f"GET /openapi.json: {operations} operations on {len(described['paths'])} paths")
            self._check(served.status("/v1/conversations", key="guess") == 401, "a guessed key was accepted")
            self._line("GET /v1/conversations with a guessed key: 401")
        self._check(first == again == store.conversations.messages(talk.id, last=1)[0].sequence, "it was stored twice")

    def _killed(self, what: str, *words: str) -> tuple[int, int]:
        """Have a child store something and kill it when it has said so; the number it said, and its exit status."""
        root = str(Path(sojourn.__file__).parent.parent)
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        child = subprocess.Popen(
            [sys.executable, "-m", f"sojourn.demo.{what}", self._url, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
        )
        with child:
            overdue = threading.Timer(_CHILD_WITHIN, child.kill)
            overdue.start()
            assert child.stdout is not None  # noqa: S101  # it is a pipe
            said = child.stdout.readline().strip()
            child.kill()
            overdue.cancel()
        self._check(said.isdigit(), "the other process did not store anything")
        return int(said), child.returncode

    def _what_next(self) -> None:
        kept = self._keep
        url = url_of(Path("demo.db") if kept is None else kept)
        program, python = _program()
        self._say("")
        self._say("All steps did what they say. " + ("The store is gone." if kept is None else f"The store is kept: {kept}"))
        self._say("Try next:")
        if kept is None:
            self._line("# the same again, and keep the store")
            self._line(f"{program} demo --keep demo.db")
        self._line("# look around in it")
        self._line(f"{program} conversation list --store {url}")
        self._line(f"{program} conversation search '{_WORDS}' --store {url}")
        self._line("# the same from Python")
        self._line(f"{python} -c 'import sojourn; {_IN_PYTHON.format(url=url, words=_WORDS)}'")
        self._line("# a game for this terminal, and for others beside it")
        self._line(f"{program} game play table --user ana --store game.db")
        self._line("# all of it alive: a console, and a game to join from a browser")
        self._line(f"{program} demo --play")
        self._line("# your own, if you use OpenJarvis")
        self._line(f"{program} import openjarvis ~/.openjarvis/sessions.db --dry-run")

    # -- telling ---------------------------------------------------------------------------------------------------

    def _title(self, text: str) -> None:
        self._step += 1
        self._say("")
        self._say(f"{self._step}. {text}")

    def _line(self, text: str) -> None:
        self._say(f"   {text}")

    def _messages(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._line(f"    {message.sequence:>3} {message.role:<10} {_cut(message.text, 80)}")

    def _check(self, holds: bool, text: str) -> None:
        if not holds:
            raise StepError(f"step {self._step} failed: {text}.")


def url_of(path: Path) -> str:
    """The URL of a store in a file."""
    return f"sqlite:///{quote(str(path))}"


def _program() -> tuple[str, str]:
    """How the commands ``sojourn`` and ``python`` of this installation are typed where the demo was started."""
    python = Path(sys.executable)
    return _typed(python.with_name("sojourn"), "sojourn"), _typed(python, "python")


def _typed(program: Path, name: str) -> str:
    found = shutil.which(name)
    if found is not None and program.exists() and _of_one_place(Path(found)) == _of_one_place(program):
        return name
    here = Path.cwd()
    return shlex.quote(str(program.relative_to(here) if program.is_relative_to(here) else program))


def _of_one_place(program: Path) -> Path:
    """What a program is: a link to ``sojourn`` is that, but every environment's ``python`` is a link, and one of its own."""
    return program.parent.resolve() if program.name.startswith("python") else program.resolve()


def _who(talk: Conversation) -> str:
    return talk.identity.display_name or ("(unknown)" if talk.title else talk.identity.user_id)


def _cut(text: str, width: int) -> str:
    return shorten(text, width, placeholder=" ...")
