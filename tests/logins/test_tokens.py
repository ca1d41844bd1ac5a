"""Tokens: their shapes, what is kept of them, and that known and unknown ones cost the same."""

from __future__ import annotations

import hashlib
import hmac
import statistics
import time
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

import sojourn
from sojourn import ConflictError, EndedError, InvalidValueError, KeyReusedError, LimitError, LoginPolicy, NotFoundError
from sojourn.kinds.logins import tokens
from sojourn.kinds.logins.tokens import RETIRED, Hasher, Token, check_own, match, strength

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

PEPPER = b"a pepper that is kept elsewhere"
OWN = "a-secret-of-the-caller-0123456789-abcdefgh"


def text(digest: bytes) -> str:
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def test_what_is_kept_is_sha256_of_the_token_or_hmac_under_the_newest_pepper() -> None:
    assert Hasher(None).digest("token") == "sjh0_" + text(hashlib.sha256(b"token").digest())
    peppered = Hasher({1: b"1" * 16, 7: PEPPER})
    assert peppered.digest("token") == "sjh7_" + text(hmac.digest(PEPPER, b"token", "sha256"))
    assert [digest[:5] for digest in peppered.read("token").digests] == ["sjh7_", "sjh1_", "sjh0_"]


async def test_an_issued_token_has_256_random_bits_and_names_its_login(lab: Lab) -> None:
    made = [await lab.device() for _ in range(20)]
    for one in made:
        prefix, _, secret = str(one.token).partition(".")
        assert (prefix, len(secret)) == (f"sjl_{one.login.id}", 43)
    assert len({str(one.token)[-43:] for one in made}) == 20


def shapes(real: str) -> list[str]:
    """Wrong tokens of every shape and length, made of a right one."""
    id, secret = real[4:30], real[31:]
    return [
        "", " ", ".", "sjl_", "sjl_.", f"sjl_{id}", f"sjl_{id}.", f"sjl_.{secret}", secret, id, real[:-1], real + "A",
        real + " ", " " + real, real + "\n", real + "\0", real.upper(), real.lower(), real.replace("_", "-"), real[1:],
        f"SJL_{id}.{secret}", f"sjl_{id}{secret}", f"sjl_{id}..{secret}", f"sjl_{id}.{secret}.{secret}", f"sjl_{id}.{'=' * 43}",
        f"sjl_{id[:-1]}.{secret}", f"sjl_{id}0.{secret}", f"sjl_{id[:-1]}U.{secret}", f"sjl_{'٣' * 26}.{secret}",
        f"Bearer {real}", f"{real};{real}", real * 2, "x" * 511, "x" * 512, "x" * 513, "x" * 1_000_000, "\ud800", "é" * 40,
        "null", "undefined", "' or 1=1 --", "../../etc/passwd", "%00", "sjh0_" + "A" * 43, "sjh1_", "sjh99999999_x",
    ]  # fmt: skip


async def test_a_token_of_every_wrong_shape_is_nobodys(lab: Lab) -> None:
    made = await lab.device()
    for wrong in shapes(str(made.token)):
        assert await lab.logins.find(wrong) is None
        assert not await lab.logins.revoke_token(wrong)
        for operation in (lab.logins.authenticate, lab.logins.rotate):
            with pytest.raises(NotFoundError) as refused:
                await operation(wrong)
            assert str(refused.value) == "no login answers to this token. Sign in."
    others: list[Any] = [None, 1, b"sjl_", ["a"], made]
    for other in others:
        for name in ("authenticate", "find", "rotate", "revoke_token"):
            with pytest.raises(InvalidValueError, match="a token is text"):
                await getattr(lab.logins, name)(other)
    assert (await lab.logins.authenticate(str(made.token))).id == made.login.id


@given(st.text(max_size=80))
def test_whatever_is_presented_is_read_in_the_same_way(presented: str) -> None:
    reading = Hasher(None).read(presented)
    assert len(reading.digests) == 1
    assert match(reading, []) is None
    assert reading.id is None


class Counting:
    """Counts what the standard library is asked to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[str] = []
        for module, name in ((hashlib, "sha256"), (hmac, "digest"), (hmac, "compare_digest")):
            monkeypatch.setattr(module, name, self._counted(name, getattr(module, name)))

    def _counted(self, name: str, inner: Any) -> Any:
        def call(*arguments: Any) -> Any:
            self.calls.append(name)
            return inner(*arguments)

        return call

    def taken(self) -> list[str]:
        taken, self.calls = sorted(self.calls), []
        return taken


@pytest.mark.parametrize("peppers", [None, {1: PEPPER, 2: PEPPER}])
async def test_known_and_unknown_tokens_are_hashed_and_compared_alike(
    lab: Lab, peppers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of every wrong shape, of a login that has rotated, of one that ended: the same calls, in number and kind."""
    logins = lab.knowing(False, peppers=peppers)
    made, rotated, gone = [await logins.create("ann") for _ in range(3)]
    own = await logins.create("ann", token=OWN)
    fresh = (await logins.rotate(rotated.token)).token
    await logins.revoke(gone.login.id)
    real = str(made.token)
    presented: list[Any] = [
        made.token,
        rotated.token,
        fresh,
        gone.token,
        own.token,
        real[:-1] + ("A" if real[-1] != "A" else "B"),
    ]
    presented += [f"sjl_{sojourn.new_id()}.{real[-43:]}", str(uuid4()), *shapes(real)]
    counting = Counting(monkeypatch)
    versions = 1 if peppers is None else 3
    expected = sorted(["sha256", *["digest"] * (versions - 1), *["compare_digest"] * versions * (RETIRED + 1)])
    for token in presented:
        await logins.find(token)
        assert counting.taken() == expected


