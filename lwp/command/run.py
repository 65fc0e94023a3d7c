"""`run`: an unmodified program, with its threads on our LWPs."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import lwp_runtime

from ..core import has_hook, pass_on
from ..terminal.options import file_option, seconds, speedscope_option, timeline_file
from ..terminal.program import end_options_after, forget_click, options_before

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class Program(NamedTuple):
    """What is to be run, and how."""

    kind: str  #: "script" (also a directory, a zip file, "-" for stdin), "module" or "code"
    what: str  #: the path, the module's name, the source text
    args: tuple[str, ...]
    green: bool  #: green threads; otherwise each thread has an LWP of its own
    lwps: int | None  #: which carry green threads; None: 1
    time_slice: float | None  #: seconds: Scheduler's; 0: it has none, None: install()'s
    stack_size: int | None  #: bytes for each thread; None leaves threading.stack_size() alone
    affinity: set[int] | None  #: the CPUs of all its threads
    nice: int | None  #: of all its threads
    report: bool  #: figures on stderr at the end
    children: bool  #: also the Python processes that it starts
    watchdog: float | None  #: seconds for which it stands still before a report
    watchdog_exit: int | None  #: status with which such a report ends the process; None: it goes on
    stuck: float | None  #: seconds for which a thread waits for a lock before a report
    trace: Path | None  #: file for a timeline
    trace_size: int | None  #: bytes for its records; None: recording.DEFAULT_SIZE
    recorder: bool  #: the latest records, for `lwp record`
    recorder_on: frozenset[str]  #: when a timeline of them is made by itself: _recorder.REASONS
    recorder_size: int | None  #: bytes for them; None: _recorder.DEFAULT_SIZE
    recorder_to: Path | None  #: folder for these timelines; None: the current one
    locks: bool  #: a table, at the end, of what threads have waited for
    locks_json: Path | None  #: file for the facts of that table
    speedscope: Path | None  #: file for the stacks of waits and holds
    lock_order: bool  #: a report, at the end, of locks taken in both orders
    lock_order_exit: int | None  #: exit status if there are such locks and it would be 0
    chaos: int | None  #: seed of what holds threads for a moment; None: nothing does
    chaos_tasks: bool | None  #: loops of asyncio run what is ready in any order

    def prepare(self) -> None:
        """Has the program's threads made here, and begins what goes on beside it; run_main() comes next."""
        if self.kind != "module" or self.what not in ("lwp", "runtime"):  # it is loaded, with the click that it uses
            forget_click()
        self._place()
        self._begin_asked_by_environment()
        self._install()
        lwp_runtime.give_way()
        if self.recorder:
            self._begin_recorder()
        if self._watches():
            self._watch()
        if self.locks or self.locks_json or self.speedscope:
            from ..observe.commands._locks import Files, begin

            begin(self.locks, Files(self.locks_json, self.speedscope), self.what)
        if self.lock_order:
            from ..observe.commands._lock_order import watch_order

            watch_order(self.lock_order_exit)
        if self.trace is not None:
            from ..observe.commands._trace import record

            record(self.trace, self.trace_size, (self.what, *self.args))
        if self.chaos is not None:
            from ..chaos.command import begin as begin_chaos

            begin_chaos(self.chaos, bool(self.chaos_tasks))

    def _watches(self) -> bool:
        return self.watchdog is not None or self.stuck is not None or "deadlock" in self.recorder_on

    def _watch(self) -> None:
        patience, then = self.watchdog, None
        if "deadlock" in self.recorder_on:
            from ..observe.commands import _recorder

            patience, then = patience or _recorder.PATIENCE, _recorder.note_deadlock
        _watch(patience, self.watchdog_exit, self.stuck, then)

    def _begin_recorder(self) -> None:
        from ..observe.commands import _recorder

        folder = Path(self.recorder_to or ".").absolute()
        _recorder.begin(self.recorder_on, folder, self.recorder_size, (self.what, *self.args))

    def _begin_asked_by_environment(self) -> None:
        from ..observe import environment

        watches = (environment.WATCHDOG, environment.STUCK) if self._watches() else ()
        records = () if self.trace is None and not self.recorder else (environment.TRACE,)
        try:
            environment.begin(*watches, *records)
        except (ValueError, RuntimeError, OSError) as error:
            print(f"lwp: {error}", file=sys.stderr)
            sys.exit(2)

    def _place(self) -> None:
        """Places the calling thread, because threads and processes have their creator's placement."""
        import threading

        if self.affinity is None and self.nice is None:
            return
        from ..core import Placement

        try:
            Placement(threading.main_thread()).update(affinity=self.affinity, nice=self.nice)
        except OSError as error:
            print(f"lwp: {error.strerror}", file=sys.stderr)
            sys.exit(2)

    def _install(self) -> None:
        import threading

        from ..core import patch
        from ..observe.listening import listen_for_tool

        lwps = (self.lwps or 1) if self.green else 0
        if self.stack_size is not None:
            threading.stack_size(self.stack_size)
        if self.report:
            from ..observe.commands._report import begin

            begin()
        if self.children:
            pass_on(self.stack_size, lwps, self.time_slice)
        given = {} if self.time_slice is None else {"time_slice": self.time_slice or None}
        patch.install(green=self.green, lwps=lwps or 1, **given)
        listen_for_tool()
        if self.green:
            from ..core import reopen_stdin

            reopen_stdin()


