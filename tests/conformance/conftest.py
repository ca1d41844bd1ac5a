"""The suite lives in the package, so pytest must be told to explain its assertions too."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("sojourn.testing.conformance")
