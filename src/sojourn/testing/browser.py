"""Finding a Chromium of this machine, for tests that click through the console.

``$SOJOURN_CHROMIUM`` names one; else the ``PATH`` is looked through. ``tools/packages.sh`` installs one where it can.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

OPTIONS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""A browser that asks the network for nothing by itself; without a sandbox, since test machines run as root."""


class BrowserMissingError(LookupError):
    """There is no Chromium here; the message says how to get one."""


def find_chromium() -> Path:
    """The program."""
    named = os.environ.get("SOJOURN_CHROMIUM")
    found = named if named and Path(named).is_file() else next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise BrowserMissingError(
            "Install Chromium with the package manager of this system (tools/packages.sh does on Debian and Ubuntu), "
            "or set SOJOURN_CHROMIUM to the program."
        )
    return Path(found)
