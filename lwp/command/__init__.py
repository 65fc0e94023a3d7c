"""The program `lwp`, also `python -m lwp`: a module for each command, imported when asked for."""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from typing import Any

import click

from ..core import printable
from ..terminal.gone import gone
from ..terminal.names import Names, unknown
from ..terminal.version import version

__all__ = ["main", "version"]

#: The module of each, under the headings and in the order of the help.
_HEADINGS = {
    "Run a program": {"run": ".run", "doctor": ".doctor"},
    "See what a running program does": {
        name: f"..observe.commands.{name}" for name in ("ps", "dump", "top", "watch", "locks", "record", "trace")
    },
    "Find races and deadlocks": {"explore": "..explore.command"},
    "Study how threads are made": {
        "demo": "..study.demo",
        "tls": "..study.tls",
        "bench": "..bench.command",
    },
}
_COMMANDS = {name: module for commands in _HEADINGS.values() for name, module in commands.items()}


class _Commands(Names):
    kind, known, listed_by = "command", _COMMANDS, "lwp --help"

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] == "stress":  # until the release after 0.3
            raise click.UsageError("stress is `python -m stress` now, in a checkout of the sources")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, names in _HEADINGS.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(heading):
                formatter.write_dl([(f"{name:<7}", one.get_short_help_str(70)) for name, one in commands if one])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command = getattr(importlib.import_module(_COMMANDS[cmd_name], __package__), cmd_name)
        assert isinstance(command, click.Command)
        return command


def _show_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(f"lwp {version()}")
        ctx.exit()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def _lwp() -> None:
    """CPython threads made by hand on Linux.

    A Python thread is a Linux task (LWP) with a stack, thread-local storage and an interpreter state.  This
    program makes them itself, with clone(2) and futexes instead of pthread_create, so that every step can be
    seen, set and measured.

    \b
    Examples:
      lwp run server.py 8000          your program, on threads made here
      lwp run --report -m pytest      a module, with figures at the end
      lwp run --stack-size 256K x.py  small stacks
      lwp run --trace t.html x.py     a timeline of its threads, as a page
      lwp run --children x.py         also in Python processes that it starts
      lwp dump 4711                   what all threads of a running program do
      lwp record 4711 --seconds 10    a timeline of its next ten seconds
      lwp explore test_x.py::test_y   the schedule that makes a test fail
      lwp demo createthread           one thread's life, step by step
      lwp tls                         the map of a thread, byte by byte
      lwp doctor                      what this machine offers and allows
      lwp bench --quick               against threading, in a minute

    "python -m lwp" is the same as "lwp".
    """


class _Output(io.FileIO):
    """Standard output, whose errors can be told from the errors of other files."""

    def write(self, data: Any, /) -> int:
        """Writes all of it, because a text stream without a buffer (python -u) drops what one write(2) leaves, as on a
        terminal."""
        written, size = 0, memoryview(data).nbytes
        try:
            while written < size and (more := super().write(memoryview(data).cast("B")[written:])) is not None:
                written += more
            return written
        except OSError as error:
            error.filename = self
            raise


def _open_output() -> None:
    """Makes sys.stdout an _Output, unless it is closed or stands for something other than descriptor 1."""
    old = sys.stdout
    if type(old) is not io.TextIOWrapper or old.fileno() != 1:
        return
    raw = _Output(1, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(
        raw if isinstance(old.buffer, io.RawIOBase) else io.BufferedWriter(raw),  # raw: python -u
        encoding=old.encoding,
        errors=old.errors,
        line_buffering=old.line_buffering,
        write_through=old.write_through,
    )


def _give_up_output(error: OSError) -> None:
    """Says why nothing can be printed, and sees to it that the interpreter finds no error when it flushes the rest at
    its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if error.errno != errno.EPIPE:  # EPIPE: the reader has seen enough
        print("lwp: standard output:", error.strerror, file=sys.stderr)


def _unknown_option(error: click.NoSuchOption) -> str:
    """What serves instead if the command had the option; otherwise which one may be meant."""
    assert error.ctx is not None
    known = [name for param in error.ctx.command.params for name in param.opts if name.startswith("-")]
    return gone(error.ctx.info_name or "", error.option_name) or unknown(
        "option", error.option_name, known, f"{error.ctx.command_path} --help lists them"
    )


def main() -> int:
    """Does what sys.argv says and returns the exit status; `run` ends as its program does."""
    from ._main import run_main
    from .run import Program

    stdout = sys.stdout
    _open_output()
    try:
        result = _lwp.main(sys.argv[1:] or ["--help"], standalone_mode=False)
        if isinstance(result, Program):
            from ..core import native  # noqa: F401  # if it can't work here, the error is told below
        elif sys.stdout is not None:
            sys.stdout.flush()
    except click.Abort:
        return 130  # Ctrl-C, as a shell tells it
    except click.NoSuchOption as error:
        print("lwp:", printable(_unknown_option(error)), file=sys.stderr)
        return 2
    except click.ClickException as error:
        print("lwp:", printable(" ".join(error.format_message().split()).rstrip(".")), file=sys.stderr)
        return 2
    except ImportError as error:
        print("lwp:", printable(" ".join(str(error).split())), file=sys.stderr)
        return 1
    except OSError as error:
        if not isinstance(error.filename, _Output):
            raise
        _give_up_output(error)
        return 1
    if isinstance(result, Program):
        sys.stdout = stdout
        # Here and not in the command, because fewer frames below the program's are better.
        result.prepare()
        run_main(result.kind, result.what, result.args)
        return 0
    return result if isinstance(result, int) else 0
