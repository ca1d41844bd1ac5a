"""Real processes on one file: a cap holds, characters have one holder and one owner, what was revoked stays revoked."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import sojourn
from sojourn import LoginPolicy, Store

pytestmark = pytest.mark.slow

PROCESSES: Final = 8

WORKER: Final = """
import json, random, sys
import sojourn
from sojourn import LoginPolicy, SojournError

url, work, number, *more = sys.argv[1:]
cap = 1 if work == "sign_in" else None
store = sojourn.open(url, logins=LoginPolicy(max_per_user=cap))
logins, directory = store.logins, store.directory
chance = random.Random(int(number))


def say(*values):
    print(json.dumps(values), flush=True)


def sign_in(user, count):
    for _ in range(int(count)):
        say(logins.create(user).login.id)


def mix(names, worlds, count):
    users = [directory.user_id(name) for name in names.split(",")]
    for _ in range(int(count)):
        user = chance.choice(users)
        known = directory.user(user)
        heroes = [hero for one in users for hero in directory.user(one).character_ids]
        hero = chance.choice(heroes) if heroes else "none"
        conflict = chance.choice(["refuse", "take_over", "share"])
        try:
            match chance.randrange(8):
                case 0: logins.create(user, character_id=hero, on_conflict=conflict)
                case 1 | 2:
                    devices = logins.list(user_id=user).items
                    if devices:
                        logins.bind_character(chance.choice(devices).id, hero, on_conflict=conflict)
                case 3 | 4: directory.move_character(hero, user)
                case 5 if len(heroes) > 3: directory.remove_character(hero)
                case 6: directory.add_character(user, chance.choice(worlds.split(",")), f"hero {number}")
                case 7: logins.revoke_character(hero) if chance.random() < 0.2 else logins.create(user)
        except SojournError as error:
            say(type(error).__name__)


def rotate(token, count):
    for place in range(int(count)):
        token = str(logins.rotate(token, key=f"{number}.{place}").token)
        say(token)


say("ready")
sys.stdin.readline()
globals()[work](*more)
store.close()
say("end")
"""


class Worker:
    """A process that does one work on a store, and says what it has done."""

    def __init__(self, url: str, work: str, number: int, *more: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, url, work, str(number), *map(str, more)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "error"},
        )

    def start(self) -> None:
        assert self.process.stdin is not None
        assert self.hear() == ["ready"]
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None

    def listen(self) -> list[Any]:
        """Everything it says to its end."""
        said = []
        while (heard := self.hear()) is not None:
            said.append(heard)
        self.process.communicate(timeout=100)
        return said


def together(url: str, work: str, *more: object) -> list[list[Any]]:
    workers = [Worker(url, work, number, *more) for number in range(PROCESSES)]
    for worker in workers:
        worker.start()
    said = [worker.listen() for worker in workers]
    assert [found[-1] for found in said] == [["end"]] * PROCESSES
    return said


def test_a_cap_of_one_of_eight_processes(tmp_path: Path) -> None:
    """Each signs in ten times; at the end one login is live, and every other was evicted."""
    url = f"sqlite:///{tmp_path}/a.db"
    with sojourn.open(url) as store:
        ann = store.directory.add_user("ann")
        made = {id for said in together(url, "sign_in", ann, 10) for (id,) in said if id != "end"}
        assert len(made) == PROCESSES * 10
        everything = store.logins.list(user_id=ann, active_only=False, limit=1000).items
        assert {login.id for login in everything} == made
        assert sum(login.state == "active" for login in everything) == 1
        assert sorted({login.reason for login in everything}) == ["", "evicted"]


def check(store: Store, users: list[str]) -> int:
    """Every record: account or character, the character exists, has one owner, is in this world, has one holder."""
    owners: dict[str, str] = {}
    for user in users:
        known = store.directory.user(user)
        assert known is not None
        for hero in known.character_ids:
            assert hero not in owners, "two users have one character"
            owners[hero] = user
            found = store.directory.character(hero)
            assert found is not None
            assert found.user_id == user
    holders: dict[str, list[sojourn.Login]] = {}
    for login in store.logins.list(limit=1000):
        assert (login.character_id is None) == (login.world_id is None)
        if login.character_id is not None:
            character = store.directory.character(login.character_id)
            assert character is not None
            assert (character.user_id, character.world_id) == (login.user_id, login.world_id)
            holders.setdefault(character.id, []).append(login)
    assert all(len(found) == 1 or all(login.shared_character for login in found) for found in holders.values())
    assert {login.id for found in holders.values() for login in found} == {
        login.id for hero in holders for login in store.logins.list(character_id=hero)
    }
    return len(holders)


def prepared(store: Store) -> list[str]:
    users = [store.directory.add_user(name) for name in ("ann", "bob", "cat")]
    for world in ("w1", "w2"):
        store.directory.add_world(world, world)
    for number in range(6):
        store.directory.add_character(users[number % 3], f"w{number % 2 + 1}", f"hero {number}")
    return users


@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.campaign)])
def test_eight_processes_bind_remove_and_move_characters(tmp_path: Path, count: int) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    with sojourn.open(url) as store:
        users = prepared(store)
        said = together(url, "mix", "ann,bob,cat", "w1,w2", count)
        kinds = {kind for found in said for (kind,) in found}
        assert kinds <= {"end", "ConflictError", "BindingError", "NotFoundError", "EndedError"}, kinds
        check(store, users)
        store.logins.create(users[0], character_id=store.directory.add_character(users[0], "w1", "the last hero"))
        assert check(store, users) > 0


@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.campaign)])
def test_processes_that_are_killed_leave_nothing_half_done(tmp_path: Path, rounds: int) -> None:
    """Killed in the midst of it: what they began is finished by whoever comes next, or was not begun."""
    url = f"sqlite:///{tmp_path}/a.db"
    chance = random.Random(1)
    with sojourn.open(url) as store:
        users = prepared(store)
        for number in range(rounds):
            workers = [Worker(url, "mix", number * 3 + place, "ann,bob,cat", "w1,w2", 100_000) for place in range(3)]
            for worker in workers:
                worker.start()
            for worker in workers:
                for _ in range(chance.randrange(1, 30)):
                    worker.hear()
                worker.process.send_signal(signal.SIGKILL)
                worker.process.communicate()
            heroes = [
                hero for user in users for hero in (store.directory.user(user) or sojourn.User("", "", None)).character_ids
            ]
            for hero in heroes:
                store.directory.character(hero)  # whatever was on its way arrives
            check(store, users)


def test_a_killed_client_that_rotates_is_not_logged_out(tmp_path: Path) -> None:
    """It dies with its answer on the way; the token it had before, and the same key, give it another."""
    url = f"sqlite:///{tmp_path}/a.db"
    with sojourn.open(url, directory=False, logins=LoginPolicy()) as store:
        made = store.logins.create("ann")
        token = str(made.token)
        for number in range(3):
            worker = Worker(url, "rotate", number, token, 100_000)
            worker.start()
            said = [heard for _ in range(20) if (heard := worker.hear()) is not None]
            worker.process.send_signal(signal.SIGKILL)
            said += worker.listen()
            fresh = store.logins.rotate(said[-1][0], key=f"{number}.{len(said)}")
            assert store.logins.authenticate(fresh.token).id == made.login.id
            token = str(fresh.token)
