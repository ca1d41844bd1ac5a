"""Each of these was seen in a system that people use. None may happen here, on any engine, in any colour."""

from __future__ import annotations

import pickle
from copy import copy, deepcopy
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

import sojourn
from sojourn import ConflictError, EndedError, ExpiredError, InvalidValueError, LoginPolicy, NotFoundError
from sojourn.testing.simulation import Simulation

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab


async def test_fixation(lab: Lab) -> None:
    """A token that a client made up, however well it is shaped, signs nobody in and leaves nothing behind."""
    real = await lab.device()
    chosen = f"sjl_{sojourn.new_id(real.login.user_id)}.{str(real.token)[-43:]}"
    swapped = f"sjl_{real.login.id}.{'A' * 43}"
    for made_up in (chosen, swapped, "sojourn-chosen-by-the-attacker", "0c9aa1bd-1111-4222-8333-444455556666"):
        with pytest.raises(NotFoundError):
            await lab.logins.authenticate(made_up)
        assert await lab.logins.find(made_up) is None
    assert [login.id for login in await lab.logins.list(active_only=False)] == [real.login.id]
    assert len(await lab.events(kind="login")) == 1


async def test_resurrection(lab: Lab) -> None:
    """Signed out; then a request that was on its way saves, touches, rotates, binds."""
    made, hero = await lab.device(), await lab.hero()
    id = made.login.id
    assert await lab.logins.revoke(id)
    for late in (
        lambda: lab.logins.update(id, {"theme": "dark"}),
        lambda: lab.logins.bind_character(id, hero),
        lambda: lab.logins.unbind_character(id),
        lambda: lab.logins.step_up(id, ["otp"]),
        lambda: lab.logins.rotate(made.token),
        lambda: lab.logins.authenticate(made.token),
    ):
        with pytest.raises(EndedError) as ended:
            await late()
        assert ended.value.record.reason == "revoked"
    assert not await lab.logins.touch(id)
    assert not await lab.logins.revoke(id)
    found = await lab.logins.get(id)
    assert found is not None
    assert (found.state, found.reason, found.metadata) == ("ended", "revoked", {})


async def test_a_lost_update(lab: Lab) -> None:
    """Two requests of one browser, each with a key of its own."""
    made = await lab.device(metadata={"kept": True})
    work = [(lambda key=f"k{number}": lab.logins.update(made.login.id, {key: key})) for number in range(8)]
    await lab.together(*work)
    found = await lab.logins.get(made.login.id)
    assert found is not None
    assert found.metadata == {"kept": True, **{f"k{number}": f"k{number}" for number in range(8)}}


async def test_the_old_token_after_rotation(lab: Lab) -> None:
    made = await lab.device()
    fresh = await lab.logins.rotate(made.token)
    assert (await lab.logins.authenticate(made.token)).id == made.login.id, "a request that was on its way"
    lab.later(seconds=10)
    assert await lab.logins.find(made.token) is None
    with pytest.raises(EndedError) as ended:
        await lab.logins.authenticate(made.token)
    assert ended.value.record.reason == "reuse"
    with pytest.raises(EndedError):
        await lab.logins.authenticate(fresh.token)
    event = (await lab.events(kind="login"))[-1]
    assert (event.change, event.reason) == ("revoked", "reuse")


async def test_the_old_token_after_a_change_of_privilege(lab: Lab) -> None:
    """No grace: a token from before answers no more at all."""
    made = await lab.device()
    await lab.logins.rotate(made.token, reauthenticated=True)
    with pytest.raises(EndedError):
        await lab.logins.authenticate(made.token)


@pytest.mark.parametrize("seconds", [0, 59])
def test_a_write_on_every_read(seconds: int) -> None:
    """A thousand requests inside the touch window: one read each, and nothing else."""

    async def scenario(simulation: Simulation) -> None:
        logins = simulation.store(directory=False).logins
        made = await logins.create("ann")
        simulation.clock.advance(timedelta(seconds=seconds))

        async def requests() -> None:
            for _ in range(1000):
                await logins.authenticate(made.token)

        (await simulation.alone(requests)).result()
        verbs = [step for step in simulation.steps if step.startswith("0: before ")]
        assert verbs == ["0: before load"] * 1000

    Simulation().run(scenario)


