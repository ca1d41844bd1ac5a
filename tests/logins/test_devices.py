"""Signing in, the device list, limits, presence, metadata, history, ending and cleaning up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sojourn
from sojourn import (
    ConflictError,
    EndedError,
    ExpiredError,
    InvalidCursorError,
    InvalidValueError,
    KeyReusedError,
    LimitError,
    Login,
    LoginPolicy,
    NotFoundError,
    Presence,
    SojournError,
    StaleAuthenticationError,
)
from sojourn.kinds.logins import rules

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

HOUR = timedelta(hours=1)


# -- signing in --------------------------------------------------------------------------------------------------------


async def test_what_a_login_has(lab: Lab) -> None:
    ann = await lab.user()
    made = await lab.logins.create(
        username="ann",
        client_type="  Web  ",
        ip="2001:db8::1",
        user_agent="Mozilla/5.0",
        amr=["pwd", "otp", "pwd"],
        metadata={"a": [1]},
    )
    login, now = made.login, lab.clock()
    assert login == Login(
        id=login.id, user_id=ann, client_type="web", character_id=None, world_id=None, created_at=now, authenticated_at=now,
        last_activity_at=now, expires_at=now + 8 * HOUR, state="active", ip="2001:db8::1", user_agent="Mozilla/5.0",
        amr=("pwd", "otp"), shared_character=False, metadata={"a": [1]},
    )  # fmt: skip
    assert (
        await lab.logins.get(login.id)
        == await lab.logins.find(made.token)
        == await lab.logins.authenticate(made.token)
        == login
    )
    assert (await lab.device(client_type="  ")).login.client_type == "unknown"


async def test_who_may_sign_in(lab: Lab) -> None:
    with pytest.raises(NotFoundError, match=r"directory\.add_user"):
        await lab.logins.create("stranger")
    with pytest.raises(NotFoundError):
        await lab.logins.create(username="stranger")
    anybody = lab.knowing(False)
    assert (await anybody.create(7)).login.user_id == "7"
    with pytest.raises(NotFoundError, match="directory=False"):
        await anybody.create(username="ann")
    with pytest.raises(NotFoundError):
        await anybody.create("ann", character_id="c")
    for both in ({}, {"user_id": "a", "username": "a"}):
        with pytest.raises(InvalidValueError, match="one of them"):
            await lab.logins.create(**both)  # type: ignore[arg-type]


BAD: list[dict[str, Any]] = [
    {"client_type": "x" * 65}, {"client_type": 7}, {"client_type": None}, {"client_type": "a\tb"}, {"ip": ""}, {"ip": "1" * 65},
    {"ip": 7}, {"user_agent": 7}, {"amr": "pwd"}, {"amr": [""]}, {"amr": [7]}, {"amr": ["x" * 33]}, {"amr": ["a\nb"]},
    {"metadata": []}, {"metadata": {"a": object()}}, {"metadata": {1: 1}}, {"metadata": {"a": "\0"}}, {"on_conflict": "steal"},
    {"key": ""}, {"character_id": ""}, {"character_id": 1.5}, {"world_id": True}, {"amr": [["pwd"]]},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: next(iter(bad)))
async def test_bad_input_makes_nothing(lab: Lab, bad: dict[str, Any]) -> None:
    ann = await lab.user()
    with pytest.raises(InvalidValueError):
        await lab.logins.create(ann, **bad)
    for user in ("", "a\nb", 1.5, b"a", "x" * 513):
        with pytest.raises((InvalidValueError, LimitError)):
            await lab.logins.create(user)  # type: ignore[arg-type]
    assert await lab.logins.count_active() == 0
    assert not (await lab.logins.list(active_only=False)).items


async def test_what_is_too_much(lab: Lab) -> None:
    ann = await lab.user()
    much: list[dict[str, Any]] = [{"user_agent": "x" * 1025}, {"metadata": {"a": "x" * 300_000}}]
    much.append({"amr": [f"m{n}" for n in range(17)]})
    for bad in much:
        with pytest.raises(LimitError):
            await lab.logins.create(ann, **bad)


@given(st.text(max_size=70))
def test_a_client_type_is_plain_or_refused(text: str) -> None:
    try:
        client = rules.check_client(text)
    except (InvalidValueError, LimitError):
        return
    assert client == client.strip().lower()
    assert 0 < len(client) <= 64
    assert client.isprintable() or any(character.isspace() or not character.isascii() for character in client)


BAD_POLICIES: list[dict[str, Any]] = [
    {"idle": timedelta(0)}, {"idle": timedelta(seconds=-1)}, {"absolute": timedelta(0)}, {"absolute": timedelta(days=400_000)},
    {"idle": 8}, {"touch_every": timedelta(seconds=-1)}, {"touch_every": timedelta(hours=9)}, {"active_window": None},
    {"rotate_grace": timedelta(seconds=-1)}, {"rotate_grace": 10}, {"max_per_user": 0}, {"max_per_user": "1"},
    {"at_limit": "evict"}, {"sliding": 1}, {"keep_ended": timedelta(-1)}, {"max_metadata": -1}, {"idle": timedelta.max},
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_POLICIES, ids=lambda bad: next(iter(bad)))
def test_a_policy_that_makes_no_sense(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidValueError):
        LoginPolicy(**bad)


def test_presets() -> None:
    """NIST SP 800-63B-4 and the OWASP cheat sheet, in figures."""
    minute = timedelta(minutes=1)
    expected = {
        "aal1": (None, 30 * 24 * HOUR), "aal2": (HOUR, 24 * HOUR), "aal3": (15 * minute, 12 * HOUR),
        "owasp-low": (30 * minute, 8 * HOUR), "owasp-high": (5 * minute, 4 * HOUR),
    }  # fmt: skip
    for name, timeouts in expected.items():
        policy = LoginPolicy.preset(name, max_per_user=3)  # type: ignore[arg-type]
        assert (policy.idle, policy.absolute) == timeouts
        assert policy.max_per_user == 3
    with pytest.raises(InvalidValueError, match="Presets: aal1"):
        LoginPolicy.preset("aal4")  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="must be a LoginPolicy"):
        sojourn.open("memory:", logins="aal2")  # type: ignore[arg-type]


# -- timeouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "expires"),
    [
        ({"idle": None, "absolute": None}, None),
        ({"idle": None, "absolute": HOUR}, HOUR),
        ({"idle": HOUR, "absolute": None}, HOUR),
        ({"idle": 2 * HOUR, "absolute": HOUR}, HOUR),
    ],
)
async def test_the_earlier_of_the_timeouts(lab: Lab, policy: dict[str, Any], expires: timedelta | None) -> None:
    logins = lab.signing(**policy)
    made = await lab.device(logins=logins)
    assert made.login.expires_at == (None if expires is None else lab.clock() + expires)
    if expires is None:
        lab.later(days=36_500)
        assert (await logins.authenticate(made.token)).expires_at is None
        return
    lab.later(seconds=expires.total_seconds(), microseconds=-1)
    assert (await logins.find(made.token)).state == "active"  # type: ignore[union-attr]
    lab.later(microseconds=1)
    with pytest.raises(ExpiredError):
        await logins.authenticate(made.token)


async def test_activity_slides_or_does_not(lab: Lab) -> None:
    for sliding in (True, False):
        logins = lab.signing(idle=HOUR, sliding=sliding)
        made = await lab.device(logins=logins)
        lab.later(minutes=40)
        assert await logins.touch(made.login.id)
        lab.later(minutes=40)
        assert (await logins.touch(made.login.id)) == sliding


async def test_activity_is_known_to_touch_every(lab: Lab) -> None:
    made = await lab.device()
    start = lab.clock()
    lab.later(seconds=59)
    assert (await lab.logins.authenticate(made.token)).last_activity_at == start
    lab.later(seconds=1)
    touched = await lab.logins.authenticate(made.token)
    assert (touched.last_activity_at, touched.expires_at) == (lab.clock(), lab.clock() + 8 * HOUR)
    assert await lab.logins.get(made.login.id) == touched
    lab.later(seconds=1)
    assert await lab.logins.touch(made.login.id), "unthrottled"
    assert (await lab.logins.get(made.login.id)).last_activity_at == lab.clock()  # type: ignore[union-attr]
    assert not await lab.logins.touch(sojourn.new_id())
    assert not await lab.logins.touch("nonsense")


async def test_clocks_that_jump(lab: Lab) -> None:
    """Back: nothing is older than it was, nothing fails. Forward: what is due expires. Nothing ends twice."""
    made = await lab.device()
    lab.later(hours=1)
    await lab.logins.authenticate(made.token)
    lab.later(days=-30)
    back = await lab.logins.authenticate(made.token)
    assert back.last_activity_at > lab.clock()
    assert (await lab.logins.rotate(made.token)).login.state == "active"
    assert [entry.at for entry in await lab.logins.history(made.login.id)] == sorted(
        entry.at for entry in await lab.logins.history(made.login.id)
    )
    lab.later(days=60)
    with pytest.raises(ExpiredError):
        await lab.logins.authenticate(made.token)
    lab.later(days=-60)
    assert (await lab.logins.list()).items[0].id == made.login.id


@pytest.mark.parametrize("jump", [timedelta(hours=9), timedelta(days=40)])
async def test_a_clock_that_was_ahead_once_makes_nobody_else_expired(lab: Lab, jump: timedelta) -> None:
    """The user's record was changed ahead of time, and is there still; what is live is live by its own time."""
    one = lab.signing(max_per_user=1)
    ann = await lab.user()
    await lab.store.directory.add_world("w", "W")
    character = await lab.store.directory.add_character(ann, "w", "One")
    lab.later(seconds=jump.total_seconds())
    await lab.logins.revoke((await lab.logins.create(ann)).login.id)
    lab.later(seconds=-jump.total_seconds())
    first, second = await lab.logins.create(ann), await lab.logins.create(ann)
    await lab.logins.bind_character(first.login.id, character)
    with pytest.raises(ConflictError):
        await lab.logins.bind_character(second.login.id, character)
    await lab.logins.bind_character(second.login.id, character, on_conflict="take_over")
    holders = await lab.logins.list(character_id=character)
    assert [login.id for login in holders] == [second.login.id]
    assert (await lab.logins.online(ann)).account
    last = await one.create(ann)
    assert [login.id for login in await lab.logins.list(user_id=ann)] == [last.login.id]
    assert {(await lab.logins.get(made.login.id)).reason for made in (first, second)} == {"evicted"}  # type: ignore[union-attr]
    assert await lab.logins.revoke_user(ann) == 1


