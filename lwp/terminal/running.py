"""What a room adds to `lwp run`: options, and what begins with them before the program does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import click

#: The headings of the options, in the order of the help.
MAKE, WATCH, DRAW = "Make its threads", "Watch for what goes wrong", "Draw what they did"

Options = dict[str, Any]  # of `lwp run`, by name


class RunOption(click.Option):
    """An option of `lwp run`, under one of these headings.

    needs: the option without which it is of no use.  reports: it writes on standard error, which must be open.
    fits: whether the word behind it can be its value; otherwise it has the value `alone`.
    """

    def __init__(
        self,
        *names: str,
        heading: str,
        needs: str = "",
        reports: bool = False,
        fits: Callable[[str], bool] | None = None,
        alone: str = "",
        **more: Any,
    ) -> None:
        super().__init__(names, **more)
        self.heading, self.needs, self.reports, self.fits, self.alone = heading, needs, reports, fits, alone

    def check(self, options: Options, stderr: object) -> None:
        """UsageError: it is given, and is of no use so."""
        if options[self.name or ""] in (None, False):
            return
        if self.needs and options[self.needs.removeprefix("--").replace("-", "_")] in (None, False):
            raise click.UsageError(f"{self.opts[0]} is for {self.needs}")
        if self.reports and stderr is None:
            raise click.UsageError(f"{self.opts[0]} reports on standard error, which is closed")


class Tool(NamedTuple):
    """What a room adds."""

    options: tuple[RunOption, ...]
    begin: Callable[[Options, tuple[str, ...]], None]  #: once threads are made here; with the program and its arguments
    prepare: Callable[[Options], None] | None = None  #: before that