def _watch(
    patience: float | None,
    status: int | None,
    stuck: float | None,
    then: Callable[[], object] | None,
) -> None:
    import atexit

    from .. import native
    from ..observe.watchdog import Watchdog
    from ..terminal.telling import teller

    # The program may close or replace sys.stderr, and the descriptor too.
    fd = os.dup(sys.stderr.fileno())
    Watchdog(patience, teller(fd), stuck=stuck, then=then).begin(fd, status)
    atexit.register(native.watch_stop)


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


def _size_between(least: str, most: str) -> Callable[[str], int]:
    def checked(value: str) -> int:
        size = _bytes(value)
        if not _bytes(least) <= size <= _bytes(most):
            raise click.BadParameter(f"{value} is not between {least} and {most}")
        return size

    return checked


def _reasons(value: str) -> frozenset[str]:
    from ..observe.commands._recorder import REASONS

    if unknown := set(said := value.split(",")) - set(REASONS):
        raise click.BadParameter(f"{', '.join(sorted(map(repr, unknown)))} is not among {', '.join(REASONS)}")
    return frozenset(said)


def _seed(value: str) -> int:
    from ..chaos.chaos import any_seed

    if value != "any" and not (value.isascii() and value.isdecimal()):
        raise click.BadParameter(f"{value!r} is no seed, a number such as 7")
    return any_seed() if value == "any" else int(value)


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: the names of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


_OF_PYTHON = frozenset("bBdEiIOPqRsStuvVWxX")  # options of python that `run` lacks


