"""The argument PID, of a program that runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])


def _pid(value: str) -> int:
    if not (value.isascii() and value.isdigit() and int(value)):
        raise click.BadParameter(f"{value!r} is not a process number; `lwp ps` lists them")
    return int(value)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: the programs that `lwp ps` lists."""
    from click.shell_completion import CompletionItem

    from ..asking import command, programs

    return [CompletionItem(str(pid), help=command(pid)) for pid in programs() if str(pid).startswith(incomplete)]


def pid_argument(function: F) -> F:
    return click.argument("pid", type=_pid, shell_complete=_complete)(function)