@pytest.mark.campaign
def test_the_time_of_a_comparison_says_nothing_about_the_secret() -> None:
    """Wrong from the first character on, or from the last: medians of many, in turns, lie within a few per cent."""
    hasher = Hasher(None)
    kept = hasher.digest("token")
    wrong_early, wrong_late = "sjh0_" + "z" + kept[6:], kept[:-2] + "zz"
    reading = hasher.read("token")
    times: dict[str, list[int]] = {wrong_early: [], wrong_late: []}
    for _ in range(300):
        for digest, found in times.items():
            start = time.perf_counter_ns()
            for _ in range(200):
                match(reading, [digest])
            found.append(time.perf_counter_ns() - start)
    early, late = (statistics.median(found) for found in times.values())
    assert abs(early - late) / early < 0.05


# -- callers' own ------------------------------------------------------------------------------------------------------


async def test_a_callers_own_token_is_found_by_its_digest(lab: Lab) -> None:
    made = await lab.device(token=OWN)
    assert str(made.token) == OWN
    assert (await lab.logins.authenticate(OWN)).id == made.login.id
    fresh = await lab.logins.rotate(OWN)
    assert str(fresh.token).startswith("sjl_")
    assert (await lab.logins.authenticate(OWN)).id == made.login.id, "within the grace"
    lab.later(minutes=1)
    with pytest.raises(EndedError):
        await lab.logins.authenticate(OWN)


async def test_a_token_of_their_own_is_used_once(lab: Lab) -> None:
    made = await lab.device(token=OWN)
    for _ in range(2):
        with pytest.raises(ConflictError, match="in use, or was"):
            await lab.device("bob", token=OWN)
        await lab.logins.revoke(made.login.id)
    await lab.logins.clear()
    assert (await lab.device("bob", token=OWN)).login.state == "active"


def test_how_strong_a_token_of_their_own_must_be() -> None:
    strong = ["Zq3" * 3 + "x9K_-aB7" * 3, "0123456789abcdef" * 2, "".join(map(str, range(10))) * 4, OWN]
    for token in strong:
        assert check_own(token, 128) == token
    for weak in ("short", "a" * 200, "ab" * 100, str(uuid4()), "0123456789" * 3, "password1234", "0123456789abcde" * 2):
        with pytest.raises(InvalidValueError, match="random bits"):
            check_own(weak, 128)
        assert check_own(weak, None) == weak
    assert strength(str(uuid4())) == strength(uuid4().hex) == 122
    assert strength("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") == 0
    with pytest.raises(LimitError):
        check_own("x" * 513, None)
    for wrong in ("", "a b", "a\tb", "é" * 40, "a\0b", "\ud800"):
        with pytest.raises(InvalidValueError):
            check_own(wrong, None)
    for number in (0, -1, True, "128", 1.5):
        with pytest.raises(InvalidValueError):
            LoginPolicy(min_token_bits=number)  # type: ignore[arg-type]


async def test_a_policy_may_take_any_token(lab: Lab) -> None:
    logins, plain = lab.signing(min_token_bits=None), str(uuid4())
    made = await logins.create(await lab.user(), token=plain)
    assert (await logins.authenticate(plain)).id == made.login.id
    with pytest.raises(InvalidValueError):
        await lab.logins.create(await lab.user(), token=str(uuid4()))


async def test_a_lost_answer_of_create_gives_the_same_login_and_another_token(lab: Lab) -> None:
    lost = await lab.device(key="c", ip="1.1.1.1")
    again = await lab.device(key="c", ip="1.1.1.1")
    assert (again.login.id, again.token == lost.token) == (lost.login.id, False)
    assert len(await lab.logins.list()) == 1
    assert (await lab.logins.authenticate(lost.token)).id == lost.login.id, "within the grace"
    assert (await lab.logins.authenticate(again.token)).id == lost.login.id
    with pytest.raises(KeyReusedError):
        await lab.device(key="c", ip="2.2.2.2")
    own = await lab.device(token=OWN, key="o")
    assert (await lab.device(token=OWN, key="o")).login.id == own.login.id
    with pytest.raises(KeyReusedError):
        await lab.device(token=OWN[::-1], key="o")


# -- rotation ----------------------------------------------------------------------------------------------------------


