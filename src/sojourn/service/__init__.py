"""Sojourn over HTTP: `application` makes an ASGI application of an open store, to be served or mounted anywhere."""

from __future__ import annotations

from sojourn.service.access import Credential, Keys, OpenKeys, SecretKeys
from sojourn.service.application import ServiceOptions, application

__all__ = ["Credential", "Keys", "OpenKeys", "SecretKeys", "ServiceOptions", "application"]
