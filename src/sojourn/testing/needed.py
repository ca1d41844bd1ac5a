"""A program that a test cannot do without: on a machine that lacks it the test is skipped, on CI it fails."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from sojourn.testing.servers import Program, ServerMissingError


def needed(find: Callable[[], Program]) -> Program:
    """The program; ``find`` is one of the lookups of `sojourn.testing.servers`."""
    try:
        return find()
    except ServerMissingError as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