# -- the device list ---------------------------------------------------------------------------------------------------


async def test_the_device_list(lab: Lab) -> None:
    made = []
    for number in range(7):
        made.append((await lab.device(client_type=f"c{number}")).login.id)
        lab.later(minutes=2)
    bob = await lab.device("bob")
    await lab.logins.touch(made[0])
    await lab.logins.revoke(made[3])
    ann = await lab.user()
    live = [made[0], made[6], made[5], made[4], made[2], made[1]]
    assert [login.id for login in await lab.logins.list(user_id=ann)] == live
    everything = [made[0], made[3], made[6], made[5], made[4], made[2], made[1]]
    assert sorted(login.id for login in await lab.logins.list(user_id=ann, active_only=False)) == sorted(everything)
    for size in (1, 2, 3, 6):
        found, after = [], None
        while True:
            page = await lab.logins.list(user_id=ann, limit=size, after=after)
            found += [login.id for login in page]
            after = page.next
            if after is None:
                break
            assert len(page) == size
        assert found == live
    assert len(await lab.logins.list()) == 7
    assert [login.id for login in await lab.logins.list(user_id="nobody")] == []
    for cursor in ("x", "e30", 7):
        with pytest.raises(InvalidCursorError):
            await lab.logins.list(after=cursor)  # type: ignore[arg-type]
    assert bob.login.id not in live


