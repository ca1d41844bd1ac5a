"""Names, references, resources and roles may be anything: each is taken, or refused with an error of the library."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

import sojourn
from sojourn import (
    Claim,
    EndedError,
    ExpiredError,
    InvalidNameError,
    LeaseHeldError,
    NameTakenError,
    SojournError,
    Workspaces,
    validate_name,
)
from sojourn.core.ids import ALPHABET
from sojourn.kinds.workspaces.resources import check_resource, overlap, steps_of
from sojourn.kinds.workspaces.standing import state_of
from sojourn.testing.clocks import ManualClock
from sojourn.testing.places import MemoryPlaces, standing

ANYTHING = st.text(alphabet=st.characters(codec=None), max_size=80) | st.text(max_size=2000)
NEARLY = st.text(alphabet="abc-09", max_size=40) | st.from_regex(r"[a-z0-9-]{1,33}\n?", fullmatch=True)
NAMES = NEARLY | ANYTHING


def workspaces(clock: ManualClock | None = None, places: MemoryPlaces | None = None) -> Workspaces:
    """A store in memory."""
    store = sojourn.open("memory:", clock=clock or ManualClock())
    return standing(store, places or MemoryPlaces(agent="ada")).workspaces


@given(NAMES)
def test_a_name_is_valid_exactly_by_the_rules(name: str) -> None:
    valid = len(name) <= 32 and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None
    if valid:
        assert validate_name(name) == name
    else:
        with pytest.raises(InvalidNameError):
            validate_name(name)


@settings(deadline=None)
@given(NAMES)
def test_what_is_started_under_a_name_is_found_by_it(name: str) -> None:
    kind = workspaces()
    try:
        made = kind.start("implementer", name)
    except InvalidNameError:
        assert not len(kind.list(active_only=False))
        return
    assert made.name == (name or made.name)
    assert kind.resolve(made.name).workspace.id == made.id
    assert kind.resolve(made.id).workspace.id == made.id


@settings(deadline=None)
@given(
    (NAMES | st.text(alphabet=ALPHABET + ALPHABET.lower(), min_size=1, max_size=27)).filter(lambda text: text.strip() != "-")
)
def test_a_reference_leads_to_what_has_it_or_to_an_error(reference: str) -> None:
    kind = workspaces()
    made = [kind.start("implementer", name) for name in ("abc", "abc-0", "b")]
    try:
        found = kind.resolve(reference).workspace
    except SojournError:
        exact = [one for one in made if one.name == reference]
        assert not exact
        return
    text = reference.strip()
    assert found.name.startswith(text) or found.id.endswith(text.upper())
    assert found.name == text or sum(one.name.startswith(text) for one in made) <= 1


@settings(deadline=None)
@given(ANYTHING)
def test_anything_in_a_pointer_or_the_environment_is_an_error_of_the_library(text: str) -> None:
    for place in ("pointer", "environment"):
        places = MemoryPlaces(agent="ada", session=text if place == "environment" else "")
        if place == "pointer":
            places.directory.pointers["terminal", "ada"] = text
        kind = workspaces(places=places)
        for operation in (kind.resolve, kind.load_active, kind.end):
            with pytest.raises(SojournError) as raised:
                operation()
            assert str(raised.value)


PATHS = st.lists(st.sampled_from(["src", "a", "b.py", "..", ".", "", "é", "e\u0301", "a\n"]), max_size=5).map("/".join)


@given(PATHS | ANYTHING)
def test_a_resource_is_kept_in_one_form(resource: str) -> None:
    try:
        kept = check_resource(resource)
    except SojournError:
        return
    assert check_resource(kept) == kept
    assert ".." not in kept.split("/")
    assert not kept.startswith("/")
    assert kept.isprintable()
    assert overlap(kept, kept)
    assert overlap(kept, ".")


@given(PATHS, PATHS)
def test_two_resources_overlap_exactly_when_one_begins_with_the_steps_of_the_other(one: str, other: str) -> None:
    try:
        left, right = check_resource(one), check_resource(other)
    except SojournError:
        return
    first, second = sorted((steps_of(left), steps_of(right)), key=len)
    assert overlap(left, right) is overlap(right, left) is (second[: len(first)] == first)


@given(
    st.sampled_from(["active", "ended", "archived"]),
    st.integers(0, 100),
    st.none() | st.integers(0, 100),
    st.integers(0, 100),
    st.none() | st.integers(1, 50),
    st.none() | st.booleans(),
    st.none() | st.integers(1, 50),
)
def test_a_state_follows_from_what_is_stored_and_the_time(
    stored: str, active: int, deadline: int | None, now: int, hold: int | None, gripped: bool | None, idle: int | None
) -> None:
    state = state_of(stored, active, deadline, now, hold_ttl=hold, gripped=gripped, idle_after=idle)
    over = stored != "active" or (deadline is not None and now >= deadline)
    assert (state in ("ended", "expired")) == over
    if state == "lost":
        assert hold is not None
    if state == "active":
        assert idle is None or now - active < idle
    later = state_of(stored, active, deadline, now + 50, hold_ttl=hold, gripped=gripped, idle_after=idle)
    order = {"active": 0, "idle": 1, "lost": 2, "expired": 3, "ended": 3}
    assert order[later] >= order[state]


class Project(RuleBasedStateMachine):
    """One project, against what a person would keep on paper."""

    made = Bundle("made")

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.kind = workspaces(self.clock)
        self.names: dict[str, str] = {}
        """The name of each session that is not over, by its id."""
        self.due: dict[str, Any] = {}
        self.over: set[str] = set()
        self.claimed: dict[str, tuple[str, Any]] = {}
        self.fences: list[int] = []

    def settle(self) -> None:
        """What has gone stale by now is over."""
        for id in [id for id in self.names if self.due[id] <= self.clock()]:
            self.close(id)
        self.claimed = {
            place: (id, until) for place, (id, until) in self.claimed.items() if id in self.names and until > self.clock()
        }

    def close(self, id: str) -> None:
        del self.names[id]
        self.over.add(id)

    def touched(self, id: str) -> None:
        self.due[id] = self.clock() + timedelta(hours=4)

    @rule(target=made, name=st.sampled_from(["", "a", "b", "c"]))
    def start(self, name: str) -> str:
        self.settle()
        if name and name in self.names.values():
            with pytest.raises(NameTakenError):
                self.kind.start("implementer", name)
            return next(id for id, known in self.names.items() if known == name)
        made = self.kind.start("implementer", name)
        assert made.name not in self.names.values()
        self.names[made.id] = made.name
        self.touched(made.id)
        return made.id

    @rule(id=made, name=st.sampled_from(["a", "b", "c", "d"]))
    def rename(self, id: str, name: str) -> None:
        self.settle()
        if id in self.over:
            with pytest.raises((EndedError, ExpiredError)):
                self.kind.rename(id, name)
        elif name in self.names.values() and self.names[id] != name:
            with pytest.raises(NameTakenError):
                self.kind.rename(id, name)
        else:
            before = self.names[id]
            self.names[id] = self.kind.rename(id, name).name
            if before != name:
                self.touched(id)

    @rule(id=made)
    def end(self, id: str) -> None:
        self.settle()
        self.kind.end(id)
        if id in self.names:
            self.close(id)

    @rule(id=made)
    def heartbeat(self, id: str) -> None:
        self.settle()
        if id in self.over:
            with pytest.raises((EndedError, ExpiredError)):
                self.kind.heartbeat(id)
        else:
            assert self.kind.heartbeat(id).state == "active"
            self.touched(id)

    @rule(id=made, place=st.sampled_from(["src", "src/a", "src/a/b", "docs", "."]))
    def claim(self, id: str, place: str) -> None:
        self.settle()
        if id in self.over:
            with pytest.raises((EndedError, ExpiredError)):
                self.kind.claim(id, place)
            return
        others = [known for known, (holder, _) in self.claimed.items() if holder != id and overlap(known, place)]
        if others:
            with pytest.raises(LeaseHeldError):
                self.kind.claim(id, place)
            return
        claim = self.kind.claim(id, place)
        if place not in self.claimed:
            assert claim.fence > max(self.fences, default=0)
            self.fences.append(claim.fence)
        self.claimed[place] = (id, claim.expires_at)
        self.touched(id)

    @rule(minutes=st.sampled_from([1, 10, 20, 120, 300]))
    def wait(self, minutes: int) -> None:
        self.clock.advance(timedelta(minutes=minutes))

    @rule()
    def sweep(self) -> None:
        self.kind.expire_stale()

    @invariant()
    def it_is_as_on_paper(self) -> None:
        self.settle()
        assert {one.id: one.name for one in self.kind.list(limit=1000)} == self.names
        claims: list[Claim] = self.kind.claims()
        assert {claim.resource: claim.session_id for claim in claims} == {place: id for place, (id, _) in self.claimed.items()}
        assert sum(self.kind.count_active().values()) == len(self.names)


Project.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestProject = Project.TestCase
