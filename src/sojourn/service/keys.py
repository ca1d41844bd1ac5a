"""API keys as Sojourn's own logins: of ``client_type="api"``, in a tenant that belongs to the service.

A key is a login's token, so it is hashed at rest, can be listed, rotated and revoked, and what it was used for last is known.
Its metadata names the tenant it reaches and its scopes.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from sojourn.errors import EndedError, ExpiredError, InvalidValueError, NotFoundError
from sojourn.kinds.logins.api import AsyncLogins
from sojourn.kinds.logins.model import Login, LoginPolicy, NewLogin
from sojourn.service.access import ADMIN, Credential
from sojourn.sessions import KINDS
from sojourn.store import AsyncStore

TENANT: Final = "sojourn.service"
"""Whose the keys and the console's sign-ins are; no key reaches it."""
API: Final = "api"

ACTIONS: Final = ("read", "write")
_POLICY: Final = LoginPolicy(idle=None, absolute=None)
SCOPES: Final = (
    ADMIN,
    *ACTIONS,
    *(f"{kind}s:{action}" for kind in KINDS for action in ACTIONS),
    "sessions:read",
    "sessions:write",
)


def service_logins(store: AsyncStore, policy: LoginPolicy) -> AsyncLogins:
    """The service's own logins in a store; its users are in no directory."""
    return AsyncLogins(store.for_tenant(TENANT)._unit, policy, False)


class LoginKeys:
    """API keys that are kept in the store, and one secret of the operator that may do everything."""

    def __init__(self, store: AsyncStore, *, admin_secret: str = "", admin_tenant: str = "default") -> None:
        self._logins = service_logins(store, _POLICY)
        self._admin = sha256(admin_secret.encode()).digest() if admin_secret else None
        self._everything = Credential("admin", admin_tenant, frozenset({ADMIN}))

    async def find(self, token: str) -> Credential | None:
        """The credential of a key; None when nobody's, or when it was revoked."""
        if not token:
            return None
        if self._admin is not None and hmac.compare_digest(self._admin, sha256(token.encode()).digest()):
            return self._everything
        try:
            login = await self._logins.authenticate(token)
        except (NotFoundError, ExpiredError, EndedError, InvalidValueError):
            return None
        return credential_of(login)

    async def create(self, name: str, *, tenant: str = "default", scopes: Iterable[str] = ACTIONS) -> NewLogin:
        """A new key; its token is shown once, in what this gives."""
        chosen = sorted(set(scopes))
        unknown = [scope for scope in chosen if scope not in SCOPES]
        if unknown or not chosen:
            raise InvalidValueError(
                f"there is no scope {unknown[0]!r}." if unknown else "a key needs a scope.",
                hint=f"Scopes: {', '.join(SCOPES)}.",
            )
        if tenant == TENANT:
            raise InvalidValueError(
                f"the tenant {TENANT!r} is the service's own.", hint="Name the tenant that the key may reach."
            )
        metadata = {"tenant": tenant, "scopes": chosen}
        return await self._logins.create(name, client_type=API, metadata=metadata)

    async def list(self) -> list[Login]:
        """The keys that can be used, newest used first."""
        found: list[Login] = []
        after: str | None = None
        while True:
            page = await self._logins.list(limit=200, after=after)
            found += [login for login in page.items if login.client_type == API]
            if page.next is None:
                return found
            after = page.next

    async def rotate(self, token: str) -> NewLogin:
        """A new key of the same name, tenant and scopes in place of this one, which is revoked. `NotFoundError` for no key.

        Whoever still uses the old one is refused, and cannot spoil the new one.
        """
        try:
            login = await self._logins.authenticate(token)
        except (ExpiredError, EndedError) as error:
            raise NotFoundError("there is no such key, or it was revoked.") from error
        if credential_of(login) is None:
            raise NotFoundError("this token is no API key.")
        made = await self._logins.create(login.user_id, client_type=API, metadata=login.metadata)
        await self._logins.revoke(login.id, reason="rotated")
        return made

    async def revoke(self, id: str) -> bool:
        """Make a key useless at once; False when it was already. `NotFoundError` when there is none."""
        login = await self._logins.get(id)
        if login is None or credential_of(login) is None:
            raise NotFoundError(f"there is no API key {id!r}.", hint="'sojourn key list' shows them.")
        return await self._logins.revoke(id)


def credential_of(login: Login) -> Credential | None:
    """What a key's login allows; None for a login that is no key."""
    tenant, scopes = login.metadata.get("tenant"), login.metadata.get("scopes")
    if login.client_type != API or not isinstance(tenant, str) or not isinstance(scopes, list):
        return None
    return Credential(login.user_id, tenant, frozenset(str(scope) for scope in scopes))