async def test_a_page_is_full_though_some_have_expired(lab: Lab) -> None:
    short, long = lab.signing(idle=HOUR, absolute=HOUR), lab.signing(idle=10 * HOUR)
    ids = [(await lab.device(logins=short if n % 2 else long)).login.id for n in range(20)]
    lab.later(hours=2)
    page = await lab.logins.list(limit=6)
    assert (len(page), page.next is None) == (6, False)
    rest = await lab.logins.list(limit=6, after=page.next)
    assert (len(rest), rest.next) == (4, None)
    assert {login.id for login in (*page, *rest)} == set(ids[::2])
    states = [login.state for login in await lab.logins.list(active_only=False)]
    assert sorted(states) == ["active"] * 10 + ["expired"] * 10


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("at_limit", "gone"), [("evict_oldest", 0), ("evict_idlest", 1)])
async def test_who_gives_way(lab: Lab, at_limit: Any, gone: int) -> None:
    logins = lab.signing(max_per_user=3, at_limit=at_limit)
    ann = await lab.user()
    ids = []
    for _ in range(3):
        ids.append((await logins.create(ann)).login.id)
        lab.later(minutes=1)
    await logins.touch(ids[0])
    new = (await logins.create(ann)).login.id
    assert {login.id for login in await logins.list(user_id=ann)} == {*ids, new} - {ids[gone]}
    found = await logins.get(ids[gone])
    assert found is not None
    assert (found.state, found.reason) == ("ended", "evicted")
    await logins.create(await lab.user("bob"))
    assert len(await logins.list(user_id=ann)) == 3


