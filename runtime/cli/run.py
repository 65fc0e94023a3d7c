"""`run`: an unmodified program, with its threads on our LWPs.

sys.argv, sys.path, `__main__`, exit status and tracebacks are what Modules/main.c and runpy make them.  What
can still tell the difference: sys.orig_argv names us, and our frames lie below the program's first one, where
sys._getframe() finds them.
"""

from __future__ import annotations

import builtins
import os
import re
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

import click

import lwp_runtime

from ..patch.children import has_hook, pass_on
from ._program import end_options_after, forget_click, takes_value

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from ..placement import Placing

__all__ = ["Program", "run"]


@dataclass(frozen=True)
class Program:
    """What is to be run, and how."""

    kind: str  #: "script" (also a directory, a zip file, "-" for stdin), "module" or "code"
    what: str  #: the path, the module's name, the source text
    args: tuple[str, ...]
    stack_size: int | None  #: bytes for each thread; None leaves threading.stack_size() alone
    placing: Placing  #: of all its threads
    report: bool  #: figures on stderr at the end
    children: bool  #: the Python processes that it starts, too
    watchdog: float | None  #: seconds of standing still until that is told
    watchdog_exit: int | None  #: status with which that ends the process; None: it goes on
    live: bool  #: a table of its threads on the terminal
    trace: Path | None  #: file for a timeline
    trace_size: int | None  #: bytes for its records; None: recording.DEFAULT_SIZE
    lwps: int  #: green threads, on so many LWPs; 0: each thread has one of its own
    time_slice: float | None  #: seconds: Scheduler's; 0: it has none, None: install()'s

    def run(self) -> None:
        """Becomes the program.  Its exceptions, SystemExit among them, pass through to the interpreter."""
        if (self.kind, self.what) != ("module", "runtime"):  # which is loaded, with that click
            forget_click()
        _place(self.placing)
        _install(self.stack_size, self.report, self.children, self.lwps, self.time_slice)
        lwp_runtime.give_way()
        if self.live or self.watchdog is not None:
            _watch(self.live, self.watchdog, self.watchdog_exit)
        if self.trace is not None:
            _record(self.trace, self.trace_size, (self.what, *self.args))
        try:
            if self.kind == "module":
                _begin(("-m", *self.args), os.getcwd())
                _run_module(self.what)
            elif self.kind == "code":
                _run_source(self.what, "<string>", ("-c", *self.args))
            elif self.what == "-":
                _run_source(sys.stdin.buffer.read(), "<stdin>", ("-", *self.args))
            else:
                _run_script(self.what, self.args)
        except BaseException as error:
            _hide_frames(error)
            raise


