"""Whatever a client sends as headers, it is read without an error and signs nobody in."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from sojourn.integrations.headers import RequestHeaders, plain, with_vary
from sojourn.integrations.signing import Anonymous, Signing

NAMES = st.sampled_from(
    [b"cookie", b"Cookie", b"authorization", b"origin", b"sec-fetch-site", b"host", b"user-agent", b"content-type"]
)
VALUES = st.one_of(
    st.binary(max_size=60),
    st.sampled_from(
        [b"__Host-sid=a", b"__Host-sid=a; __Host-sid=b", b"Bearer x", b"https://[::1]:443", b"null", b"same-origin"]
    ),
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=8)
SIGNING = Signing("k" * 32, timedelta(days=1))


@given(HEADERS)
@example([(b"origin", b"https://[")])
@example([(b"cookie", b"__Host-sid"), (b"cookie", b"=; =;; __Host-sid==")])
def test_headers_of_every_shape_are_read(raw: list[tuple[bytes, bytes]]) -> None:
    headers = RequestHeaders(raw)
    assert headers.came(frozenset()) in ("own", "other", "unsaid")
    cookie = headers.cookie("__Host-sid")
    assert cookie is None or ";" not in cookie
    bearer = headers.bearer()
    assert bearer is None or bearer == bearer.strip()
    agent = headers.agent()
    assert agent is None or agent == agent.strip()


@given(st.text(max_size=50))
def test_what_was_not_signed_is_nothing(text: str) -> None:
    assert SIGNING.unpack(text) is None
    assert not SIGNING.is_token(text, "login 1")


@given(
    st.dictionaries(st.text(max_size=5), st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20)), max_size=5)
)
def test_what_was_signed_comes_back(data: dict[str, object]) -> None:
    packed = SIGNING.pack(Anonymous(data, "nonce"))
    assert packed.isascii()
    assert not set(packed) & set(' ";,\\')  # what a cookie's value cannot have (RFC 6265, 4.1.1)
    found = SIGNING.unpack(packed)
    assert found is not None
    assert (found.data, found.nonce) == (data, "nonce")


@given(st.text(max_size=80), st.integers(1, 40))
def test_plain_text_has_no_control_character(text: str, limit: int) -> None:
    found = plain(text, limit)
    assert found is None or (len(found) <= limit and not any(ord(one) < 32 or one == "\x7f" for one in found))


def test_vary_is_named_once() -> None:
    for before, after in (
        ([], ["Cookie"]),
        ([(b"Vary", b"Accept")], ["Accept, Cookie"]),
        ([(b"Vary", b"Accept"), (b"vary", b"Origin")], ["Accept, Origin, Cookie"]),
        ([(b"vary", b"accept, COOKIE")], ["accept, COOKIE"]),
        ([(b"vary", b"*")], ["*"]),
    ):
        headers: list[tuple[bytes, bytes]] = [*before]
        with_vary(headers, b"Cookie")
        assert [value.decode() for name, value in headers if name.lower() == b"vary"] == after