async def test_a_limit_that_refuses(lab: Lab) -> None:
    logins = lab.signing(max_per_user=2, at_limit="refuse", idle=HOUR)
    ann = await lab.user()
    first = await logins.create(ann, key="first")
    await logins.create(ann)
    with pytest.raises(LimitError, match="the policy allows 2"):
        await logins.create(ann)
    again = await logins.create(ann, key="first")
    assert again.login.id == first.login.id, "asking again is no further one"
    lab.later(hours=1)
    assert (await logins.create(ann)).login.state == "active", "expired ones do not count"


async def test_a_lower_limit_ends_the_surplus(lab: Lab) -> None:
    ann = await lab.user()
    for _ in range(6):
        await lab.logins.create(ann)
    new = await lab.signing(max_per_user=2).create(ann)
    live = [login.id for login in await lab.logins.list(user_id=ann)]
    assert len(live) == 2
    assert new.login.id in live


# -- who is there ------------------------------------------------------------------------------------------------------


async def test_who_is_there(lab: Lab) -> None:
    elf, orc = await lab.hero(), await lab.hero("bob", "Ugluk", "mordor")
    nobody = Presence(account=False, in_world=False, world_ids=(), last_login_at=None)
    assert await lab.logins.online(await lab.user()) == nobody
    first = await lab.device(character_id=elf)
    await lab.device()
    await lab.device("bob", character_id=orc)
    logins = lab.logins
    assert [await logins.count_active(world_id=world) for world in (None, "middle", "mordor", "x")] == [3, 1, 1, 0]
    assert await logins.active_characters(world_id="middle") == ["Elwing"]
    seen = await logins.online(await lab.user())
    assert seen == Presence(account=True, in_world=True, world_ids=("middle",), last_login_at=first.login.created_at)
    lab.later(minutes=32)
    assert await logins.count_active() == 0
    assert await logins.active_characters(world_id="middle") == ["Elwing"], "a live session, however idle"
    assert await logins.active_characters(world_id="middle", within=timedelta(minutes=5)) == []
    assert not (await logins.online(await lab.user())).account
    await logins.touch(first.login.id)
    assert await logins.count_active(world_id="middle") == await logins.count_active() == 1
    assert await logins.active_characters(world_id="middle", within=timedelta(minutes=5)) == ["Elwing"]
    await logins.revoke(first.login.id)
    assert await logins.count_active() == 0
    assert await logins.active_characters(world_id="middle") == []


