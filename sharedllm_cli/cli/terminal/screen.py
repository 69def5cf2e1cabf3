"""A styled console of rich's whose reader may go away; imported only where something styled is printed."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class Screen(Console):
    """Raises BrokenPipeError like any other stream; rich itself would end the process with a fault's exit code."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError
