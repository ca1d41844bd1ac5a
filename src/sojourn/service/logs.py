"""Structured logs: one JSON object a line on standard error, without keys, tokens, codes, contents or query strings."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, Final

LOGGER: Final = "sojourn.service"

_SECRETS: Final = re.compile(r"(sj[a-z]_[0-9A-Za-z_.~-]{8,}|(?<=once=)[^&\s\"']+|(?<=Bearer )\S+|(?<=/play/)(?!in/)[^/\s\"']+)")
"""What a secret of ours looks like. Nothing of ours logs one; an error's text, or a library's, might."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time (UTC), level, logger, what happened, and its facts."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        found: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            found["exception"] = self.formatException(record.exc_info)
        return without_secrets(json.dumps(found, ensure_ascii=False, default=str))


def without_secrets(text: str) -> str:
    """A text in which whatever looks like a secret of ours is masked."""
    return _SECRETS.sub("***", text)


def configure(*, requests: bool) -> None:
    """Log to standard error; with ``requests`` a line for each request, otherwise warnings and worse."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger(LOGGER).setLevel(logging.INFO if requests else logging.WARNING)


def log_request(method: str, route: str, status: int, seconds: float, *, key: str = "", tenant: str = "") -> None:
    """One request that was answered: by its route, which has no ids and no names of users."""
    log = logging.getLogger(LOGGER)
    if log.isEnabledFor(logging.INFO):
        facts = {
            "method": method,
            "route": route,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "key": key,
            "tenant": tenant,
        }
        log.info("request", extra={"facts": facts})