async def test_names_of_characters_come_once_and_sorted(lab: Lab) -> None:
    for name in ("Zoe", "Abe", "Mia"):
        hero = await lab.hero(name.lower(), name)
        for _ in range(2):
            await lab.device(name.lower(), character_id=hero, on_conflict="share")
    twin = await lab.hero("other", "Abe")
    await lab.device("other", character_id=twin)
    assert await lab.logins.active_characters(world_id="middle") == ["Abe", "Mia", "Zoe"]


async def test_expired_ones_are_not_counted_before_a_sweep(lab: Lab) -> None:
    logins = lab.signing(idle=None, absolute=timedelta(minutes=10))
    await lab.device(logins=logins)
    lab.later(minutes=9)
    await lab.device(logins=logins)
    assert await logins.count_active() == 2
    lab.later(minutes=1)
    assert await logins.count_active() == 1
    assert (await lab.store.sweep())["expired"] == 1
    assert await logins.count_active() == 1


# -- metadata, proofs, history -----------------------------------------------------------------------------------------


async def test_metadata_is_patched_by_key(lab: Lab) -> None:
    made = await lab.device(metadata={"a": 1, "b": 2})
    id = made.login.id
    assert (await lab.logins.update(id, {"b": 3, "c": 4}, ["a"])).metadata == {"b": 3, "c": 4}
    assert (await lab.logins.update(id, {"d": 5}, key="k")).metadata == {"b": 3, "c": 4, "d": 5}
    await lab.logins.update(id, unset=["d"])
    assert (await lab.logins.update(id, {"d": 5}, key="k")).metadata == {"b": 3, "c": 4}, "the same call does nothing"
    with pytest.raises(KeyReusedError):
        await lab.logins.update(id, {"d": 6}, key="k")
    bad: list[tuple[Any, Any]] = [("text", ()), ({"a": object()}, ()), ({}, "text"), ({}, 7)]
    for wrong, unset in bad:
        with pytest.raises(InvalidValueError):
            await lab.logins.update(id, wrong, unset)
    with pytest.raises(LimitError):
        await lab.logins.update(id, {"a": "x" * 256_000})
    with pytest.raises(NotFoundError):
        await lab.logins.update(sojourn.new_id(), {"a": 1})


async def test_recent_authentication(lab: Lab) -> None:
    made = await lab.device(amr=["pwd"])
    lab.later(minutes=10)
    login = await lab.logins.authenticate(made.token)
    await lab.logins.require_fresh(login, timedelta(minutes=10))
    with pytest.raises(StaleAuthenticationError) as stale:
        await lab.logins.require_fresh(login, timedelta(minutes=9))
    assert stale.value.record == login
    stepped = await lab.logins.step_up(made.login.id, ["otp", "pwd"])
    assert (stepped.amr, stepped.authenticated_at) == (("pwd", "otp"), lab.clock())
    await lab.logins.require_fresh(stepped, timedelta(0))
    for bad in ([], "otp", [7]):
        with pytest.raises(InvalidValueError):
            await lab.logins.step_up(made.login.id, bad)  # type: ignore[arg-type]
    for login_, age in ((None, timedelta(1)), (made.login.id, timedelta(1)), (login, timedelta(seconds=-1)), (login, 5)):
        with pytest.raises(InvalidValueError):
            await lab.logins.require_fresh(login_, age)  # type: ignore[arg-type]


