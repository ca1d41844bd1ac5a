"""The statements of `statements.sql` by name."""

from __future__ import annotations

from typing import Final

from sojourn.engines.statements import read_statements

SQL: Final = read_statements("sojourn.engines.postgres", "statements.sql")
