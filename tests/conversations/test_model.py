"""A conversation against the most naive model of one, whatever is done to it and however the clock jumps."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import sojourn
from sojourn import ConversationPolicy, Message, Messages
from sojourn.testing.clocks import ManualClock

pytestmark = pytest.mark.slow

FOLD_ABOVE = 8


@dataclass
class Summary:
    """The summary at ``number`` stands for ``first`` to ``last``, and for the older ones that it was built on."""

    number: int
    first: int
    last: int
    inner: list[Summary]


@dataclass
class Model:
    """Lists and sets, searched from end to end."""

    texts: dict[int, str] = field(default_factory=dict)
    """Of messages, by sequence."""
    last: int = 0
    """Sequence, messages and summaries counted alike."""
    summaries: list[Summary] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    rewound: list[set[int]] = field(default_factory=list)
    due: bool = False

    def is_hidden(self, number: int, place: int | None = None) -> bool:
        """Whether what is numbered so, and listed there, was hidden."""
        return number in self.hidden or any((number if place is None else place) in one for one in self.rewound)

    def is_folded(self, number: int) -> bool:
        """Whether a summary stands for it."""
        return any(summary.first <= number <= summary.last for summary in self.summaries)

    def listed(self, *, folded: bool = False, hidden: bool = False) -> list[tuple[int, int, str]]:
        """Places, kinds (a summary before what it stands for) and texts, in order."""
        rows = [
            (number, 1, text)
            for number, text in self.texts.items()
            if (folded or not self.is_folded(number)) and (hidden or not self.is_hidden(number))
        ]
        rows += [
            (summary.first, 0, f"{summary.first}-{summary.last}")
            for summary in self.summaries
            if not self.is_hidden(summary.number, summary.first)
        ]
        return sorted(rows)

    def visible(self) -> list[int]:
        """The sequences of the messages in the window."""
        return [place for place, kind, _ in self.listed() if kind]

    def append(self, text: str) -> None:
        self.last += 1
        self.texts[self.last] = text

    def counted(self) -> None:
        """After an append: perhaps a fold is due now."""
        self.due = self.due or len(self.visible()) > FOLD_ABOVE

    def consolidate(self, keep: int | None = None) -> bool:
        visible = self.visible()
        if keep is None and len(visible) * 2 <= FOLD_ABOVE:
            self.due = False
            return False
        size = len(visible) // 2 if keep is None else len(visible) - keep
        if size <= 0:
            self.due = False
            return False
        last = visible[size - 1]
        first = min(place for place, _, _ in self.listed())
        inner = [summary for summary in self.summaries if first <= summary.first <= last]
        self.last += 1
        self.summaries = [summary for summary in self.summaries if summary not in inner]
        self.summaries.append(Summary(self.last, first, last, inner))
        self.due = len(self.visible()) > FOLD_ABOVE
        return True

    def open(self, summary: Summary) -> None:
        self.summaries.remove(summary)
        self.summaries.extend(summary.inner)

    def rewind(self, to: int) -> None:
        gone = set(range(to + 1, self.last + 1))
        if gone <= self.hidden.union(*self.rewound):
            return
        while across := [summary for summary in self.summaries if summary.first <= to < summary.last]:
            self.open(across[0])
        self.rewound.append(gone)

    def unhide(self, number: int) -> None:
        place = next((summary.first for summary in self.summaries if summary.number == number), number)
        self.hidden.discard(number)
        for one in self.rewound:
            one.discard(place)
        self.rewound = [one for one in self.rewound if one]

    def fork(self, at: int) -> Model:
        made = deepcopy(self)
        while beyond := [one for one in made.summaries if one.number > at or one.last > at]:
            made.open(beyond[0])
            made.summaries = [one for one in made.summaries if one.first <= at]
        made.hidden |= {number for one in self.rewound for number in one}
        for summary in made.summaries:
            out = self.is_hidden(summary.number, summary.first) or summary.number in self.hidden
            made.hidden = made.hidden | {summary.number} if out else made.hidden - {summary.number}
        made.texts = {number: text for number, text in self.texts.items() if number <= at}
        made.hidden = {number for number in made.hidden if number <= at}
        made.rewound, made.last, made.due = [], at, False
        return made


class Conversations(RuleBasedStateMachine):
    """The real thing and the model side by side."""

    @initialize(keeps=st.lists(st.integers(0, 6), max_size=3))
    def begin(self, keeps: list[int]) -> None:
        """A conversation that may have been folded before."""
        self.clock = ManualClock()
        policy = ConversationPolicy(max_age=None, fold_above=FOLD_ABOVE)
        self.store = sojourn.open("memory:", clock=self.clock, conversations=policy)
        self.talks = self.store.conversations
        self.talk = self.talks.create("ann").id
        self.model = Model()
        for keep in keeps:
            self.append(["one"] * 6, False)
            self.consolidate(keep)

    def teardown(self) -> None:
        self.store.close()

    def any_number(self, data: st.DataObject) -> int:
        return data.draw(st.integers(1, self.model.last))

    # -- what is done ----------------------------------------------------------------------------------------------

    @rule(texts=st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=8), key=st.booleans())
    def append(self, texts: list[str], key: bool) -> None:
        rows = [{"role": "user", "content": text} for text in texts]
        name = f"key {self.model.last}" if key else None
        stored = self.talks.extend(self.talk, rows, key=name)
        if key:
            assert [message.sequence for message in self.talks.extend(self.talk, rows, key=name)] == [
                message.sequence for message in stored
            ]
        assert stored[0].sequence == self.model.last + 1
        for text in texts:
            self.model.append(text)
        self.model.counted()

    @rule(keep=st.none() | st.integers(0, 4))
    def consolidate(self, keep: int | None) -> None:
        folded = self.talks.consolidate(self.talk, keep=keep)
        assert (folded is not None) == self.model.consolidate(keep)

    def is_due_now(self) -> bool:
        """Whether a fold that is due is due by the clock, which may have gone back behind it."""
        session = self.store.sessions.get(self.talk)
        assert session is not None
        assert (session.deadline is not None) == self.model.due
        return session.deadline is not None and session.deadline <= self.clock()

    @rule()
    def sweep(self) -> None:
        folded = self.is_due_now() and self.model.consolidate()
        assert self.store.sweep()["folded"] >= folded  # what was forked may have been due too

    @precondition(lambda self: self.model.summaries)
    @rule(data=st.data())
    def expand(self, data: st.DataObject) -> None:
        summary = data.draw(st.sampled_from(self.model.summaries))
        self.talks.expand(self.talk, summary.number)
        self.model.open(summary)

    @precondition(lambda self: self.model.last)
    @rule(data=st.data())
    def hide(self, data: st.DataObject) -> None:
        number = self.any_number(data)
        assert self.talks.hide(self.talk, number).hidden
        self.model.hidden.add(number)

    @precondition(lambda self: self.model.last)
    @rule(data=st.data())
    def unhide(self, data: st.DataObject) -> None:
        number = self.any_number(data)
        assert not self.talks.unhide(self.talk, number).hidden
        self.model.unhide(number)

    @rule()
    def pop(self) -> None:
        popped, visible = self.talks.pop(self.talk), self.model.visible()
        assert (None if popped is None else popped.sequence) == (visible[-1] if visible else None)
        self.model.hidden |= set(visible[-1:])

    @rule(data=st.data())
    def rewind(self, data: st.DataObject) -> None:
        to = data.draw(st.integers(0, self.model.last + 1))
        self.talks.rewind(self.talk, to)
        self.model.rewind(to)

    @rule()
    def clear(self) -> None:
        self.talks.clear(self.talk)
        self.model.rewind(0)

    @rule()
    def undo_rewind(self) -> None:
        self.talks.undo_rewind(self.talk)
        self.model.rewound = self.model.rewound[:-1]

    @precondition(lambda self: self.model.texts)
    @rule(data=st.data())
    def redact(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.model.texts)))
        self.talks.redact(self.talk, number)
        self.model.texts[number] = ""

    @rule(data=st.data(), end=st.booleans(), delete=st.booleans())
    def go_on_in_a_fork(self, data: st.DataObject, end: bool, delete: bool) -> None:
        at = self.model.last if end else data.draw(st.integers(0, self.model.last))
        fork = self.talks.fork(self.talk, at=at).id
        if delete:
            self.talks.delete(self.talk)
            self.store.sweep()
        self.talk, self.model = fork, self.model.fork(at)

    @rule(hours=st.integers(-50, 50))
    def jump(self, hours: int) -> None:
        self.clock.advance(timedelta(hours=hours))

    # -- what is seen ----------------------------------------------------------------------------------------------

    @invariant()
    def counts_are_right(self) -> None:
        found = self.talks.get(self.talk)
        assert found is not None
        assert found.message_count == len(self.model.texts)
        assert found.folded_through == max((summary.last for summary in self.model.summaries), default=0)
        session = self.store.sessions.get(self.talk)
        assert session is not None
        assert session.counters["unfolded"] == len(self.model.visible())
        assert session.entries == self.model.last

    @rule(folded=st.booleans(), hidden=st.booleans(), data=st.data())
    def read(self, folded: bool, hidden: bool, data: st.DataObject) -> None:
        if self.is_due_now():
            self.model.consolidate()
        last = data.draw(st.none() | st.integers(0, 12))
        after = data.draw(st.none() | st.integers(0, self.model.last + 1))
        before_place = data.draw(st.none() | st.integers(0, self.model.last + 2))
        messages = self.talks.messages(
            self.talk, last=last, after=after, before=before_place, include_folded=folded, include_hidden=hidden
        )
        rows = [
            row
            for row in self.model.listed(folded=folded, hidden=hidden)
            if (after is None or row[0] > after) and (before_place is None or row[0] < before_place)
        ]
        assert list(map(seen, messages)) == (rows if last is None else rows[max(0, len(rows) - last) :])
        self.flags_are_right(messages)

    def flags_are_right(self, messages: Messages) -> None:
        for message in messages:
            place = message.place
            assert message.hidden == self.model.is_hidden(message.sequence, place)
            assert message.folded == (message.covers is None and self.model.is_folded(message.sequence))

    @rule(budget=st.integers(1, 30))
    def look_through_the_window(self, budget: int) -> None:
        if self.is_due_now():
            self.model.consolidate()
        window = self.talks.window(self.talk, budget=budget, count=lambda _: 1)
        assert len(window) <= budget
        kept = [message.sequence for message in window if not message.summary]
        visible = self.model.visible()
        assert kept == visible[len(visible) - len(kept) :]
        assert len(window) == min(budget, len(self.model.listed()))


def seen(message: Message) -> tuple[int, int, str]:
    """A message as the model lists it."""
    if message.covers is None:
        return message.sequence, 1, message.text
    return message.covers[0], 0, f"{message.covers[0]}-{message.covers[1]}"


TestConversations: Any = Conversations.TestCase
TestConversations.settings = settings(max_examples=120, stateful_step_count=30, deadline=None)


@pytest.mark.campaign
def test_many_more_conversations() -> None:
    run_state_machine_as_test(Conversations, settings=settings(max_examples=5000, stateful_step_count=50, deadline=None))