async def test_the_history_says_what_when_by_whom_and_from_where(lab: Lab) -> None:
    hero = await lab.hero()
    made = await lab.device(ip="1.1.1.1", user_agent="Browser")
    admin = lab.logins.acting(by="admin", ip="9.9.9.9", user_agent="Console")
    steps: list[tuple[Any, str]] = [
        (lambda: lab.logins.bind_character(made.login.id, hero), "bound"),
        (lambda: lab.logins.unbind_character(made.login.id), "unbound"),
        (lambda: lab.logins.rotate(made.token), "rotated"),
        (lambda: lab.logins.step_up(made.login.id, ["otp"]), "stepped_up"),
        (lambda: admin.update(made.login.id, {"note": 1}), "updated"),
        (lambda: admin.revoke(made.login.id, reason="stolen"), "revoked"),
    ]
    times = [lab.clock()]
    for step, _ in steps:
        lab.later(seconds=1)
        times.append(lab.clock())
        await step()
    history = await lab.logins.history(made.login.id)
    assert [entry.change for entry in history] == ["created", *(name for _, name in steps)]
    assert [entry.at for entry in history] == times
    first, last = history.items[0], history.items[-1]
    assert (first.by, first.ip, first.user_agent) == (None, "1.1.1.1", "Browser")
    assert (last.by, last.ip, last.user_agent, last.reason) == ("admin", "9.9.9.9", "Console", "stolen")
    assert history.items[1].details == {"character_id": hero, "world_id": "middle"}
    page = await lab.logins.history(made.login.id, limit=3)
    rest = await lab.logins.history(made.login.id, limit=50, after=page.next)
    assert page.items + rest.items == history.items
    assert rest.next is None
    with pytest.raises(NotFoundError):
        await lab.logins.history(sojourn.new_id())
    assert (await lab.logins.get(made.login.id)).reason == "stolen"  # type: ignore[union-attr]


# -- ending ------------------------------------------------------------------------------------------------------------


async def test_sign_out(lab: Lab) -> None:
    made, other = await lab.device(), await lab.device()
    assert await lab.logins.revoke_token(made.token)
    assert not await lab.logins.revoke_token(made.token)
    with pytest.raises(EndedError, match="revoked"):
        await lab.logins.authenticate(made.token)
    assert (await lab.logins.authenticate(other.token)).state == "active"
    assert await lab.logins.revoke(other.login.id, reason="lost phone", key="k")
    assert await lab.logins.revoke(other.login.id, reason="lost phone", key="k"), "the first answer"
    assert not await lab.logins.revoke(other.login.id)
    assert not await lab.logins.revoke(sojourn.new_id())
    for bad in ("", "a\nb", 7.5, None):
        with pytest.raises(InvalidValueError):
            await lab.logins.revoke(made.login.id, reason=bad)  # type: ignore[arg-type]


async def test_sign_out_everywhere(lab: Lab) -> None:
    ann, bob = await lab.user(), await lab.device("bob")
    made = [await lab.device() for _ in range(5)]
    keep = made[2].login.id
    assert await lab.logins.revoke_user(ann, keep=keep, key="k") == 4
    assert await lab.logins.revoke_user(ann, keep=keep, key="k") == 4, "the first answer"
    assert await lab.logins.revoke_user(ann, keep=keep) == 0
    assert [login.id for login in await lab.logins.list(user_id=ann)] == [keep]
    for one in made:
        if one.login.id == keep:
            await lab.logins.authenticate(one.token)
        else:
            with pytest.raises(EndedError):
                await lab.logins.authenticate(one.token)
    assert await lab.logins.revoke_user(ann) == 1
    assert await lab.logins.revoke_user("nobody") == 0
    assert (await lab.logins.authenticate(bob.token)).state == "active"
    await lab.device()


