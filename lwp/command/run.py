"""`run`: an unmodified program, with its threads on our LWPs."""

from __future__ import annotations

import os
import re
import shlex
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import lwp_runtime

from ..core import has_hook, pass_on
from ..terminal.ending import at_end, ended_as_misused
from ..terminal.options import seconds
from ..terminal.program import end_options_after, forget_click, options_before
from ..terminal.running import DRAW, MAKE, WATCH, Options, RunOption, Tool

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

#: The rooms that add options, in the order in which these begin.
_ROOMS: list[str] = [
    "..observe.commands._run",
    "..chaos.command",
]
_TOOLS: list[Tool] = [import_module(room, __package__).TOOL for room in _ROOMS]


class Program(NamedTuple):
    """What is to be run, and how."""

    kind: str  #: "script" (also a directory, a zip file, "-" for stdin), "module" or "code"
    what: str  #: the path, the module's name, the source text
    args: tuple[str, ...]
    options: Options

    def prepare(self) -> None:
        """Has the program's threads made here, and begins what goes on beside it; run_main() comes next."""
        if self.kind != "module" or self.what not in ("lwp", "runtime"):  # it is loaded, with the click that it uses
            forget_click()
        self._place()
        for tool in _TOOLS:
            if tool.prepare is not None:
                tool.prepare(self.options)
        self._install()
        lwp_runtime.give_way()
        self._tell_misplaced()
        for tool in _TOOLS:
            tool.begin(self.options, (self.what, *self.args))

    def _place(self) -> None:
        """Places the calling thread, because threads and processes have their creator's placement."""
        import threading

        affinity, nice = self.options["affinity"], self.options["nice"]
        if affinity is None and nice is None:
            return
        from ..core import Placement

        try:
            Placement(threading.main_thread()).update(affinity=affinity, nice=nice)
        except OSError as error:
            print(f"lwp: {error.strerror}", file=sys.stderr)
            sys.exit(2)

    def _install(self) -> None:
        import threading

        from ..core import patch

        green, stack_size, time_slice = (self.options[name] for name in ("green", "stack_size", "time_slice"))
        lwps = (self.options["lwps"] or 1) if green else 0
        if stack_size is not None:
            threading.stack_size(stack_size)
        if self.options["children"]:
            pass_on(stack_size, lwps, time_slice)
        given = {} if time_slice is None else {"time_slice": time_slice or None}
        patch.install(green=green, lwps=lwps or 1, **given)
        if green:
            from ..core import reopen_stdin

            reopen_stdin()

    def _tell_misplaced(self) -> None:
        """Says where lwp's options belong that stand among the program's arguments.

        At once if the program seems to read none, otherwise at its end if it has refused them.
        """
        if not (words := _own_options(self.args)) or sys.stderr is None:
            return
        from ..terminal.telling import teller

        names, program = " and ".join(word for word in words if word.startswith("--")), _TELLS[self.kind] + self.what
        moved = shlex.join(["lwp", "run", *words]) + f" {program}"
        said = f"lwp: {names} behind {program} goes to the program; if lwp is meant: {moved} ...\n"
        tell = teller(os.dup(sys.stderr.fileno()))  # the program may close or replace it
        if self._reads_arguments():
            at_end(lambda: tell(said) if ended_as_misused() else None)
        else:
            tell(said)

    def _reads_arguments(self) -> bool:
        """Whether it may; a module, a folder and what can't be read may."""
        text = self.what
        if self.kind == "script":
            try:
                text = Path(self.what).read_text(errors="replace")
            except OSError:
                return True
        return self.kind == "module" or any(word in text for word in _READING)


_READING = ("arg", "getopt", "click", "typer", "fire")  # argv, argparse; in the text of a program that reads them
_TELLS = {"script": "", "module": "-m ", "code": "-c "}


