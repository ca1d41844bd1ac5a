"""Listing messages: what is visible, in order, and in the shapes that model APIs take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sojourn import InvalidValueError, Messages, NotFoundError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Lisbon"}'}}
BROKEN_CALL = {"id": "c2", "function": {"name": "x", "arguments": "{"}}


async def test_every_visible_message_is_listed_in_order(lab: Lab) -> None:
    made = await lab.long_talk(250, talks=lab.under(fold_above=None).conversations)
    messages = await lab.under(fold_above=None).conversations.messages(made)
    assert isinstance(messages, Messages)
    assert lab.shown(messages) == lab.numbered(250)
    assert [message.sequence for message in messages] == list(range(1, 251))


async def test_the_last_ones_are_listed_in_order(lab: Lab) -> None:
    made = await lab.long_talk(10)
    assert await lab.texts(made, last=3) == lab.numbered(3, 8)
    assert await lab.texts(made, last=0) == []
    assert await lab.texts(made, last=99) == lab.numbered(10)


async def test_before_and_after_name_places(lab: Lab) -> None:
    made = await lab.long_talk(10)
    assert await lab.texts(made, before=4) == lab.numbered(3)
    assert await lab.texts(made, after=8) == lab.numbered(2, 9)
    assert await lab.texts(made, after=3, before=7) == lab.numbered(3, 4)
    assert await lab.texts(made, before=8, last=2) == lab.numbered(2, 6)
    assert await lab.texts(made, after=2, last=2) == lab.numbered(2, 9)
    assert await lab.texts(made, after=10) == []
    assert await lab.texts(made, before=1) == []
    assert await lab.texts(made, after=7, before=3) == []
    assert await lab.texts(made, after=0, before=99) == lab.numbered(10)


async def test_roles_and_channel_narrow_a_list(lab: Lab) -> None:
    made = await lab.talk()
    for role, text, channel in (
        ("user", "a", "telegram"), ("assistant", "b", ""), ("user", "c", "discord"), ("system", "d", ""),
        ("user", "e", "telegram"),
    ):  # fmt: skip
        await lab.talks.append(made, role, text, channel=channel)
    assert await lab.texts(made, roles=["user"]) == ["a", "c", "e"]
    assert await lab.texts(made, roles=("assistant", "system")) == ["b", "d"]
    assert await lab.texts(made, roles=[]) == []
    assert await lab.texts(made, channel="telegram") == ["a", "e"]
    assert await lab.texts(made, channel="discord", roles=["user"]) == ["c"]
    assert await lab.texts(made, roles=["user"], last=2) == ["c", "e"]
    assert await lab.texts(made, channel="telegram", last=1) == ["e"]
    assert await lab.texts(made, channel="telegram", before=5) == ["a"]


async def test_a_summary_stands_where_the_range_it_covers_was(lab: Lab) -> None:
    made = await lab.long_talk(60)
    summary = await lab.talks.consolidate(made)
    assert summary is not None
    assert (summary.covers, summary.sequence, summary.place) == ((1, 30), 61, 1)
    await lab.talks.append(made, "user", "newest")
    assert await lab.texts(made) == ["[1-30]", *lab.numbered(30, 31), "newest"]


async def test_before_and_after_use_the_place_of_a_summary(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.rewind(made, 60)
    await lab.talks.consolidate(made)
    assert (await lab.texts(made, before=32)) == ["[1-30]", "message 31"]
    assert (await lab.texts(made, before=2)) == ["[1-30]"]
    assert (await lab.texts(made, before=1)) == []
    assert (await lab.texts(made, after=1))[0] == "message 31"
    assert (await lab.texts(made, after=0))[0] == "[1-30]"
    assert (await lab.texts(made, after=58)) == ["message 59", "message 60"]


async def test_the_last_ones_count_summaries_too(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    assert await lab.texts(made, last=31) == ["[1-30]", *lab.numbered(30, 31)]
    assert await lab.texts(made, last=30) == lab.numbered(30, 31)
    assert await lab.texts(made, last=1) == ["message 60"]
    assert await lab.texts(made, last=99) == ["[1-30]", *lab.numbered(30, 31)]


async def test_folded_ones_are_listed_behind_their_summary_when_asked_for(lab: Lab) -> None:
    made = await lab.long_talk(60)
    await lab.talks.consolidate(made)
    messages = await lab.talks.messages(made, include_folded=True)
    assert lab.shown(messages) == ["[1-30]", *lab.numbered(60)]
    assert [message.folded for message in messages] == [False] + [True] * 30 + [False] * 30
    assert await lab.texts(made, include_folded=True, last=2) == ["message 59", "message 60"]
    assert await lab.texts(made, include_folded=True, before=3) == ["[1-30]", "message 1", "message 2"]


async def test_summaries_are_of_role_system_and_of_no_channel(lab: Lab) -> None:
    made = await lab.talk()
    for number in range(60):
        await lab.talks.append(made, "user", f"message {number + 1}", channel="telegram")
    await lab.talks.consolidate(made)
    assert await lab.texts(made, roles=["system"]) == ["[1-30]"]
    assert await lab.texts(made, roles=["user"]) == lab.numbered(30, 31)
    assert await lab.texts(made, channel="telegram") == lab.numbered(30, 31)
    assert await lab.texts(made, channel="") == ["[1-30]"]


async def test_hidden_ones_are_listed_when_asked_for(lab: Lab) -> None:
    made = await lab.long_talk(5)
    await lab.talks.hide(made, 2)
    await lab.talks.rewind(made, 4)
    assert await lab.texts(made) == ["message 1", "message 3", "message 4"]
    messages = await lab.talks.messages(made, include_hidden=True)
    assert lab.shown(messages) == lab.numbered(5)
    assert [message.hidden for message in messages] == [False, True, False, False, True]


async def test_order_is_by_sequence_whatever_the_clock_did(lab: Lab) -> None:
    made = await lab.talk()
    for hours in (0, 0, -5, 7, -3, 0):
        lab.later(hours=hours)
        await lab.talks.append(made, "user", "x")
    messages = await lab.talks.messages(made)
    assert [message.sequence for message in messages] == [1, 2, 3, 4, 5, 6]
    times = [message.created_at for message in messages]
    assert times == sorted(times)


async def test_messages_of_what_is_not_there_are_not_found(lab: Lab) -> None:
    listings: tuple[dict[str, Any], ...] = ({}, {"last": 5}, {"last": 5, "before": 3})
    for listing in listings:
        with pytest.raises(NotFoundError):
            await lab.talks.messages("0" * 26, **listing)
    for operation in (lab.talks.window("0" * 26, budget=5), lab.talks.export("0" * 26)):
        with pytest.raises(NotFoundError):
            await operation


@pytest.mark.parametrize(
    "wrong",
    [
        {"last": -1}, {"last": "5"}, {"last": True}, {"last": 1.5}, {"before": "x"}, {"before": 1.5}, {"after": "x"},
        {"after": None, "before": True}, {"before": -1}, {"after": -1}, {"roles": "user"}, {"roles": 5}, {"roles": [5]},
        {"channel": 1.5}, {"channel": "\0"}, {"channel": "\ud800"}, {"roles": ["\ud800"]},
    ],
)  # fmt: skip
async def test_what_a_list_is_asked_for_is_checked(lab: Lab, wrong: dict[str, Any]) -> None:
    made = await lab.talk("hello")
    with pytest.raises(InvalidValueError):
        await lab.talks.messages(made, **wrong)


# -- shapes ------------------------------------------------------------------------------------------------------------


async def test_messages_are_a_sequence(memory_lab: Lab) -> None:
    made = await memory_lab.long_talk(4)
    messages = await memory_lab.talks.messages(made)
    assert (len(messages), messages[0].text, messages[-1].text) == (4, "message 1", "message 4")
    assert isinstance(messages[1:3], Messages)
    assert memory_lab.shown(messages[1:3]) == ["message 2", "message 3"]
    assert messages == await memory_lab.talks.messages(made)
    assert messages == list(messages)
    assert messages[0] in messages
    assert hash(messages) == hash(await memory_lab.talks.messages(made))
    assert "message 1" in repr(messages)
    assert messages != "text"


async def test_as_openai_gives_what_its_chat_api_takes(memory_lab: Lab) -> None:
    made = await memory_lab.talk()
    await memory_lab.talks.extend(
        made,
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}], "author": "ann", "channel": "telegram"},
            {"role": "assistant", "content": "", "tool_calls": [CALL]},
            {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        ],
    )
    assert (await memory_lab.talks.messages(made)).as_openai() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
    ]


async def test_as_anthropic_gives_what_its_messages_api_takes(memory_lab: Lab) -> None:
    made = await memory_lab.talk()
    await memory_lab.talks.extend(
        made,
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}, "Please."]},
            {"role": "assistant", "content": "Looking.", "tool_calls": [CALL, BROKEN_CALL]},
            {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
            {"role": "tool", "content": "none", "tool_call_id": "c2"},
            {"role": "assistant", "content": "Sunny."},
        ],
    )  # fmt: skip
    text = {"type": "text", "text": "Looking."}
    assert (await memory_lab.talks.messages(made)).as_anthropic() == {
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Hello."},
                    {"type": "text", "text": "Weather?"},
                    {"type": "text", "text": "Please."},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    text,
                    {"type": "tool_use", "id": "c1", "name": "weather", "input": {"city": "Lisbon"}},
                    {"type": "tool_use", "id": "c2", "name": "x", "input": {"arguments": "{"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "sunny"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": "none"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "text": "Sunny."}]},
        ],
    }


async def test_as_anthropic_takes_calls_in_its_own_shape(memory_lab: Lab) -> None:
    made = await memory_lab.talk()
    calls = [{"id": "c1", "name": "weather", "input": {"a": 1}}, "c2", {"id": "c3", "function": {"name": "y"}}]
    await memory_lab.talks.append(made, "assistant", "", tool_calls=calls)
    assert (await memory_lab.talks.messages(made)).as_anthropic()["messages"][0]["content"] == [
        {"type": "tool_use", "id": "c1", "name": "weather", "input": {"a": 1}},
        {"type": "tool_use", "id": "c2", "name": "", "input": {}},
        {"type": "tool_use", "id": "c3", "name": "y", "input": {}},
    ]


async def test_as_text_is_for_people(memory_lab: Lab) -> None:
    made = await memory_lab.talk()
    await memory_lab.talks.append(made, "user", "Hello.", author="Ann")
    await memory_lab.talks.append(made, "assistant", "Hi.")
    assert (await memory_lab.talks.messages(made)).as_text() == "Ann: Hello.\n\nassistant: Hi."


# -- taking a conversation away ----------------------------------------------------------------------------------------


async def test_export_as_json_lines_has_everything(lab: Lab) -> None:
    made = await lab.talk(title="Trip", metadata={"a": 1})
    await lab.talks.link_channel(made, "telegram", "t1")
    await lab.talks.extend(made, lab.in_turn(lab.numbered(60)), key="k1")
    await lab.talks.consolidate(made)
    await lab.talks.hide(made, 60)
    first, *rest = [json.loads(line) for line in (await lab.talks.export(made)).splitlines()]
    assert (first["id"], first["title"], first["metadata"], first["state"]) == (made, "Trip", {"a": 1}, "active")
    assert first["identity"] == {"user_id": "ann", "display_name": "", "channel_ids": {"telegram": "t1"}}
    assert (first["message_count"], first["folded_through"]) == (60, 30)
    summary, *messages = rest
    assert (summary["covers"], summary["summary"], summary["role"]) == ([1, 30], True, "system")
    assert [message["sequence"] for message in messages] == list(range(1, 60))
    assert messages[0]["content"] == "message 1"
    assert (messages[0]["folded"], messages[0]["key"]) == (True, "k1")
    assert "folded" not in messages[-1]


async def test_export_for_people_and_for_models(lab: Lab) -> None:
    made = await lab.talk(*lab.numbered(60), title="Trip")
    await lab.talks.consolidate(made)
    text = await lab.talks.export(made, "md")
    assert text.startswith("# Trip\n")
    assert "message 1\n" in text
    assert "(folded)" in text
    shown = await lab.talks.messages(made)
    assert json.loads(await lab.talks.export(made, "openai")) == shown.as_openai()
    assert json.loads(await lab.talks.export(made, format="anthropic")) == shown.as_anthropic()
    for wrong in ("xml", "", None, 5):
        with pytest.raises(InvalidValueError):
            await lab.talks.export(made, wrong)  # type: ignore[arg-type]
