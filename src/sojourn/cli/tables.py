"""Tables on a terminal, by rich; imported only when one is shown there, and absent without rich."""

from __future__ import annotations

import sys
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sojourn.cli.output import Listing
from sojourn.cli.text import one_line


def show(found: Listing, *, colour: bool) -> None:
    """Print the list to fit the terminal's width; what does not fit is folded within its column."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for name in found.columns:
        justify: Literal["right", "left"] = "right" if name in found.numbers else "left"
        table.add_column(name, justify=justify, no_wrap=name == "ID", overflow="fold", style="cyan" if name == "ID" else "")
    for row in found.rows:
        table.add_row(*[Text(one_line(cell)) for cell in row])
    Console(file=sys.stdout, color_system="auto" if colour else None, highlight=False).print(table)