def _own_options(args: tuple[str, ...]) -> list[str]:
    """The options of `lwp run` among these words, with their values."""
    known = {name: option for option in run.params if isinstance(option, RunOption) for name in option.opts}
    found: list[str] = []
    for at, word in enumerate(args):
        name = word.partition("=")[0]
        if name not in known:
            continue
        takes_next = name == word and not known[name].is_flag and known[name].fits is None
        found += [word, *args[at + 1 : at + 2]] if takes_next else [word]
    return found


# ---- the command -----------------------------------------------------------------------------------------------------


def _bytes(value: str) -> int:
    """A number, also with K, M or G for KiB, MiB, GiB."""
    match = re.fullmatch(r"([0-9]+)([KMG]?)", value, re.IGNORECASE)
    if not match:
        raise click.BadParameter(f"{value!r} is not a size such as 256K, 8M or 1048576")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


def _stack_size(value: str) -> int:
    from ..core import MIN_STACK

    size = _bytes(value)
    least = max(MIN_STACK, os.sysconf("SC_THREAD_STACK_MIN"))  # threading.stack_size() asks libc: 128K on aarch64
    if size < least:
        raise click.BadParameter(f"{value} is too small: a stack has at least {least >> 10}K")
    if size > 1 << 46:
        raise click.BadParameter(f"{value} is more than the address space has")
    return size


def _affinity(value: str) -> set[int]:
    from ..core import parse_cpus, placement

    try:
        placement.checked({"affinity": (cpus := parse_cpus(value))}, "")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return cpus


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: the names of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


_OF_PYTHON = frozenset("bBdEiIOPqRsStuvVWxX")  # options of python that `run` lacks


