"""Appending: what a message keeps, what is refused, and that nothing else happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from sojourn import ConflictError, ConversationPolicy, EndedError, InvalidValueError, LimitError, NotFoundError

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Lisbon"}'}}


async def test_a_message_keeps_everything_it_was_given(lab: Lab) -> None:
    made = await lab.talk()
    given: dict[str, Any] = {
        "channel": "telegram",
        "author": "ann's phone",
        "metadata": {"mood": "good", "deep": {"list": [1, 2.5, None, True]}},
        "key": "k1",
        "tool_calls": [CALL],
        "tokens": 12,
        "turn": "turn 1",
    }
    message = await lab.talks.append(made, "assistant", "hello", **given)
    assert (message.sequence, message.role, message.content, message.created_at) == (1, "assistant", "hello", lab.clock())
    assert {name: getattr(message, name) for name in given} == given
    assert (message.covers, message.folded, message.hidden, message.redacted, message.summary) == (None,) + (False,) * 4
    assert list(await lab.talks.messages(made)) == [message]


async def test_a_plain_message_has_nothing_else(lab: Lab) -> None:
    made = await lab.talk()
    message = await lab.talks.append(made, "user", "hello")
    assert (message.author, message.channel, message.tokens, message.tool_calls) == (None, "", None, None)
    assert (message.tool_call_id, message.turn, message.key, message.metadata) == (None, None, None, {})


async def test_content_may_be_a_list_of_parts(lab: Lab) -> None:
    made = await lab.talk()
    parts: list[Any] = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}},
        "and this",
    ]
    message = await lab.talks.append(made, "user", parts)
    assert (message.content, message.text) == (parts, "what is this\nand this")
    (read,) = await lab.talks.messages(made)
    assert read == message
    if lab.searches:
        (hit,) = await lab.talks.search("and this")
        assert hit.message.content == parts


async def test_sequences_count_from_one_without_gaps(lab: Lab) -> None:
    made = await lab.talk()
    assert [(await lab.talks.append(made, "user", text)).sequence for text in "abc"] == [1, 2, 3]


async def test_text_comes_back_as_it_was_given(lab: Lab) -> None:
    made = await lab.talk()
    texts = ["", " ", "\n\r\n\t", "ünïcödé 你好 𐍈", "a" * 100_000, "'; drop table x; --", "\x01\x7f\u2028\ufeff", "e\u0301"]
    for text in texts:
        await lab.talks.append(made, "user", text)
    assert [message.content for message in await lab.talks.messages(made)] == texts


async def test_any_role_of_printable_text_is_kept(lab: Lab) -> None:
    made = await lab.talk()
    roles = ["user", "assistant", "system", "tool", "developer", "narrator of the tale", "ролéвой"]
    for role in roles:
        await lab.talks.append(made, role, "x")
    assert [message.role for message in await lab.talks.messages(made)] == roles


async def test_appending_to_what_is_not_there_is_not_found_and_makes_nothing(lab: Lab) -> None:
    for unknown in ("0" * 26, "nothing", "", 5, None, b"x", "\0" * 26):
        with pytest.raises(NotFoundError) as caught:
            await lab.talks.append(unknown, "user", "hello")  # type: ignore[arg-type]
        assert (caught.value.code, bool(caught.value.hint)) == ("session.not_found", True)
        assert isinstance(caught.value, LookupError)
        with pytest.raises(NotFoundError):
            await lab.talks.extend(unknown, [{"role": "user", "content": "hello"}])  # type: ignore[arg-type]
    assert await lab.events() == []


async def test_appending_to_a_deleted_conversation_is_not_found(lab: Lab) -> None:
    made = await lab.talk("hello")
    await lab.talks.delete(made)
    with pytest.raises(NotFoundError):
        await lab.talks.append(made, "user", "hello")


async def test_appending_to_an_ended_conversation_says_so_with_the_record(lab: Lab) -> None:
    made = await lab.talk("hello")
    await lab.talks.end(made)
    with pytest.raises(EndedError) as caught:
        await lab.talks.append(made, "user", "late")
    assert caught.value.code == "session.ended"
    assert caught.value.record.id == made
    assert caught.value.hint
    with pytest.raises(EndedError):
        await lab.talks.extend(made, [{"role": "user", "content": "late"}])
    assert await lab.texts(made) == ["hello"]


async def test_appending_to_an_archived_conversation_says_that_it_has_aged(lab: Lab) -> None:
    made = await lab.talk("hello")
    lab.later(hours=24)
    await lab.talks.decay()
    with pytest.raises(EndedError, match="age"):
        await lab.talks.append(made, "user", "late")


async def test_appending_needs_the_expected_version_when_one_is_given(lab: Lab) -> None:
    made = await lab.talk("hello")
    found = await lab.talks.get(made)
    assert found is not None
    await lab.talks.append(made, "user", "one", expected_version=found.version)
    with pytest.raises(ConflictError) as caught:
        await lab.talks.append(made, "user", "two", expected_version=found.version)
    assert caught.value.version == found.version + 1
    assert caught.value.record.id == made
    with pytest.raises(ConflictError):
        await lab.talks.extend(made, [{"role": "user", "content": "two"}], expected_version=found.version)
    assert await lab.texts(made) == ["hello", "one"]


async def test_of_two_who_expect_one_version_one_appends(lab: Lab) -> None:
    made = await lab.talk("hello")
    found = await lab.talks.get(made)
    assert found is not None
    version = found.version
    outcomes = await lab.outcomes(*[lambda: lab.talks.append(made, "user", "x", expected_version=version) for _ in range(4)])
    assert sorted(isinstance(outcome, ConflictError) for outcome in outcomes) == [False, True, True, True]
    assert await lab.texts(made) == ["hello", "x"]


async def test_extend_stores_all_in_order(lab: Lab) -> None:
    made = await lab.talk()
    stored = await lab.talks.extend(
        made,
        [
            {"role": "user", "content": "hello", "author": "ann", "channel": "telegram"},
            {"role": "assistant", "content": "", "tool_calls": [CALL], "tokens": 3},
            {"role": "tool", "content": [{"text": "sunny"}], "tool_call_id": "c1", "metadata": {"a": 1}, "turn": "t"},
        ],
    )
    assert [message.sequence for message in stored] == [1, 2, 3]
    assert stored == list(await lab.talks.messages(made))


async def test_extend_stores_all_or_none(lab: Lab) -> None:
    made = await lab.talk("hello")
    before = await lab.events()
    for wrong in (
        {"role": "user"},
        {"content": "x"},
        {"role": "user", "content": 5},
        {"role": "user", "content": "x", "z": 1},
        "x",
    ):
        with pytest.raises(InvalidValueError):
            await lab.talks.extend(made, [{"role": "user", "content": "fine"}, wrong])  # type: ignore[list-item]
    assert await lab.events() == before
    assert await lab.texts(made) == ["hello"]


async def test_extend_by_nothing_stores_nothing(lab: Lab) -> None:
    made = await lab.talk("hello")
    before = await lab.events()
    assert await lab.talks.extend(made, []) == []
    assert await lab.events() == before
    with pytest.raises(NotFoundError):
        await lab.talks.extend("0" * 26, [])


async def test_extend_takes_any_iterable(lab: Lab) -> None:
    made = await lab.talk()
    stored = await lab.talks.extend(made, ({"role": "user", "content": text} for text in "ab"))
    assert [message.text for message in stored] == ["a", "b"]
    for wrong in (None, 5, "text"):
        with pytest.raises(InvalidValueError):
            await lab.talks.extend(made, wrong)  # type: ignore[arg-type]


async def test_appends_at_once_are_all_there_once_and_in_one_order(lab: Lab) -> None:
    made = await lab.talk()

    async def writer(name: str) -> list[int]:
        return [(await lab.talks.append(made, "user", f"{name} {number}")).sequence for number in range(10)]

    given = await lab.each("abcdef", writer)
    assert sorted(number for numbers in given for number in numbers) == list(range(1, 61))
    assert all(numbers == sorted(numbers) for numbers in given)
    messages = await lab.talks.messages(made)
    assert [message.sequence for message in messages] == list(range(1, 61))
    for name in "abcdef":
        assert [m.text for m in messages if m.text.startswith(name)] == [f"{name} {number}" for number in range(10)]


async def test_an_append_never_folds_and_never_calls_the_summariser(lab: Lab) -> None:
    def summarise(_: object) -> str:
        raise AssertionError("an append must not summarise")

    talks = lab.under(fold_above=4, summarise=summarise).conversations
    made = await lab.talk(talks=talks)
    for number in range(20):
        await talks.append(made, "user", f"message {number}")
    await talks.extend(made, [{"role": "user", "content": "more"}])
    found = await lab.talks.get(made)
    assert found is not None
    assert (found.folded_through, found.message_count) == (0, 21)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "role", ["", " ", " user", "user ", "a\nb", "a\0b", "\ud800", "x" * 65, None, 5, True, b"user", ["user"]]
)
async def test_a_role_is_1_to_64_printable_characters(lab: Lab, role: object) -> None:
    await refuses(lab, role, "hello")


@pytest.mark.parametrize(
    "content",
    [
        None, 5, True, 1.5, b"hello", {"text": "x"}, ("x",), "a\0b", "\ud800", "x\udfff", [b"x"], [object()], [float("nan")],
        [{"text": "a\0b"}], [{"text": "\ud800"}], [{1: "x"}], [float("inf")], {"x"},
    ],
)  # fmt: skip
async def test_content_is_text_or_a_json_list(lab: Lab, content: object) -> None:
    await refuses(lab, "user", content)


@pytest.mark.parametrize(
    "metadata",
    [5, "x", ["x"], [], "", 0, False, {"a": object()}, {1: "x"}, {"a": "\0"}, {"\0": 1}, {"a": "\ud800"}, {"a": float("nan")}],
)
async def test_metadata_is_a_json_object(lab: Lab, metadata: object) -> None:
    await refuses(lab, "user", "hello", metadata=metadata)


@pytest.mark.parametrize(
    "more",
    [
        {"tool_calls": "x"}, {"tool_calls": {"id": "c"}}, {"tool_calls": [object()]}, {"tool_calls": ["\0"]},
        {"tool_call_id": ""}, {"tool_call_id": 1.5}, {"tool_call_id": "\0"}, {"tool_call_id": "x" * 513},
        {"tokens": -1}, {"tokens": 1.5}, {"tokens": True}, {"tokens": "5"},
        {"turn": ""}, {"turn": 1.5}, {"turn": "\ud800"},
        {"author": ""}, {"author": 1.5}, {"author": "a\nb"}, {"author": "x" * 513},
        {"channel": None}, {"channel": 1.5}, {"channel": "a\nb"}, {"channel": "x" * 257},
        {"key": ""}, {"key": 1.5}, {"key": "\0"}, {"key": "x" * 257}, {"key": "\ud800"},
        {"expected_version": "1"}, {"expected_version": 1.5}, {"expected_version": True},
        {"lease": "mine"}, {"lease": 5},
    ],
)  # fmt: skip
async def test_every_field_of_a_message_is_checked(lab: Lab, more: dict[str, Any]) -> None:
    await refuses(lab, "user", "hello", **more)


async def refuses(lab: Lab, role: Any, content: Any, **more: Any) -> None:
    """Appending this is refused with a typed error, and nothing is stored."""
    made = await lab.talk("hello")
    before = await lab.events()
    with pytest.raises((InvalidValueError, LimitError)) as caught:
        await lab.talks.append(made, role, content, **more)
    assert caught.value.code in ("value.invalid", "limit")
    assert await lab.events() == before
    assert await lab.texts(made) == ["hello"]


async def test_limits_of_size_are_policies(lab: Lab) -> None:
    talks = lab.under(max_content=100, max_metadata=50).conversations
    made = await lab.talk()
    await talks.append(made, "user", "x" * 100, metadata={"a": "x" * 40})
    before = await lab.events()
    for content, more in (
        ("x" * 101, {}),
        ("ü" * 51, {}),
        (["x" * 100], {}),
        ("x", {"metadata": {"a": "x" * 50}}),
        ("x", {"tool_calls": ["x" * 100]}),
    ):
        with pytest.raises(LimitError) as caught:
            await talks.append(made, "user", content, **more)
        assert caught.value.code == "limit"
    with pytest.raises(LimitError):
        await talks.update(made, {"a": "x" * 50})
    with pytest.raises(LimitError):
        await talks.create("bob", metadata={"a": "x" * 50})
    assert await lab.events() == before


async def test_metadata_is_limited_as_a_whole_however_it_is_patched(lab: Lab) -> None:
    talks = lab.under(max_metadata=60).conversations
    made = await lab.talk()
    await talks.update(made, {"a": "x" * 40})
    with pytest.raises(LimitError):
        await talks.update(made, {"b": "x" * 40})
    found = await talks.update(made, {"b": "x" * 40}, ["a"])
    assert set(found.metadata) == {"b"}


async def test_none_in_a_limit_means_there_is_none(lab: Lab) -> None:
    talks = lab.under(max_content=None, max_metadata=None).conversations
    made = await lab.talk()
    await talks.append(made, "user", "x" * 17_000_000)
    await talks.update(made, {"a": "x" * 300_000})
    (message,) = await talks.messages(made)
    assert len(message.content) == 17_000_000


async def test_the_default_limits_are_those_of_the_specification(memory_lab: Lab) -> None:
    made = await memory_lab.talk()
    await memory_lab.talks.append(made, "user", "x" * 16_000_000)
    with pytest.raises(LimitError):
        await memory_lab.talks.append(made, "user", "x" * 16_000_001)
    with pytest.raises(LimitError):
        await memory_lab.talks.append(made, "user", "x", metadata={"a": "x" * 256_000})
    policy = ConversationPolicy()
    assert (policy.fold_above, policy.fold_keep, policy.fold_by, policy.archive) == (100, 0.5, "messages", True)
    assert (policy.reset, policy.carry_summary, policy.search) == ("idle", True, "deferred")
    assert policy.max_age is not None
    assert policy.max_age.total_seconds() == 24 * 3600


@pytest.mark.parametrize(
    "wrong",
    [
        {"fold_keep": 0}, {"fold_keep": 1}, {"fold_keep": -0.5}, {"fold_above": 1}, {"fold_above": 0}, {"reset": "weekly"},
        {"fold_by": "words"}, {"search": "on"}, {"max_age": 5}, {"fold_keep": "x"}, {"fold_above": "x"},
    ],
)  # fmt: skip
def test_a_policy_is_checked_when_it_is_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        ConversationPolicy(**wrong)


# -- metadata and titles -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"set": 5}, {"set": ["a"]}, {"set": {"a": object()}}, {"set": {1: 2}}, {"set": {"a": "\0"}}, {"set": ""}, {"set": []},
        {"unset": "a"}, {"unset": 5}, {"unset": [5]}, {"unset": None}, {"unset": ["\0"]},
        {"title": 5}, {"title": "\0"}, {"title": "\ud800"}, {"title": "x" * 1025}, {"key": ""},
    ],
)  # fmt: skip
async def test_an_update_is_checked_and_stores_nothing_when_wrong(lab: Lab, wrong: dict[str, Any]) -> None:
    made = await lab.talk(metadata={"a": 1})
    before = await lab.events()
    with pytest.raises((InvalidValueError, LimitError)):
        await lab.talks.update(made, **wrong)
    assert await lab.events() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"user_id": ""}, {"user_id": None}, {"user_id": 1.5}, {"title": None}, {"title": "\0"}, {"title": "x" * 1025},
        {"metadata": []}, {"metadata": "x"}, {"metadata": ""}, {"metadata": {"a": object()}}, {"channel": "telegram"},
        {"channel_user_id": "t1"}, {"key": ""}, {"display_name": 5},
    ],
)  # fmt: skip
async def test_a_new_conversation_is_checked_before_anything_is_stored(lab: Lab, wrong: dict[str, Any]) -> None:
    with pytest.raises((InvalidValueError, LimitError)):
        await lab.talks.create(**{"user_id": "ann", **wrong})
    assert await lab.events() == []