@pytest.mark.parametrize("name", ["revoke_user", "revoke_character", "revoke_all", "clear", "delete_expired"])
async def test_asked_again_under_its_key_it_ends_nobody_who_came_since(lab: Lab, name: str) -> None:
    ann = await lab.user()
    await lab.store.directory.add_world("w", "W")
    one = await lab.store.directory.add_character(ann, "w", "One")
    argument = {"revoke_user": [ann], "revoke_character": [one]}.get(name, [])
    operation = getattr(lab.logins, name)
    await lab.logins.create(ann, character_id=one)
    lab.later(hours=9)
    gone = 1 if name in ("delete_expired", "clear") else 0
    if name != "delete_expired":
        gone += 1
        await lab.logins.create(ann, character_id=one)
    assert await operation(*argument, key="k") == gone
    since = await lab.logins.create(ann, character_id=one)
    if name == "delete_expired":
        lab.later(hours=9)
    assert await operation(*argument, key="k") == gone
    there = await lab.logins.get(since.login.id)
    assert there is not None
    assert there.state == ("expired" if name == "delete_expired" else "active")


async def test_a_removal_is_remembered(lab: Lab) -> None:
    ann = await lab.user()
    assert await lab.store.directory.remove_user(ann, key="k")
    assert await lab.store.directory.remove_user(ann, key="k"), "the first answer"
    assert not await lab.store.directory.remove_user(ann)