def _place(placing: Placing) -> None:
    """Threads and processes have their creator's placement: so the calling thread's is that of all others."""
    import threading

    if not placing:
        return
    from ..placement import Placement

    try:
        Placement(threading.main_thread()).update(**placing)
    except OSError as error:
        print(f"lwp: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def _install(stack_size: int | None, report: bool, children: bool, lwps: int, time_slice: float | None) -> None:
    import atexit
    import threading

    from .. import patch
    from ..statistics import measure

    if stack_size is not None:
        threading.stack_size(stack_size)
    if report:
        global _begun
        _begun = time.monotonic()
        measure(True)
        pid = os.getpid()
        # Registered first, so called after the program's own.  A child that it forked is no business of ours.
        atexit.register(lambda: _print_report() if os.getpid() == pid else None)
    if children:
        pass_on(stack_size, lwps, time_slice)
    given = {} if time_slice is None else {"time_slice": time_slice or None}
    patch.install(green=lwps > 0, lwps=lwps or 1, **given)
    if lwps:
        from ..patch.streams import reopen_stdin

        reopen_stdin()


def _watch(live: bool, patience: float | None, status: int | None) -> None:
    import atexit
    import threading

    from .. import native, thread
    from ..observe.watchdog import Watchdog, teller

    # The program may close or replace sys.stderr, and the descriptor too.
    fd = os.dup(sys.stderr.fileno())
    tell = teller(fd)
    tick = look = None
    if live:
        from ._live import View, note_starts

        view = View(fd)
        tick, tell = view.refresh, view.tell
        for cls in (threading.Thread, thread.Thread):
            note_starts(cls)
        view.start()
        atexit.register(view.stop)
    if patience is not None:
        look = Watchdog(patience, tell).look
    every = 0.5 if patience is None else min(patience / 4, 0.5)
    native.watch_start(tick, look, every, patience or 0.0, -1 if status is None else status, fd)
    atexit.register(native.watch_stop)


# ---- as Modules/main.c does ------------------------------------------------------------------------------------------


# An interpreter that runs a file only borrows the names of its `__main__`, and writes there when it has printed the
# traceback (_PyRun_SimpleFileObject).
_first_main = sys.modules["__main__"]


def _new_main(**names: object) -> ModuleType:
    """A fresh sys.modules["__main__"] with what is in it before the first line of a program."""
    main = ModuleType("__main__")
    if "__annotations__" in vars(sys.modules["__main__"]):  # the interpreter's own has it up to some version
        main.__annotations__ = {}
    vars(main).update(__builtins__=builtins, **names)
    sys.modules["__main__"] = main
    return main


def _begin(argv: tuple[str, ...], path0: str) -> None:
    sys.argv[:] = argv
    if not sys.flags.safe_path:  # else there is no such entry
        sys.path[0] = path0


def _run_source(source: str | bytes, filename: str, argv: tuple[str, ...]) -> None:
    from importlib.machinery import BuiltinImporter

    _begin(argv, "")
    main = _new_main(__loader__=BuiltinImporter)
    if isinstance(source, bytes):
        vars(main).update(__file__=filename, __cached__=None)
    code = compile(source, filename, "exec", dont_inherit=True)
    if isinstance(source, str) and sys.version_info >= (3, 13):  # tracebacks show the lines of -c
        import linecache

        # Filed by code object, in 3.13.0 by name.
        key = code if hasattr(linecache, "_interactive_cache") else filename
        linecache._register_code(key, source, filename)  # type: ignore[attr-defined]
    exec(code, vars(main))


def _run_script(path: str, args: tuple[str, ...]) -> None:
    from importlib.machinery import SourceFileLoader, SourcelessFileLoader
    from pkgutil import get_importer, read_code

    full = os.path.join(os.getcwd(), path)
    if get_importer(full) is not None:  # a directory or a zip file: its __main__.py
        _begin((path, *args), full)
        if sys.flags.safe_path:
            sys.path.insert(0, full)
        return _run_module("__main__", alter_argv=False)
    code: CodeType | None
    try:
        with open(path, "rb") as file:
            code = read_code(file)  # a .pyc file
            file.seek(0)
            source = b"" if code else file.read()
    except OSError as error:
        print(f"lwp: can't open file {full!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        sys.exit(2)
    _begin((path, *args), os.path.dirname(os.path.realpath(path)))
    loader = SourcelessFileLoader if code else SourceFileLoader
    main = _new_main(__loader__=loader("__main__", full), __file__=full, __cached__=None)
    exec(code or compile(source, full, "exec", dont_inherit=True), vars(main))


def _run_module(name: str, alter_argv: bool = True) -> None:
    import runpy
    from importlib.machinery import BuiltinImporter

    _new_main(__loader__=BuiltinImporter)
    runpy._run_module_as_main(name, alter_argv)  # type: ignore[attr-defined]


def _hide_frames(error: BaseException) -> None:
    """Sees to it that the traceback of the program's exception will begin in the program.

    The exception goes on up to the interpreter, which knows best what to do with it: SystemExit has its
    statuses, KeyboardInterrupt ends the process by SIGINT after everything else.
    """
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
        traceback = traceback.tb_next
    hook = getattr(sys, "excepthook", sys.__excepthook__)  # the program's, if it has set one

    def excepthook(kind: type[BaseException], value: BaseException, _: TracebackType | None) -> None:
        sys.excepthook = hook
        sys.last_traceback = traceback
        hook(kind, value.with_traceback(traceback), traceback)

    if not isinstance(error, SystemExit):
        sys.excepthook = excepthook
    global _interrupted
    _interrupted = type(error) is KeyboardInterrupt


# ---- --report --------------------------------------------------------------------------------------------------------


_begun = 0.0
_interrupted = False  # the program was ended by a KeyboardInterrupt


def _note_interrupt() -> None:
    """Has the interpreter remember that a KeyboardInterrupt came through, to end the process by SIGINT.

    It remembers only the last piece of source text that it ran, and importing rich has run some (namedtuple).
    """

    def interrupt() -> None:
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        eval("interrupt()", {"interrupt": interrupt})


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value * 1e6:.1f} µs"


def _add_process(table: Any) -> None:
    """What can be compared with a run on other threads."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    table.add_section()
    table.add_row("switches by the kernel", f"{used.ru_nvcsw + used.ru_nivcsw:,}")
    table.add_row("CPU time of the process", _seconds(used.ru_utime + used.ru_stime))
    table.add_row("most memory", f"{used.ru_maxrss / 1024:,.1f} MiB")
    table.add_row("time", _seconds(time.monotonic() - _begun))


def _add_groups(table: Any) -> None:
    """What ended before its time, and why."""
    from ..observe.groups import counts, latest

    if counts.groups:
        table.add_row("groups", f"{counts.groups:,}")
        table.add_row("their tasks", f"{counts.tasks:,}")
        table.add_row("of them cancelled", f"{counts.cancelled:,}")
    if counts.calls:
        table.add_row("calls of executors that were cancelled", f"{counts.calls:,}")
    for whom, why in latest:
        table.add_row(f"cancelled: {whom}", why)


def _print_report() -> None:
    from rich.console import Console
    from rich.table import Table

    from .. import placement, scheduler

    found = scheduler.statistics()
    table = Table(title="Threads made by lwp", title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("threads started", f"{found.started:,}")
    table.add_row("most alive at once", f"{found.peak:,}")
    green = scheduler.green_statistics()
    if green.started:
        table.add_row("of them green", f"{green.started:,}")
        table.add_row("switches from one to another", f"{green.switches:,}")
        table.add_row("times that none could go on", f"{green.sleeps:,}")
    if found.measured:
        table.add_row("start latency, p50", _seconds(found.latency_p50))
        table.add_row("start latency, p99", _seconds(found.latency_p99))
        table.add_row("CPU time of those that ended", _seconds(found.cpu))
        table.add_row("voluntary switches", f"{found.voluntary:,}")
        table.add_row("involuntary switches", f"{found.involuntary:,}")
        table.add_row("stack used, deepest", f"{found.stack_used / 1024:,.1f} KiB")
    _add_groups(table)
    if births := placement.births():
        table.add_row("placed at their birth", births)
    _add_process(table)
    table.add_row("the main thread runs on", placement.described(os.getpid()))
    if found.alive:
        table.caption = f"{found.alive:,} still alive: only their start is counted"
    if sys.__stderr__ is not None:
        Console(file=sys.__stderr__).print(table)
    if _interrupted:
        _note_interrupt()


# ---- --trace ---------------------------------------------------------------------------------------------------------


def _record(file: Path, size: int | None, arguments: tuple[str, ...]) -> None:
    import atexit

    from ..observe import recording

    file = file.absolute()
    records = file.with_name(file.name + ".records")
    try:
        recording.record(records, size or recording.DEFAULT_SIZE, arguments)
    except OSError as error:
        print(f"lwp: can't record to {records}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    pid = os.getpid()
    atexit.register(lambda: _make_timeline(records, file) if os.getpid() == pid else None)


def _make_timeline(records: Path, file: Path) -> None:
    """Does it in another process: what the program has made of this one doesn't matter there."""
    import subprocess

    from ..observe import recording
    from ..patch import children

    recording.stop()
    environment = {name: os.environ[name] for name in os.environ if name != children.CHILDREN}
    environment["PYTHONPATH"] = children.python_path()
    command = [sys.executable, "-P", "-m", "runtime", "trace", str(records), str(file)]
    if subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, check=False).returncode == 0:
        records.unlink()


