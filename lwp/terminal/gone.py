"""Options that were taken away, each with what serves instead, for one release."""

from __future__ import annotations

import click

from .names import unknown

_SPEEDSCOPE = "--speedscope FILE writes the same stacks for speedscope.app"

#: Of each command, and of pytest's plugin.
GONE = {
    "explore": {
        "--dask": "--workers N shares the runs among processes, and another --seed on each machine among machines",
        "--from": "lwp explore FILE.py::TEST looks for a failing order by itself, and prints its token",
    },
    "locks": {"--pprof": _SPEEDSCOPE},
    "pytest": {"--lwp-chaos-record": "--lwp-explore looks for a failing order, and prints its token"},
    "run": {
        "--chaos-record": "lwp explore FILE.py looks for a failing order, and prints its token",
        "--live": "lwp top PID shows the threads of a running program",
        "--page": "lwp watch PID serves the page of a running program",
        "--page-control": "lwp dump PID and lwp record PID --last SECONDS do what the page did",
        "--pprof": _SPEEDSCOPE,
    },
    "watch": {"--page-control": "lwp dump PID and lwp record PID --last SECONDS do what the page did"},
}


def why_gone(command: str | None, option: str) -> str | None:
    """The sentence; None: it was not taken away."""
    serves = GONE.get(command or "", {}).get(option)
    return serves and f"{option} is gone: {serves}"


def message(error: click.ClickException) -> str:
    """What the error says, and of such an option the sentence; of an unknown one which may be meant."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return error.format_message()
    command = error.ctx.command
    known = [name for param in command.params for name in param.opts if name.startswith("-")]
    return why_gone(command.name, error.option_name) or unknown(
        "option", error.option_name, known, f"{error.ctx.command_path} --help lists them"
    )