async def test_more_than_one_commit_ends(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sojourn.kinds.logins.revocation.AT_ONCE", 3)
    ann = await lab.user()
    made = [await lab.device() for _ in range(10)]
    assert await lab.logins.revoke_user(ann, keep=made[9].login.id, reason="r", key="k") == 9
    assert await lab.logins.revoke_user(ann, keep=made[9].login.id, reason="r", key="k") == 9, "the first answer"
    reasons = [login.reason for login in await lab.logins.list(user_id=ann, active_only=False)]
    assert sorted(reasons) == ["", *["r"] * 9]
    assert (await lab.store.sweep()).counts.get("resumed") is None, "nothing is left to finish"
    for number in range(4):
        await lab.device(f"user {number}")
    assert await lab.logins.revoke_all() == 5
    assert await lab.logins.revoke_all() == 0
    assert await lab.logins.clear() == 14
    assert not (await lab.logins.list(active_only=False)).items


async def test_what_expired_is_not_called_revoked(lab: Lab) -> None:
    made = await lab.device()
    lab.later(days=1)
    assert not await lab.logins.revoke(made.login.id)
    found = await lab.logins.get(made.login.id)
    assert found is not None
    assert (found.state, found.reason) == ("expired", "expired")
    assert await lab.logins.revoke_user(await lab.user()) == 0


async def test_every_end_makes_an_event_with_its_reason(lab: Lab) -> None:
    hero = await lab.hero()
    logins = lab.signing(max_per_user=2, idle=HOUR)
    ids = []
    for _ in range(3):
        ids.append((await lab.device(logins=logins)).login.id)
        lab.later(seconds=1)
    await logins.bind_character(ids[1], hero)
    await logins.bind_character(ids[2], hero, on_conflict="take_over")
    await logins.revoke(ids[2], reason="stolen")
    lab.later(hours=2)
    await lab.store.sweep()
    seen = [(event.id, event.change, event.reason) for event in await lab.events(kind="login") if event.reason]
    assert seen == [
        (ids[0], "evicted", "evicted"),
        (ids[1], "unbound", "taken_over"),
        (ids[2], "revoked", "stolen"),
        (ids[1], "expired", "expired"),
    ]


async def test_generic_operations_end_and_delete_logins_too(lab: Lab) -> None:
    own = "a-secret-of-the-caller-0123456789-abcdefgh"
    made, other = await lab.device(), await lab.device(token=own)
    await lab.store.sessions.end(made.login.id, reason="by hand")
    with pytest.raises(EndedError):
        await lab.logins.authenticate(made.token)
    assert await lab.store.sessions.delete(other.login.id)
    with pytest.raises(NotFoundError):
        await lab.logins.authenticate(own)
    assert (await lab.device(token=own)).login.state == "active", "its token is free again"


# -- cleaning up -------------------------------------------------------------------------------------------------------


async def test_expired_ones_are_deleted_on_demand(lab: Lab) -> None:
    own = "a-secret-of-the-caller-0123456789-abcdefgh"
    short = lab.signing(idle=HOUR)
    for number in range(4):
        await lab.device(logins=short, token=own if number == 0 else None)
    lab.later(hours=2)
    await lab.store.sweep(2)
    kept, gone = await lab.device(), await lab.device()
    await lab.logins.revoke(gone.login.id)
    await lab.store.conversations.create("ann")
    assert await lab.logins.delete_expired() == 4
    assert await lab.logins.delete_expired() == 0
    assert {login.id for login in await lab.logins.list(active_only=False)} == {kept.login.id, gone.login.id}
    assert (await lab.device(token=own)).login.state == "active", "its token is free again"


async def test_a_sweep_closes_and_deletes(lab: Lab) -> None:
    logins = lab.signing(idle=HOUR)
    first = await lab.device(logins=logins)
    lab.later(hours=2)
    other = await lab.device()
    await lab.logins.revoke(other.login.id)
    assert (await lab.store.sweep(dry_run=True))["due"] == 1
    assert (await lab.store.sweep())["expired"] == 1
    found = await lab.logins.get(first.login.id)
    assert found is not None
    assert (found.state, found.reason, found.last_activity_at) == ("expired", "expired", first.login.created_at)
    assert (await lab.logins.history(first.login.id)).items[-1].change == "expired"
    lab.later(days=30, microseconds=-1)
    assert (await lab.store.sweep()).counts.get("deleted") is None
    lab.later(microseconds=1)
    assert (await lab.store.sweep(dry_run=True))["deleted"] in (0, 2)
    lab.later(seconds=1)
    assert (await lab.store.sweep())["deleted"] == 2
    assert await lab.logins.get(first.login.id) is None


async def test_erasing_a_person(lab: Lab) -> None:
    ann, hero = await lab.user(), await lab.hero()
    own = "a-secret-of-the-caller-0123456789-abcdefgh"
    made = await lab.device(character_id=hero, token=own, ip="1.2.3.4")
    receipt = await lab.store.erase(ann)
    assert receipt.sessions >= 2
    assert await lab.logins.find(own) is None
    assert await lab.logins.get(made.login.id) is None
    assert await lab.directory.user(ann) is None
    assert await lab.directory.user_id("ann") is None
    assert await lab.directory.character(hero) is None
    assert (await lab.device(token=own)).login.user_id != ann


async def test_tenants_do_not_see_each_other(lab: Lab) -> None:
    made = await lab.device()
    other = lab.store.for_tenant("other")
    assert await other.logins.find(made.token) is None
    assert await other.logins.get(made.login.id) is None
    assert not await other.logins.revoke(made.login.id)
    assert await other.logins.revoke_all() == await other.logins.clear() == await other.logins.count_active() == 0
    assert await other.directory.user_id("ann") is None
    assert (await lab.logins.authenticate(made.token)).state == "active"


async def test_a_token_given_for_an_id_is_not_repeated(lab: Lab) -> None:
    made = await lab.logins.create(await lab.directory.add_user("ann"))
    token = str(made.token)
    for ask in (
        lambda: lab.store.sessions.end(token),
        lambda: lab.store.sessions.list(token),
        lambda: lab.logins.list(after=token),
        lambda: lab.store.workspaces.resolve(token, project_id="p"),
        lambda: lab.talks.append(token, "user", "hello"),
    ):
        with pytest.raises(SojournError) as caught:
            await ask()
        assert token.partition(".")[2] not in str(caught.value)


async def test_a_touch_under_a_key_is_one_touch(lab: Lab) -> None:
    made = await lab.logins.create(await lab.directory.add_user("ann"))
    assert await lab.logins.touch(made.login.id, key="k1") is True
    lab.later(minutes=5)
    assert await lab.logins.touch(made.login.id, key="k1") is True
    assert await lab.logins.get(made.login.id) == made.login