async def test_rotation_keeps_the_login(lab: Lab) -> None:
    made = await lab.device(metadata={"a": 1}, amr=["pwd"])
    lab.later(minutes=5)
    fresh = await lab.logins.rotate(made.token)
    assert (fresh.login.id, fresh.login.metadata, fresh.login.amr) == (made.login.id, {"a": 1}, ("pwd",))
    assert fresh.login.authenticated_at == made.login.authenticated_at
    assert fresh.login.last_activity_at == lab.clock()


async def test_only_reauthentication_renews_the_absolute_deadline(lab: Lab) -> None:
    logins = lab.signing(idle=timedelta(days=2), absolute=timedelta(days=3))
    made = await lab.device(logins=logins)
    lab.later(days=1)
    fresh = await logins.rotate(made.token)
    stepped = await logins.step_up(made.login.id, ["otp"])
    assert stepped.authenticated_at == lab.clock()
    lab.later(days=1)
    login = await logins.authenticate(fresh.token)
    assert login.expires_at == made.login.created_at + timedelta(days=3)
    anew = await logins.rotate(fresh.token, reauthenticated=True)
    assert anew.login.expires_at == lab.clock() + timedelta(days=2)
    assert anew.login.authenticated_at == lab.clock()
    for _ in range(2):
        lab.later(days=1)
        login = await logins.authenticate(anew.token)
    assert login.expires_at == anew.login.authenticated_at + timedelta(days=3)


async def test_a_replaced_token_is_known_through_several_rotations(lab: Lab) -> None:
    made = await lab.device()
    token = made.token
    for _ in range(RETIRED):
        lab.later(minutes=1)
        token = (await lab.logins.rotate(token)).token
    with pytest.raises(EndedError) as ended:
        await lab.logins.authenticate(made.token)
    assert ended.value.record.reason == "reuse"
    with pytest.raises(EndedError):
        await lab.logins.rotate(token)


async def test_a_token_from_long_ago_is_nobodys(lab: Lab) -> None:
    made = await lab.device()
    token = made.token
    for _ in range(RETIRED + 1):
        token = (await lab.logins.rotate(token)).token
    with pytest.raises(NotFoundError):
        await lab.logins.authenticate(made.token)
    assert (await lab.logins.authenticate(token)).state == "active"


async def test_however_many_answers_of_rotate_are_lost_nobody_is_logged_out(lab: Lab) -> None:
    made = await lab.device()
    first = await lab.logins.rotate((await lab.logins.rotate(made.token)).token)
    last = first
    for _ in range(2 * RETIRED):
        lab.later(seconds=1)
        last = await lab.logins.rotate(first.token, key="k")
    assert (await lab.logins.authenticate(last.token)).id == made.login.id
    lab.later(minutes=1)
    with pytest.raises(EndedError, match="reuse"):
        await lab.logins.authenticate(first.token)


async def test_rotating_with_a_replaced_token_is_reuse_too(lab: Lab) -> None:
    made = await lab.device()
    await lab.logins.rotate(made.token, key="a")
    lab.later(minutes=1)
    with pytest.raises(EndedError):
        await lab.logins.rotate(made.token, key="b")


async def test_no_grace(lab: Lab) -> None:
    logins = lab.signing(rotate_grace=timedelta(0))
    made = await lab.device(logins=logins)
    await logins.rotate(made.token)
    with pytest.raises(EndedError):
        await logins.authenticate(made.token)


async def test_peppers_come_and_go(lab: Lab) -> None:
    """A token made without one, or under an older one, answers on; under a pepper that is gone it is nobody's."""
    bare, first = lab.knowing(False), lab.knowing(False, peppers={1: PEPPER})
    both, second = lab.knowing(False, peppers={1: PEPPER, 2: b"2" * 32}), lab.knowing(False, peppers={2: b"2" * 32})
    plain, peppered, own = await bare.create("ann"), await first.create("ann"), await first.create("ann", token=OWN)
    for logins in (first, both, second):
        assert (await logins.authenticate(plain.token)).id == plain.login.id
    for one in (peppered, own):
        for logins in (first, both):
            assert (await logins.authenticate(one.token)).id == one.login.id
        for logins in (bare, second):
            assert await logins.find(one.token) is None
    fresh = await both.rotate(peppered.token)
    assert (await second.authenticate(fresh.token)).id == peppered.login.id
    with pytest.raises(ConflictError):
        await both.create("bob", token=OWN)


@pytest.mark.parametrize("peppers", [{}, {0: PEPPER}, {1: b"short"}, {"1": PEPPER}, {True: PEPPER}, {1: "text" * 8}, [PEPPER]])
def test_peppers_that_are_none(peppers: Any) -> None:
    with pytest.raises(InvalidValueError):
        LoginPolicy(peppers=peppers)


def test_nothing_kept_is_the_digest_of_anything() -> None:
    """The filler that takes the place of digests a login has not: its last character has bits no digest has."""
    assert tokens._NOTHING[-1] == "-"
    assert len(tokens._NOTHING) == len(Hasher(None).digest("x"))
    assert str(Token("x")) == "x"