class _Run(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        for at in options_before(self, args):
            if args[at] == "--chaos" and not "".join(args[at + 1 : at + 2]).isdecimal():
                args[at] = "--chaos=any"
            elif args[at].startswith(("-m", "-c")):
                args = end_options_after(args, at)
            elif args[at].startswith("-") and args[at][1:2] in _OF_PYTHON:
                after = at + (2 if args[at] in ("-W", "-X") else 1)
                command = shlex.join([*args[at:after], "-m", "runtime", "run", *args[:at], *args[after:]])
                raise click.UsageError(f"options of python go before: python {command}")
        return super().parse_args(ctx, args)


#: What is of use only with another option.
_NEEDS = {
    "lwps": "green",
    "time_slice": "green",
    "watchdog_exit": "watchdog",
    "lock_order_exit": "lock_order",
    "chaos_tasks": "chaos",
    "trace_size": "trace",
    "recorder_size": "recorder",
    "recorder_to": "recorder_on",
}


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


@click.command(
    cls=_Run,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
    short_help="Run a program, its threads made here.",
)
@click.option("--green", is_flag=True, help="Green threads: many on few LWPs; one runs while the others wait.")
@click.option("--lwps", type=click.IntRange(1, 1024), metavar="N", help="How many LWPs, at least.")
@click.option(
    "--time-slice",
    type=seconds(0.0001, zero=True),  # as Scheduler has it
    metavar="SECONDS",
    help="A green thread that computes or blocks in C for longer lets others go on (default 0.005; 0: never).",
)
@click.option("--stack-size", type=_stack_size, metavar="SIZE", help="Stack of each thread: 256K, 8M, or bytes.")
@click.option(
    "--affinity", type=_affinity, metavar="CPUS", help="On which CPUs all its threads may run, such as 0,2-3."
)
@click.option(
    "--nice", type=click.IntRange(-20, 19), metavar="N", help="How urgent its threads are: -20 (most) to 19 (least)."
)
@click.option("--report", is_flag=True, help="At the end, say on stderr what the threads did and cost.")
@click.option(
    "--watchdog",
    type=seconds(0.1),
    metavar="SECONDS",
    help="When it stands still for so long, say on stderr what each thread waits for, and all stacks.",
)
@click.option(
    "--watchdog-exit",
    type=click.IntRange(1, 255),
    metavar="STATUS",
    help="After that report end the program with this exit status, at once.",
)
@click.option(
    "--stuck",
    type=seconds(0.1),
    metavar="SECONDS",
    help="When threads have waited for one lock for so long, say on stderr which thread holds it since which line.",
)
@click.option(
    "--locks", is_flag=True, help="At the end, say on stderr for which locks and the like threads have waited how long."
)
@file_option("--locks-json", "locks_json", "Write the facts of that table as JSON.")
@speedscope_option
@click.option(
    "--lock-order",
    is_flag=True,
    help="At the end, say on stderr which locks were taken both ways round, so that threads may deadlock.",
)
@click.option(
    "--lock-order-exit",
    type=click.IntRange(1, 255),
    metavar="STATUS",
    help="If there are such locks, the program's exit status where it would be 0.",
)
@click.option(
    "--chaos",
    type=_seed,
    metavar="[SEED]",
    help="Hold threads for a moment where it may matter; if it fails, say on stderr which and where.",
)
@click.option("--chaos-tasks", is_flag=True, default=None, help="Loops of asyncio run what is ready in any order, too.")
@click.option("--children", is_flag=True, help="Also for the Python processes that it starts (without -S, -E, -I).")
@click.option(
    "--trace",
    callback=timeline_file,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="At the end, write a timeline: .html is a page, .svg a picture, .json for Perfetto.",
)
@click.option(
    "--trace-size",
    type=_size_between("64K", "1024G"),
    metavar="SIZE",
    help="Bytes for its records (default 16M: half a million). The latest are kept.",
)
@click.option("--recorder", is_flag=True, help="Keep the latest records, for `lwp record PID --last SECONDS`.")
@click.option(
    "--recorder-size",
    type=_size_between("1M", "64M"),
    metavar="SIZE",
    help="Bytes for them (default 32M: a million; at most 64M).",
)
@click.option(
    "--recorder-on",
    type=_reasons,
    metavar="WHY[,WHY]",
    help="Also make a timeline of them on: deadlock, signal (that kills it), exception (that ends a thread).",
)
@click.option(
    "--recorder-to",
    type=click.Path(exists=True, file_okay=False, writable=True, path_type=Path),
    metavar="FOLDER",
    help="Folder for these timelines (default: the current one).",
)
@click.option("-m", "module", metavar="MODULE", help="Run a module, as python -m.")
@click.option("-c", "code", metavar="CODE", help="Run this text, as python -c.")
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
    the network, a child process or a long sleep stands still too. --stuck reports threads that get no further while
    others go on. Forked children are not watched.

    --locks counts, for each lock, condition, queue, semaphore, event, join and the GIL, how often and how long threads
    have waited, and which line has held a lock for longest. --speedscope writes where they waited and held, with or
    without --locks. Forked children are not counted.

    --lock-order finds what could be a deadlock on another day: a thread took one lock, or waited for it, while it held
    a second one, and another thread took the two the other way round. It also tells a deadlock that is there at the
    end. See docs/lwp/observing.md. Forked children are not looked at.

    --chaos has races show themselves more often, by at most half as much time again. A seed, which is printed with each
    failure, makes the same choices again. See docs/reliability.md. Forked children are not disturbed.

    --trace shows when each thread ran, waited for the GIL, or was blocked: on what, where, and which thread let it go
    on. It knows only what the runtime does; stock system calls are looked for every 20 ms. While the program runs, and
    after it was killed, the records are in FILE.records: see `lwp trace`. Forked children are not traced.

    --recorder keeps as much of that as its size allows, at a third of the cost. When the program has ended in order
    nothing is left of it. --recorder-on makes lwp-PID-WHY.html of the last 30 s; a signal that kills the program leaves
    lwp-PID.records, for `lwp trace`. "deadlock" is a report of --watchdog, after 10 s unless that says otherwise.

    \b
    Examples:
      lwp run server.py --port 8000
      lwp run --report -m http.server 8000
      lwp run --watchdog 10 server.py
      lwp run -c 'import threading; print(threading.stack_size())'
    """
    if module is not None and code is not None:
        raise click.UsageError("-m and -c can't go together")
    options["recorder_on"] = options["recorder_on"] or frozenset()
    options["recorder"] = options["recorder"] or bool(options["recorder_on"])
    for name, needed in _NEEDS.items():
        if options[name] is not None and options[needed] in (None, False, frozenset()):
            raise click.UsageError(f"{_option(name)} is for {_option(needed)}")
    if options["recorder"] and options["trace"] is not None:
        raise click.UsageError("--trace records everything that --recorder does: `lwp record` reads either")
    if options["children"] and not has_hook():
        raise click.UsageError(
            "--children needs the package installed by pip: found on PYTHONPATH, it has no start-up hook"
        )
    for name in ("watchdog", "stuck", "locks", "lock_order", "chaos", "recorder_on"):
        if sys.stderr is None and options[name] not in (None, False, frozenset()):
            raise click.UsageError(f"{_option(name)} reports on standard error, which is closed")
    if module is not None:
        return Program("module", module, args, **options)
    if code is not None:
        return Program("code", code, args, **options)
    if not args:
        raise click.UsageError("what is to be run? Give SCRIPT, -m MODULE, -c CODE, or - for standard input")
    return Program("script", args[0], args[1:], **options)