def test_a_touch_is_one_write_and_no_event() -> None:
    async def scenario(simulation: Simulation) -> None:
        logins = simulation.store(directory=False).logins
        made = await logins.create("ann")
        simulation.clock.advance(timedelta(seconds=60))

        async def requests() -> None:
            for _ in range(3):
                await logins.authenticate(made.token)

        (await simulation.alone(requests)).result()
        verbs = [step.removeprefix("0: before ") for step in simulation.steps if step.startswith("0: before ")]
        assert verbs == ["load", "commit (Touch)", "load", "load"]
        found = await logins.get(made.login.id)
        assert found is not None
        assert found.last_activity_at == simulation.clock()

    Simulation().run(scenario)


async def test_an_expired_session_revived_by_activity(lab: Lab) -> None:
    logins = lab.signing(idle=timedelta(minutes=30), absolute=timedelta(hours=2))
    made = await lab.device(logins=logins)
    lab.later(minutes=30)
    assert not await logins.touch(made.login.id)
    for late in (
        lambda: logins.authenticate(made.token),
        lambda: logins.rotate(made.token),
        lambda: logins.rotate(made.token, reauthenticated=True),
        lambda: logins.update(made.login.id, {"a": 1}),
        lambda: logins.step_up(made.login.id, ["otp"]),
    ):
        with pytest.raises(ExpiredError):
            await late()
    found = await logins.find(made.token)
    assert found is not None
    assert found.state == "expired"
    await lab.store.sweep()
    assert not await logins.touch(made.login.id)
    with pytest.raises(ExpiredError):
        await logins.authenticate(made.token)


async def test_an_expired_session_revived_by_a_clock_that_goes_back(lab: Lab) -> None:
    """Once a sweep has closed it, no clock brings it back."""
    made = await lab.device()
    lab.later(days=2)
    assert (await lab.store.sweep())["expired"] == 1
    lab.later(days=-2)
    with pytest.raises(ExpiredError):
        await lab.logins.authenticate(made.token)
    assert not await lab.logins.touch(made.login.id)


async def test_activity_beyond_the_absolute_deadline(lab: Lab) -> None:
    logins = lab.signing(idle=timedelta(hours=1), absolute=timedelta(hours=3))
    made = await lab.device(logins=logins)
    for _ in range(5):
        lab.later(minutes=35)
        await logins.authenticate(made.token)
    login = await logins.authenticate(made.token)
    assert login.expires_at == made.login.created_at + timedelta(hours=3)
    lab.later(minutes=5)
    with pytest.raises(ExpiredError):
        await logins.authenticate(made.token)


async def test_deleting_a_character_that_a_session_holds(lab: Lab) -> None:
    hero = await lab.hero()
    made = await lab.device(character_id=hero)
    assert await lab.directory.remove_character(hero)
    found = await lab.logins.authenticate(made.token)
    assert (found.character_id, found.world_id, found.state) == (None, None, "active")
    assert await lab.directory.character(hero) is None
    assert not await lab.directory.remove_character(hero)


async def test_two_holders_of_one_character_unasked(lab: Lab) -> None:
    hero = await lab.hero()
    devices = [await lab.device() for _ in range(8)]
    outcomes = await lab.outcomes(*[(lambda id=one.login.id: lab.logins.bind_character(id, hero)) for one in devices])
    refused = [outcome for outcome in outcomes if isinstance(outcome, ConflictError)]
    assert len(refused) == 7, outcomes
    holders = await lab.logins.list(character_id=hero)
    assert [error.holder for error in refused] == [holders.items[0].id] * 7
    assert len(holders) == 1


async def test_a_cap_of_one_that_leaves_two(lab: Lab) -> None:
    logins = lab.signing(max_per_user=1)
    ann = await lab.user()
    made = await lab.together(*[lambda: logins.create(ann) for _ in range(8)])
    live = await logins.list(user_id=ann)
    assert len(live) == 1
    assert {one.login.id for one in made} >= {live.items[0].id}
    reasons = [login.reason for login in await logins.list(user_id=ann, active_only=False)]
    assert sorted(reasons) == ["", *["evicted"] * 7]


