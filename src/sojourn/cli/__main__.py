"""``python -m sojourn.cli``: the same as ``sojourn``."""

import sys

from sojourn.cli import main

sys.exit(main())
