"""What `make quick` leaves out, besides what is marked slow by hand: servers, files under the kinds, and the doors."""

import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A shell starts what runs in its background with these ignored, and so would be all programs that the tests interrupt.
for _interrupt in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_interrupt) is signal.SIG_IGN:
        signal.signal(_interrupt, signal.default_int_handler if _interrupt is signal.SIGINT else signal.SIG_DFL)

_TESTS = Path(__file__).parent
_DOORS = {"cli", "demo", "docs", "service", "testing", "tools"}
"""Tests that start programs, browsers or servers, or run whole pages; run those you work on by their folder."""
_ENGINES = {"conformance", "engines"}
"""Tests of the engines themselves, which need the files that others can do without."""


def pytest_configure(config: pytest.Config) -> None:
    """Drawn examples are the same in each run, and may take their time; a campaign draws new ones."""
    if config.option.markexpr != "campaign":
        settings.load_profile("ci")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        room = item.path.relative_to(_TESTS).parts[0]
        name = item.nodeid.lower()
        served = "postgres" in name or "redis" in name or "bouncer" in name
        if room in _DOORS or served or ("sqlite" in name and room not in _ENGINES):
            item.add_marker(pytest.mark.slow)