async def test_a_lost_answer_of_rotate(lab: Lab) -> None:
    """The client asks again, much later, with the only token it has."""
    made = await lab.device()
    lost = await lab.logins.rotate(made.token, key="r1")
    lab.later(hours=1)
    again = await lab.logins.rotate(made.token, key="r1")
    assert again.token not in (lost.token, made.token)
    assert (await lab.logins.authenticate(again.token)).id == made.login.id
    assert again.login.state == "active"


async def test_a_lost_answer_of_rotate_without_a_key(lab: Lab) -> None:
    """Within the grace the old token may be rotated once more."""
    made = await lab.device()
    await lab.logins.rotate(made.token)
    again = await lab.logins.rotate(made.token)
    assert (await lab.logins.authenticate(again.token)).state == "active"


async def test_stored_markup_is_text(lab: Lab) -> None:
    """It is kept as it is, and nothing that steers a terminal or a page gets in; escaping it is whoever shows it."""
    hostile = "<script>alert(1)</script>"
    made = await lab.device(client_type=hostile.upper(), user_agent=hostile)
    assert (made.login.client_type, made.login.user_agent) == (hostile, hostile)
    for control in ("\x1b[31m", "a\x00b", "a\r\nSet-Cookie: x", "\u202eabc", "\u2028", "\x85"):
        with pytest.raises(InvalidValueError):
            await lab.device(client_type=f"a{control}b")
        with pytest.raises(InvalidValueError):
            await lab.device(user_agent=f"a{control}b")
        with pytest.raises(InvalidValueError):
            await lab.device(ip=f"1{control}")


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_dump_of_the_store_holds_no_token(disk_lab: Lab) -> None:
    """Of 1,000 logins, some of callers' own tokens, some rotated: no token, no secret, and nothing in it answers."""
    from secrets import token_urlsafe

    logins = disk_lab.knowing(False, peppers={3: b"p" * 32})
    tokens = []
    for number in range(1000):
        own = token_urlsafe(32) if number % 3 == 0 else None
        made = await logins.create(f"user {number % 50}", token=own, user_agent="Agent", key=f"key {number}")
        tokens.append(str(made.token))
        if number % 5 == 0:
            tokens.append(str((await logins.rotate(made.token)).token))
    dump = disk_lab.on_disk()
    for token in tokens:
        assert token.encode() not in dump
        assert token.rpartition(".")[2].encode() not in dump
    kept = {row.data["secret"] for row in await _rows(disk_lab)}
    assert len(kept) == 1000
    assert all(secret.encode() in dump for secret in list(kept)[:20]), "this is what is kept"
    for secret in list(kept)[:50]:
        for presented in (secret, secret.partition("_")[2], f"sjl_{sojourn.new_id()}.{secret[-43:]}"):
            assert await logins.find(presented) is None
            with pytest.raises(NotFoundError):
                await logins.authenticate(presented)


async def _rows(lab: Lab) -> list[Any]:
    from sojourn.core.query import SessionQuery

    store: Any = lab.store
    aio = store._inner._aio if lab.blocking else store
    return [row for row in await aio._engine.list(SessionQuery("default", ("login",), limit=5000)) if row.data]


async def test_a_stored_hash_that_is_presented(lab: Lab) -> None:
    made = await lab.device()
    own = await lab.device(token="a-secret-of-the-caller-0123456789-abcdefgh")
    for row in await _rows(lab):
        kept = row.data["secret"]
        for shape in (kept, kept[5:], f"sjl_{row.id}.{kept[5:]}", f"sjl_{row.id}.{kept}"):
            assert await lab.logins.find(shape) is None
            with pytest.raises(NotFoundError):
                await lab.logins.authenticate(shape)
        for shape in (kept, f"sjl_{row.id}.{kept[5:]}", str(made.token)):
            with pytest.raises(InvalidValueError, match="must not begin"):
                await lab.device(token=shape)
    assert (await lab.logins.authenticate(own.token)).id == own.login.id


