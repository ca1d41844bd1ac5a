"""Where a store is: what its URL and the options of its engine say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

from sojourn.engines.redis.keys import COUNTS
from sojourn.errors import InvalidValueError

Address: TypeAlias = tuple[str, int]

PORT: Final = 6379
SENTINEL_PORT: Final = 26379

_SHAPE: Final = (
    "Write redis://user:password@host:6379/0, redis+sentinel://host:26379,host:26379/master-name/0 or "
    "redis+cluster://host:6379,host:6379; rediss for TLS."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A server, or the way to the servers of a Sentinel or a Cluster, and how to talk to them."""

    addresses: tuple[Address, ...]
    shown: str
    """The URL as messages may show it."""
    kind: Literal["server", "sentinel", "cluster"] = "server"
    master: str = ""
    """The name under which the sentinels watch the primary."""
    database: int = 0
    connection: Mapping[str, Any] = field(default_factory=dict)
    """Name, password and TLS, as the client library calls them."""
    sentinel: Mapping[str, Any] = field(default_factory=dict)
    """Name and password of the sentinels."""
    tls: bool = False
    timeout: float = 10.0
    prefix: str = "sojourn"
    """What the name of every key begins with."""
    shards: int | None = None
    """How many shards a new store gets; None: the usual number, or what it has."""
    wait: int = 0
    """So many replicas must have a commit before it is acknowledged."""
    wait_timeout: float = 1.0
    """Seconds they may take."""
    max_connections: int = 64
    """Connections of blocking code, to one server."""


def read_url(url: str, options: Mapping[str, Any] | None = None, timeout: float = 10.0) -> Place:
    """The place that a URL names; ``options`` say the same as the settings behind its question mark, and win."""
    scheme, _, rest = url.partition("://")
    base, _, how = scheme.lower().partition("+")
    kind = _KINDS.get(how)
    if base not in ("redis", "rediss", "valkey", "valkeys") or kind is None or not rest:
        raise InvalidValueError(f"cannot read {shown(url)!r}.", hint=_SHAPE)
    rest, _, query = rest.partition("?")
    netloc, _, path = rest.partition("/")
    who, _, hosts = netloc.rpartition("@")
    port = SENTINEL_PORT if kind == "sentinel" else PORT
    place = Place(
        addresses=tuple(_address(text, port, url) for text in hosts.split(",")),
        shown=shown(url),
        kind=kind,
        connection=_credentials(who),
        tls=base in ("rediss", "valkeys"),
        timeout=timeout,
    )
    place = _with_path(place, path, url)
    for name, value in {**dict(parse_qsl(query, keep_blank_values=True)), **(options or {})}.items():
        setting = _SETTINGS.get(name)
        if setting is None:
            raise InvalidValueError(
                f"{place.shown}: there is no setting {name!r}.", hint=f"Settings: {', '.join(sorted(_SETTINGS))}."
            )
        try:
            place = setting(place, value)
        except (TypeError, ValueError) as error:
            raise InvalidValueError(f"{place.shown}: {name} cannot be {value!r}.", hint=str(error)) from error
    return place


def shown(url: str) -> str:
    """A URL without name, password and settings."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


_KINDS: Final[dict[str, Literal["server", "sentinel", "cluster"]]] = {
    "": "server",
    "sentinel": "sentinel",
    "cluster": "cluster",
}


def _address(text: str, port: int, url: str) -> Address:
    host, colon, number = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    host = (host if colon else text).strip("[]") or "localhost"
    if colon and not number.isdigit():
        raise InvalidValueError(f"cannot read the address {text!r} in {shown(url)!r}.", hint=_SHAPE)
    return unquote(host), int(number) if colon else port


def _credentials(who: str) -> dict[str, str]:
    name, _, password = who.partition(":")
    found = {"username": unquote(name), "password": unquote(password)}
    return {key: value for key, value in found.items() if value}


def _with_path(place: Place, path: str, url: str) -> Place:
    words = [unquote(word) for word in path.split("/") if word]
    if place.kind == "sentinel":
        if not words:
            raise InvalidValueError(f"{place.shown} does not name the primary that the sentinels watch.", hint=_SHAPE)
        place = replace(place, master=words.pop(0))
    if len(words) > 1 or not all(word.isdigit() for word in words) or (words and place.kind == "cluster" and words != ["0"]):
        raise InvalidValueError(f"cannot read the database in {shown(url)!r}.", hint=_SHAPE)
    return replace(place, database=int(words[0])) if words else place


# -- settings ------------------------------------------------------------------------------------------------------------

_Setting: TypeAlias = Callable[[Place, Any], Place]


def _prefix(place: Place, value: Any) -> Place:
    if not isinstance(value, str) or not value or set(value) & set("{}\0\r\n"):
        raise ValueError("A prefix is text without braces.")
    return replace(place, prefix=value)


def _shards(place: Place, value: Any) -> Place:
    if int(value) not in COUNTS:
        raise ValueError("A store has 1, 2, 4, 8, … or 1024 shards; 64 unless it is made with another number.")
    return replace(place, shards=int(value))


def _wait(place: Place, value: Any) -> Place:
    if int(value) < 0:
        raise ValueError("The number of replicas that must have a commit.")
    return replace(place, wait=int(value))


def _wait_timeout(place: Place, value: Any) -> Place:
    if not 0 < float(value) < place.timeout:
        raise ValueError(f"Seconds, less than the {place.timeout:g} that an operation may take.")
    return replace(place, wait_timeout=float(value))


def _max_connections(place: Place, value: Any) -> Place:
    if int(value) < 1:
        raise ValueError("At least 1.")
    return replace(place, max_connections=int(value))


def _for_connection(name: str) -> _Setting:
    def put(place: Place, value: Any) -> Place:
        if not place.tls:
            raise ValueError("TLS is asked for by rediss:// or valkeys://.")
        return replace(place, connection={**place.connection, name: value})

    return put


def _check_hostname(place: Place, value: Any) -> Place:
    if value not in (True, False, "true", "false"):
        raise ValueError("true or false.")
    return _for_connection("ssl_check_hostname")(place, value in (True, "true"))


def _cert_reqs(place: Place, value: Any) -> Place:
    if value not in ("required", "none"):
        raise ValueError("'required' or 'none'; with 'none' anybody in between can read and change everything.")
    place = _for_connection("ssl_cert_reqs")(place, value)
    return _for_connection("ssl_check_hostname")(place, False) if value == "none" else place


def _for_sentinel(name: str) -> _Setting:
    return lambda place, value: replace(place, sentinel={**place.sentinel, name: str(value)})


_SETTINGS: Final[dict[str, _Setting]] = {
    "prefix": _prefix,
    "shards": _shards,
    "wait": _wait,
    "wait_timeout": _wait_timeout,
    "max_connections": _max_connections,
    "ssl_ca_certs": _for_connection("ssl_ca_certs"),
    "ssl_certfile": _for_connection("ssl_certfile"),
    "ssl_keyfile": _for_connection("ssl_keyfile"),
    "ssl_check_hostname": _check_hostname,
    "ssl_cert_reqs": _cert_reqs,
    "sentinel_username": _for_sentinel("username"),
    "sentinel_password": _for_sentinel("password"),
}
