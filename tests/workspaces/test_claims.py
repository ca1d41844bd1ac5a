"""Two sessions never have claims that overlap, and a claim is free when its session is gone."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from sojourn import Claim, InvalidValueError, LeaseHeldError, LimitError
from sojourn.kinds.workspaces.resources import check_resource, overlap

if TYPE_CHECKING:
    from tests.conversations.conftest import Lab

MINUTE = timedelta(minutes=1)


async def two(lab: Lab) -> tuple[str, str]:
    return (await lab.workspaces.start("implementer", "one")).id, (await lab.workspaces.start("implementer", "two")).id


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("src/", "src/a.py", True),
        ("src/a.py", "src", True),
        ("src", "src", True),
        (".", "anything/at/all", True),
        ("./src//a.py", "src/a.py/", True),
        ("caf\u00e9", "cafe\u0301/menu", True),
        ("src/a", "src/ab", False),
        ("src", "src2", False),
        ("Src", "src", False),
        ("db:migrations", "db:seed", False),
    ],
)
def test_a_path_covers_what_is_below_it(one: str, other: str, *, both: bool) -> None:
    assert overlap(check_resource(one), check_resource(other)) is both
    assert overlap(check_resource(other), check_resource(one)) is both


@pytest.mark.parametrize(
    "wrong", ["", "  ", "/etc", "../x", "src/../..", "a\nb", "a\0b", "src/a.py\n", "x" * 2000, 7, "\ud800"]
)
def test_what_is_not_a_path_of_the_project_is_refused(wrong: object) -> None:
    with pytest.raises((InvalidValueError, LimitError)):
        check_resource(wrong)


async def test_a_claim_keeps_others_away_and_says_who_has_it(lab: Lab) -> None:
    one, other = await two(lab)
    claim = await lab.workspaces.claim(one, "src/", ttl=10 * MINUTE)
    assert claim == Claim("src", one, "one", 1, lab.clock() + 10 * MINUTE, 10 * MINUTE, "project-1")
    for resource in ("src/a.py", "src", "."):
        with pytest.raises(LeaseHeldError, match=r"claimed by one .*until 12:10:00 UTC") as held:
            await lab.workspaces.claim(other, resource)
        assert (held.value.record, held.value.holder) == (claim, one)
    await lab.workspaces.claim(other, "docs")
    assert [item.resource for item in await lab.workspaces.claims()] == ["docs", "src"]
    assert await lab.workspaces.claims("src/a.py") == [claim]
    assert await lab.workspaces.claims("tests") == []
    await lab.workspaces.claim(one, "src/a.py")  # within one's own


async def test_claims_of_other_projects_do_not_matter(lab: Lab) -> None:
    one, _ = await two(lab)
    far = await lab.workspaces.start("implementer", project_id="project-2")
    await lab.workspaces.claim(one, "src")
    assert (await lab.workspaces.claim(far.id, "src")).fence == 1


async def test_claiming_again_renews_under_the_same_number(lab: Lab) -> None:
    one, other = await two(lab)
    first = await lab.workspaces.claim(one, "src", ttl=10 * MINUTE)
    lab.later(minutes=9)
    again = await lab.workspaces.claim(one, "src", ttl=10 * MINUTE)
    assert (again.fence, again.expires_at) == (first.fence, lab.clock() + 10 * MINUTE)
    lab.later(minutes=10)
    assert await lab.workspaces.claims() == []
    taken = await lab.workspaces.claim(other, "src/a.py")
    assert taken.fence == 2
    with pytest.raises(LeaseHeldError):
        await lab.workspaces.claim(one, "src")


async def test_a_release_frees_only_what_is_still_ones_own(lab: Lab) -> None:
    one, other = await two(lab)
    first = await lab.workspaces.claim(one, "src", ttl=MINUTE)
    lab.later(minutes=1)
    second = await lab.workspaces.claim(other, "src")
    assert await lab.workspaces.release(first) is False
    assert await lab.workspaces.claims() == [second]
    assert await lab.workspaces.release(second) is True
    assert await lab.workspaces.release(second) is False
    assert (await lab.workspaces.claim(one, "src")).fence == 3
    with pytest.raises(InvalidValueError, match="must be a Claim"):
        await lab.workspaces.release("src")  # type: ignore[arg-type]


async def test_a_claim_is_free_when_its_session_is_over_or_lost(lab: Lab) -> None:
    for way in ("end", "expire", "delete", "lose"):
        one, other = await two(lab)
        async with lab.workspaces.hold(one):
            await lab.workspaces.claim(one, "src")
            if way == "lose":
                lab.places.host_of.kill(one)
            elif way == "delete":
                await lab.store.sessions.delete(one)
            else:
                await getattr(lab.workspaces, way)(one)
            assert await lab.workspaces.claims() == [], way
            claim = await lab.workspaces.claim(other, "src/a.py")
            assert [item.resource for item in await lab.workspaces.claims()] == ["src/a.py"]
            await lab.workspaces.release(claim)
        await lab.workspaces.end(one) if way in ("end", "lose") else None
        await lab.workspaces.end(other)


async def test_the_same_key_claims_once(lab: Lab) -> None:
    one, other = await two(lab)
    first = await lab.workspaces.claim(one, "src", key="k")
    await lab.workspaces.release(first)
    await lab.workspaces.claim(other, "src")
    assert await lab.workspaces.claim(one, "src", key="k") == first


async def test_a_clock_that_was_ahead_once_keeps_nobody_from_claiming(lab: Lab) -> None:
    ahead = await lab.workspaces.start("implementer")
    lab.later(days=1)
    early = await lab.workspaces.start("implementer")
    await lab.workspaces.claim(early.id, "docs")
    lab.later(days=-1)
    made = await lab.workspaces.claim(ahead.id, "src")
    assert await lab.workspaces.claims("src") == [made]
    found = await lab.workspaces.get(ahead.id)
    assert found is not None
    assert found.expires_at == lab.clock() + timedelta(hours=4)
    with pytest.raises(LeaseHeldError):
        await lab.workspaces.claim(early.id, "src/a.py")


async def test_a_project_has_only_so_many_claims(lab: Lab) -> None:
    few = lab.at_work(max_claims=2)
    one, other = await two(lab)
    await few.claim(one, "a")
    await few.claim(one, "b")
    await few.claim(one, "b")
    with pytest.raises(LimitError, match="2 claims; the limit is 2"):
        await few.claim(other, "c")
    await few.end(one)
    await few.claim(other, "c")
    with pytest.raises(LimitError):
        await lab.at_work(max_claims=0).claim(other, "d")


async def test_of_many_who_claim_at_once_one_has_it(lab: Lab) -> None:
    made = [(await lab.workspaces.start("implementer")).id for _ in range(8)]
    places = ["src", "src/a", "src/a/b.py", ".", "src/a", "src", "./src/", "src/a/b.py"]
    outcomes = await lab.outcomes(
        *[lambda id=id, place=place: lab.workspaces.claim(id, place) for id, place in zip(made, places, strict=True)]
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, Claim)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, LeaseHeldError)]
    assert len(won) + len(lost) == 8
    assert len(won) == 1
    assert await lab.workspaces.claims() == won