async def test_secrets_in_what_is_shown(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """No repr, list, event, history, session, export, error or log has a token, its secret part, or a digest."""
    own = "a-secret-of-the-caller-0123456789-abcdefgh"
    made, other = await lab.device(), await lab.device(token=own)
    fresh = await lab.logins.rotate(made.token, key="k")
    page, history = await lab.logins.list(active_only=False), await lab.logins.history(made.login.id)
    seen: list[object] = [
        repr(made), str(made), f"{made}", repr(made.token), repr([made.token]), page, history,
        await lab.logins.get(made.login.id), await lab.logins.find(fresh.token), await lab.events(),
        await lab.store.sessions.list("kind:login state:all"), await lab.store.sessions.get(made.login.id),
        [line async for line in lab.store.export()], repr(LoginPolicy(peppers={1: b"pepper-pepper-pepper"})),
    ]  # fmt: skip
    for wrong in (
        lambda: lab.logins.get(str(fresh.token)),
        lambda: lab.logins.touch(str(fresh.token)),
        lambda: lab.logins.update(str(fresh.token), {"a": 1}),
        lambda: lab.logins.history(str(fresh.token)),
        lambda: lab.logins.bind_character(str(fresh.token), "c"),
        lambda: lab.logins.step_up(str(fresh.token), ["otp"]),
        lambda: lab.logins.authenticate(str(fresh.token) + "x"),
        lambda: lab.logins.authenticate(str(fresh.token)[:-1]),
        lambda: lab.device(token=own),
        lambda: lab.device(token=own + "\n"),
        lambda: lab.device(token=str(fresh.token)),
        lambda: lab.logins.rotate(fresh.token, key="k", reauthenticated=True),
        lambda: lab.logins.update(made.login.id, {"a": 1}, key="k"),
        lambda: lab.logins.revoke(made.login.id),
        lambda: lab.logins.authenticate(fresh.token),
        lambda: lab.logins.rotate(fresh.token),
    ):
        try:
            seen.append(repr(await wrong()))
        except Exception as error:
            seen += [str(error), repr(error), repr(vars(error))]
    text = "\n".join([*map(repr, seen), caplog.text])
    digests = [row.data["secret"][5:] for row in await _rows(lab)]
    for secret in (*map(str, (made.token, fresh.token, other.token)), *digests):
        assert secret not in text
        assert secret[-43:] not in text
    assert "pepper-pepper" not in text
    assert made.login.id in text


async def test_a_token_is_not_pickled_or_copied(memory_lab: Lab) -> None:
    token = (await memory_lab.device()).token
    for leak in (pickle.dumps, copy, deepcopy):
        with pytest.raises(TypeError):
            leak(token)
    assert repr(token) == "Token(…)"
    assert token == sojourn.Token(str(token))
    assert token != str(token)
    assert len({token, sojourn.Token(str(token))}) == 1


async def test_an_export_signs_nobody_in(lab: Lab) -> None:
    made, hero = await lab.device(), await lab.hero()
    await lab.logins.bind_character(made.login.id, hero)
    lines = [line async for line in lab.store.export(kinds=["login"])]
    other = lab.elsewhere()
    loaded = await other.load(lines)
    assert loaded.sessions >= 2
    found = await other.logins.get(made.login.id)
    assert found is not None
    assert (found.state, found.reason, found.user_id) == ("ended", "exported", made.login.user_id)
    assert await other.logins.find(made.token) is None
    with pytest.raises(NotFoundError):
        await other.logins.authenticate(made.token)
    assert await other.directory.user_id("ann") == made.login.user_id
    place = await other.directory.character(hero)
    assert place is not None
    assert place.user_id == made.login.user_id
    again = await other.logins.create(username="ann", character_id=hero)
    assert (await other.logins.authenticate(again.token)).world_id == "middle"
    assert (await lab.logins.authenticate(made.token)).state == "active", "the exported store goes on"