class _Run(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        alone = {name: option for option in self.params if isinstance(option, RunOption) for name in option.opts}
        for at in options_before(self, args):
            option = alone.get(args[at])
            if option and option.fits and not option.fits("".join(args[at + 1 : at + 2])):
                args[at] += f"={option.alone}"  # what follows is the program, or another option
            elif args[at].startswith(("-m", "-c")):
                args = end_options_after(args, at)
            elif args[at].startswith("-") and args[at][1:2] in _OF_PYTHON:
                after = at + (2 if args[at] in ("-W", "-X") else 1)
                command = shlex.join([*args[at:after], "-m", "runtime", "run", *args[:at], *args[after:]])
                raise click.UsageError(f"options of python go before: python {command}")
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("The program"):
            formatter.write_dl(_PROGRAMS)
        for heading in (MAKE, WATCH, DRAW):
            options = [option for option in self.params if getattr(option, "heading", "") == heading]
            with formatter.section(heading):
                formatter.write_dl(list(filter(None, (option.get_help_record(ctx) for option in options))))


#: What may be run, for the help.
_PROGRAMS = [
    ("SCRIPT", "A file, as python SCRIPT; a folder or zip file with a __main__.py, too."),
    ("-m MODULE", "A module, as python -m."),
    ("-c CODE", "This text, as python -c."),
    ("-", "What comes on standard input."),
]

_OPTIONS = (
    RunOption(
        "--green", heading=MAKE, is_flag=True, help="Green threads: many on few LWPs; one runs while the others wait."
    ),
    RunOption(
        "--lwps",
        heading=MAKE,
        needs="--green",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="How many LWPs, at least.",
    ),
    RunOption(
        "--time-slice",
        heading=MAKE,
        needs="--green",
        type=seconds(0.0001, zero=True),  # as Scheduler has it
        metavar="SECONDS",
        help="A green thread that computes or blocks in C for longer lets others go on (default 0.005; 0: never).",
    ),
    RunOption(
        "--stack-size", heading=MAKE, type=_stack_size, metavar="SIZE", help="Stack of each thread: 256K, 8M, or bytes."
    ),
    RunOption(
        "--affinity",
        heading=MAKE,
        type=_affinity,
        metavar="CPUS",
        help="On which CPUs all its threads may run, such as 0,2-3.",
    ),
    RunOption(
        "--nice",
        heading=MAKE,
        type=click.IntRange(-20, 19),
        metavar="N",
        help="How urgent its threads are: -20 (most) to 19 (least).",
    ),
    RunOption(
        "--children",
        heading=MAKE,
        is_flag=True,
        help="Also for the Python processes that it starts (without -S, -E, -I).",
    ),
)


@click.command(
    cls=_Run,
    params=[*_OPTIONS, *(option for tool in _TOOLS for option in tool.options)],
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
    short_help="Run a program, its threads made here.",
)
@click.option("-m", "module", metavar="MODULE")
@click.option("-c", "code", metavar="CODE")
@click.argument(
    "args",
    nargs=-1,
    type=click.UNPROCESSED,
    shell_complete=_complete,
    metavar="(SCRIPT | -m MODULE | -c CODE | -) [ARGS]",
)
def run(module: str | None, code: str | None, args: tuple[str, ...], **options: Any) -> Program:
    """Run an unmodified Python program; all threads that it starts are made here.

    threading.Thread, its subclasses and _thread.start_new_thread are replaced before the program begins. So thread
    pools, servers and timers use them too. Arguments, imports, tracebacks and the exit status are as with python. What
    follows SCRIPT, MODULE or CODE belongs to the program. Options of python go before: python -u -m runtime run x.py.

    --green puts its threads on few LWPs. They are switched in user space, where they wait. A thread that computes, or
    waits in C code, for longer than the time slice keeps its LWP, and the others go on on another LWP. --time-slice 0
    turns this off: then such a thread holds all others up. See docs/runtime/green.md.

    --affinity and --nice hold for the main thread too, and for the processes that it starts. A thread that asks for
    another placement (runtime.Thread) gets that. See docs/runtime/using.md.

    --children: Python processes that it starts get the runtime too, with --green, its time slice and the stack size.
    They learn it from the environment (LWP_CHILDREN). Forked children go on with the runtime in any case.

    --watchdog also reports threads that wait for each other in a circle while others go on. A program that waits for
    the network, a child process or a long sleep stands still too, so no report ends it: `timeout 60 lwp run --watchdog
    10 x.py` does. --stuck reports threads that get no further while others go on. Forked children are not watched.

    --locks counts, for each lock, condition, queue, semaphore, event, join and the GIL, how often and how long threads
    have waited, and which line has held a lock for longest. Forked children are not counted.

    --lock-order finds what could be a deadlock on another day: a thread took one lock, or waited for it, while it held
    a second one, and another thread took the two the other way round. It also tells a deadlock that is there at the
    end. See docs/lwp/observing-reference.md. Forked children are not looked at.

    --chaos has races show themselves more often, by at most half as much time again. A seed, which is printed with each
    failure, makes the same choices again. See docs/reliability.md. Forked children are not disturbed.

    --trace shows when each thread ran, waited for the GIL, or was blocked: on what, where, and which thread let it go
    on. It knows only what the runtime does; stock system calls are looked for every 20 ms. While the program runs, and
    after it was killed, the records are in FILE.records: see `lwp trace`, and `lwp record PID --last N`. The latest
    half a million are kept, a million with --last. Forked children are not traced.

    \b
    Examples:
      lwp run server.py --port 8000
      lwp run --report -m http.server 8000
      lwp run --watchdog 10 server.py
      lwp run -c 'import threading; print(threading.stack_size())'
    """
    if module is not None and code is not None:
        raise click.UsageError("-m and -c can't go together")
    for option in run.params:
        if isinstance(option, RunOption):
            option.check(options, sys.stderr)
    if options["children"] and not has_hook():
        raise click.UsageError(
            "--children needs the package installed by pip: found on PYTHONPATH, it has no start-up hook"
        )
    if module is not None:
        return Program("module", module, args, options)
    if code is not None:
        return Program("code", code, args, options)
    if not args:
        raise click.UsageError("what is to be run? Give SCRIPT, -m MODULE, -c CODE, or - for standard input")
    return Program("script", args[0], args[1:], options)
