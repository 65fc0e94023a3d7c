"""Options that were taken away, each with what serves instead, for one release."""

from __future__ import annotations

import click

#: Of each command, and of pytest's plugin.
GONE = {
    "explore": {
        "--dask": "--workers N shares the runs among processes, and another --seed on each machine among machines",
        "--from": "lwp explore FILE.py::TEST looks for a failing order by itself, and prints its token",
    },
    "pytest": {"--lwp-chaos-record": "--lwp-explore looks for a failing order, and prints its token"},
    "run": {"--chaos-record": "lwp explore FILE.py looks for a failing order, and prints its token"},
}


def why_gone(command: str | None, option: str) -> str | None:
    """The sentence; None: it was not taken away."""
    serves = GONE.get(command or "", {}).get(option)
    return serves and f"{option} is gone: {serves}"


def message(error: click.ClickException) -> str:
    """What the error says, and of such an option the sentence."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        return why_gone(error.ctx.command.name, error.option_name) or error.format_message()
    return error.format_message()