# ---- the command -----------------------------------------------------------------------------------------------------


def _bytes(value: str) -> int:
    """A number, also with K, M or G for KiB, MiB, GiB."""
    match = re.fullmatch(r"([0-9]+)([KMG]?)", value, re.IGNORECASE)
    if not match:
        raise click.BadParameter(f"{value!r} is not a size such as 256K, 8M or 1048576")
    return int(match[1]) << {"": 0, "K": 10, "M": 20, "G": 30}[match[2].upper()]


def _stack_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    from ..lwp import MIN_STACK

    size = _bytes(value)
    if size < MIN_STACK:
        raise click.BadParameter(f"{value} is too small: a stack has at least {MIN_STACK >> 10}K")
    if size > 1 << 46:
        raise click.BadParameter(f"{value} is more than the address space has")
    return size


def _affinity(ctx: click.Context, param: click.Parameter, value: str | None) -> set[int] | None:
    if value is None:
        return None
    from ..placement import packed, parse_cpus

    try:
        packed({"affinity": (cpus := parse_cpus(value))}, "")
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    return cpus


def _seconds_from(
    least: float, *others: float
) -> Callable[[click.Context, click.Parameter, float | None], float | None]:
    also = "".join(f"{other:g} or " for other in others)

    def checked(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
        if value is not None and value not in others and not least <= value <= 1e6:  # NaN, too, is not
            raise click.BadParameter(f"{value:g} is not {also}a number of seconds from {least:g} to 1e6")
        return value

    return checked


def _trace_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    size = _bytes(value)
    if not 1 << 16 <= size <= 1 << 40:
        raise click.BadParameter(f"{value} is not between 64K and 1024G")
    return size


def _trace_file(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix not in (".json", ".svg", ".html"):
        raise click.BadParameter(f"{value}: what is it to be? Name it .json (Perfetto), .svg or .html")
    return value


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """For the shell: the names of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


_OF_PYTHON = "bBdEiIOPqRsStuvVWxX"  # options that python has, and `run` has not


class _Run(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        with_value, at = takes_value(self), 0
        while at < len(args) and args[at].startswith("-") and args[at] not in ("-", "--"):
            if args[at].startswith(("-m", "-c")):
                args = end_options_after(args, at)
                break
            if args[at][1] in _OF_PYTHON:
                after = at + (2 if args[at] in ("-W", "-X") else 1)
                command = shlex.join([*args[at:after], "-m", "runtime", "run", *args[:at], *args[after:]])
                raise click.UsageError(f"options of python go before: python {command}")
            at += 2 if args[at] in with_value else 1
        return super().parse_args(ctx, args)


@click.command(
    cls=_Run,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
    short_help="Run a program, its threads made here.",
)
@click.option("--green", is_flag=True, help="Green threads: on few LWPs, each runs while the others wait.")
@click.option("--lwps", type=click.IntRange(1, 1024), metavar="N", help="On how many, at least.")
@click.option(
    "--time-slice",
    type=float,
    callback=_seconds_from(0.0001, 0),  # as Scheduler has it
    metavar="SECONDS",
    help="One that computes or blocks in C for longer lets others have their turn (default 0.005; 0: never).",
)
@click.option("--stack-size", callback=_stack_size, metavar="SIZE", help="Stack of each thread: 256K, 8M, or bytes.")
@click.option(
    "--affinity", callback=_affinity, metavar="CPUS", help="On which CPUs all its threads may run, such as 0,2-3."
)
@click.option(
    "--nice", type=click.IntRange(-20, 19), metavar="N", help="How urgent they all are: -20 (most) to 19 (least)."
)
@click.option("--report", is_flag=True, help="At the end, say on stderr what the threads did and cost.")
@click.option(
    "--watchdog",
    type=float,
    callback=_seconds_from(0.1),
    metavar="SECONDS",
    help="When nothing has moved for so long, say on stderr who waits for what, and all stacks.",
)
@click.option(
    "--watchdog-exit",
    type=click.IntRange(1, 255),
    metavar="STATUS",
    help="And then end the program with this exit status, at once.",
)
@click.option("--live", is_flag=True, help="Show its threads on the terminal (stderr) while it runs.")
@click.option("--children", is_flag=True, help="Also for the Python processes that it starts (without -S).")
@click.option(
    "--trace",
    callback=_trace_file,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="At the end, write a timeline: .html is a page, .svg a picture, .json for Perfetto.",
)
@click.option(
    "--trace-size",
    callback=_trace_size,
    metavar="SIZE",
    help="Bytes for its records (default 16M: half a million). The latest are kept.",
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
def run(
    green: bool,
    lwps: int | None,
    time_slice: float | None,
    stack_size: int | None,
    affinity: set[int] | None,
    nice: int | None,
    report: bool,
    watchdog: float | None,
    watchdog_exit: int | None,
    live: bool,
    children: bool,
    trace: Path | None,
    trace_size: int | None,
    module: str | None,
    code: str | None,
    args: tuple[str, ...],
) -> Program:
    """Run an unmodified Python program; all threads that it starts are made here.

    threading.Thread, its subclasses and _thread.start_new_thread are replaced before the program begins. So thread
    pools, servers and timers use them too. Arguments, imports, tracebacks and the exit status are as with python. What
    follows SCRIPT, MODULE or CODE belongs to the program. Options of python go before: python -u -m runtime run x.py.

    --green puts its threads on few LWPs. They are switched in user space, where they wait. A thread that computes, or
    waits in C code, for longer than the time slice keeps its LWP, and the others go on on another one. --time-slice 0
    turns this off: then such a thread holds all others up. See docs/green.md.

    --affinity and --nice hold for the main thread too, and for the processes that it starts. A thread that asks for
    another placement (runtime.Thread) gets that. See docs/placement.md.

    --children: Python processes that it starts get the runtime too, with --green and the stack size. They learn it
    from the environment (LWP_CHILDREN). Forked children go on with the runtime in any case.

    --watchdog also tells of threads that wait for each other in a circle while others go on. A program that waits for
    the network, a child process or a long sleep stands still too. Forked children are not watched.

    --live shows each thread's name, tid and state, what it waits for, who holds that, where it is, and its CPU time.
    The table is drawn twice a second; seldom, if many threads make that dear.

    --trace shows when each thread ran, waited for the GIL, or was blocked: on what, where, and who let it go on. It
    knows only what the runtime does; stock system calls are looked for every 20 ms. While the program runs, and after
    it was killed, the records are in FILE.records: see `lwp trace`. Forked children are not traced.

    \b
    Examples:
      lwp run server.py --port 8000
      lwp run --report -m http.server 8000
      lwp run --watchdog 10 server.py
      lwp run -c 'import threading; print(threading.stack_size())'
    """
    if module is not None and code is not None:
        raise click.UsageError("-m and -c can't go together")
    if lwps is not None and not green:
        raise click.UsageError("--lwps is for --green")
    if time_slice is not None and not green:
        raise click.UsageError("--time-slice is for --green")
    if children and not has_hook():
        raise click.UsageError(
            "--children needs the package installed by pip: found on PYTHONPATH, it has no start-up hook"
        )
    if live and (
        sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    ):
        raise click.UsageError("--live needs a terminal on standard error, with its kind in TERM")
    if watchdog is not None and sys.stderr is None:
        raise click.UsageError("--watchdog tells on standard error, and that is closed")
    if watchdog_exit is not None and watchdog is None:
        raise click.UsageError("--watchdog-exit is for --watchdog")
    if trace_size is not None and trace is None:
        raise click.UsageError("--trace-size is for --trace")
    lwps = (lwps or 1) if green else 0
    placing: Placing = {}
    if affinity is not None:
        placing["affinity"] = affinity
    if nice is not None:
        placing["nice"] = nice
    options = (
        stack_size,
        placing,
        report,
        children,
        watchdog,
        watchdog_exit,
        live,
        trace,
        trace_size,
        lwps,
        time_slice,
    )
    if module is not None:
        return Program("module", module, args, *options)
    if code is not None:
        return Program("code", code, args, *options)
    if not args:
        raise click.UsageError("what is to be run? Give SCRIPT, -m MODULE, -c CODE, or - for standard input")
    return Program("script", args[0], args[1:], *options)
