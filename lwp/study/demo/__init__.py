"""`demo NAME`: small programs that do what their line says and show what the kernel answers.

A demo's module is imported when it is asked for; each has a click command `command`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from ...terminal.names import Names

#: Name and line of each demo, here so that listing them imports none.
DEMOS = {
    "files": "A child closes its parent's file descriptor: CLONE_FILES.",
    "vm": "A child writes into its parent's memory or a copy: CLONE_VM.",
    "tasks": "Threads as the kernel counts them: a tid each, one tgid.",
    "models": "The same work on kernel threads and on green ones.",
    "cow": "What fork, vfork, clone and a thread cost as memory grows.",
    "createthread": "One thread's life, step by step as it happened.",
    "tls": "One __thread variable, as many addresses as threads.",
}


class _Demos(Names):
    kind, known, listed_by = "demo", DEMOS, "lwp demo"

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in DEMOS:
            return None
        command = import_module(f".{cmd_name}", __name__).command
        assert isinstance(command, click.Command)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except RuntimeError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            raise click.ClickException(f"{error}: {error.__cause__}") from None  # "can't start new thread"

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Demos"):
            formatter.write_dl(list(DEMOS.items()))


def _show_code(ctx: click.Context, param: click.Parameter, name: str | None) -> None:
    from ._shown import print_code

    if name is not None:
        print_code(name)
        ctx.exit()


@click.group(cls=_Demos, invoke_without_command=True, subcommand_metavar="[NAME [OPTIONS]]")
@click.option(
    "--code",
    type=click.Choice(list(DEMOS)),
    metavar="NAME",
    is_eager=True,
    expose_value=False,
    callback=_show_code,
    help="Print the code of that demo, without the text that it prints, and the C behind it.",
)
@click.pass_context
def demo(ctx: click.Context) -> None:
    """Programs that show what a thread is made of.

    Each really does what it says and reads the result back from the kernel. With --json a demo prints its
    facts as one JSON object and nothing else.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
