"""While a program is explored: its threads on one scheduler, its time and its chance under control, and watched."""

from __future__ import annotations

import _queue
import _random
import gc
import os
import posix
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

from ... import native
from ...core import Scheduler, blocking_replaced, kept_open, printable, spawn
from ...reading.files import Choice, choosing
from ...reading.source import program_frames
from ..results import Unwound
from ..tasks.cancellation import says_that_it_struck
from .granularity import Look, Points
from .hand import take_in_hand
from .handlers import Handlers
from .numbers import Numbers
from .plans import RUN_COSTS, Ending, Made, Plan, Run, packed
from .quiet import Quiet, replace

LONGER = 10  #: times as many steps: what goes on for that long may be a livelock
_COLLECT_EVERY = 32  #: runs
#: Runs, first and at most. Without a GIL the collector has no generations, so that the cheap collection looks at all
#: objects too; there a collection that finds nothing has the next one wait twice as long.
_CLEAN_EVERY, _CLEAN_SELDOM = (1000, 8000) if "t" in sys.abiflags else (100, 100)
_GRACE = 1.0  # seconds that a thread is given to come to an end, once it was told to

#: Told at each point of a run: the thread's number, the kind of what comes next, its object, the run's clock.
Note = Callable[[int, int, object, float], None]


class Session:
    """Within a `with` a program is explored: run() is one run.

    RuntimeError: a program is explored in this process already, or the caller is a green thread.
    """

    def __init__(self, max_steps: int = 20_000, patience: float = 2.0, choice: Choice = ()) -> None:
        self.max_steps = max_steps
        self.until: float | None = None  #: by time.monotonic(): a run that has not ended by then is OUT_OF_TIME
        self.collects = False  #: whether what the test leaves to the garbage collector is collected, as it needs it
        self.patience = 0.0  #: seconds in earnest that a run gives files, and threads from before it, to wake its own
        self.longer = 1  #: times as many steps as usual that a run may take
        self.circles = False  #: whether threads that wait for each other end a run though others can go on
        self._undo = ExitStack()
        self.choice = choice
        self._points = Points(choice)
        self.watch = Watch(patience)
        self.quiet = Quiet()
        self._handlers = Handlers()
        self.numbers = Numbers()
        self._runs = 0
        self._clean_every = self._clean_at = _CLEAN_EVERY

    def __enter__(self) -> Session:
        with ExitStack() as undo:
            scheduler = Scheduler()
            undo.enter_context(blocking_replaced())
            stock = (_queue.SimpleQueue, _random.Random)
            native.explore_begin(scheduler, Unwound, threading.main_thread(), stock, (time, posix), random._inst)
            undo.callback(native.explore_end)
            undo.enter_context(choosing(self.choice))
            undo.enter_context(self._points)
            self.watch.begin()
            undo.callback(self.watch.end)
            replace(undo, threading, "excepthook", lambda before: _excepthook)
            undo.enter_context(self.numbers)
            undo.enter_context(self.quiet)
            undo.enter_context(self._handlers)
            if gc.isenabled():
                gc.disable()
                undo.callback(gc.enable)
            undo.callback(random.setstate, random.getstate())
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    @contextmanager
    def including(self, files: Iterable[str]) -> Iterator[None]:
        """Meanwhile their code is the program's, too. RuntimeError: CPython has no place left for its maps."""
        before = self.choice
        self.choice = (*before, *((file, True) for file in sorted(files)))
        self._points.choose(self.choice)
        try:
            with choosing(self.choice):
                yield
        finally:
            self.choice = before
            self._points.choose(before)

    @property
    def unswitched(self) -> set[str]:
        """Libraries whose code ran without points between bytecodes, though other code had some."""
        return self._points.unswitched

    def run(
        self,
        test: Callable[[], object],
        plan: Plan,
        note: Note | None = None,
        look: Look | None = None,
        most: int = 1,
        seconds: float = 0.0,
        run_seconds: float = 0.0,
    ) -> Run:
        """Runs the test once, or a plan's series: until a run fails, at most so many times, and no more after so many
        seconds. run_seconds: that a run may take after the first; 0: until `until`, as the first.

        A skip that the test raises comes out of here, and so does KeyboardInterrupt by Ctrl-C. The test's own
        KeyboardInterrupt is an exception as any other.
        """
        self._points.be(plan.granularity, look)
        self.quiet.before_runs(plan)
        self._before_run()
        more = None
        if (series := plan.series) is not None and most > 1:
            left = _COLLECT_EVERY - self._runs % _COLLECT_EVERY if self.collects else self._clean_at - self._runs
            more = (
                *(series.seeds, series.depths, series.odds, series.number),
                *(min(most, left), series.share, RUN_COSTS),
                *(time.monotonic_ns() + int(seconds * 1e9), int(run_seconds * 1e9), self._before_run),
            )
        settings = (
            *(plan.strategy, plan.seed & 0xFFFF_FFFF_FFFF_FFFF, plan.depth, plan.odds, plan.strikes, plan.length),
            *(self.max_steps, 2 * self.max_steps * self.longer, int(self.patience * 1e9), self.circles, plan.after),
            0 if self.until is None else int(self.until * 1e9),
        )
        take_in_hand(plan, self.max_steps)
        try:
            of_last, made = native.explore_run(test, settings, packed(plan.deviations), note, more)
        finally:
            take_in_hand(None)
        run = Run._make((*of_last, Made._make(made)))
        self._runs += run.made.runs
        # What a failed run has left, as a task in asyncio's set of all tasks, would give the next run other steps.
        if self._runs >= self._clean_at or run.failed:
            self._clean_every = _CLEAN_EVERY if gc.collect(0) else min(self._clean_every * 2, _CLEAN_SELDOM)
            self._clean_at = self._runs + self._clean_every
        if self.collects and self._runs % _COLLECT_EVERY == 0:
            gc.collect()
        if run.error is not None and _says_something_else(run.error):
            raise run.error
        if run.error is not None and run.cancelled and says_that_it_struck(run.error, run.cancelled == 2):
            return run._replace(ending=Ending.FINISHED, error=None)
        return run

    def _before_run(self) -> None:
        self.quiet.before_run()
        self._handlers.before_run()
        if "asyncio" in sys.modules:
            self.quiet.look()
        if "concurrent.futures" in sys.modules:
            self.numbers.look()
        if (sqlite := sys.modules.get("_sqlite3")) is not None:
            native.explore_sqlite(sqlite)  # does nothing from the second time on


def _says_something_else(error: BaseException) -> bool:
    """A skip of unittest's or pytest's."""
    return any(
        (cls.__module__, cls.__name__) in {("unittest.case", "SkipTest"), ("_pytest.outcomes", "Skipped")}
        for cls in type(error).__mro__
    )


def _excepthook(args: Any, /) -> None:
    if args.exc_type is not SystemExit:
        native.explore_report(args.exc_value if args.exc_value is not None else args.exc_type())


# ---- a thread that comes to no point: it computes for long, spins without an operation, or blocks in C code ----------


def _place(inner: FrameType | None) -> str:
    """Where the thread is: the program's line, and the library's function that it calls there."""
    frame = next(program_frames(inner), inner)
    if inner is None or frame is None:
        return "code that is not Python"
    text = f"{os.path.relpath(frame.f_code.co_filename)}:{frame.f_lineno} in {frame.f_code.co_name}"
    if inner is not frame:
        text += f" (in {inner.f_code.co_name} of {os.path.basename(inner.f_code.co_filename)})"
    return printable(text)


class _Signals:
    """The numbers of signals that come, as a file: Python code of an explored thread can't be told of Ctrl-C."""

    def __init__(self) -> None:
        self.fd = -1  #: it can be read without blocking; -1: the program has the one place for such a file
        self._undo = ExitStack()
        if threading.current_thread() is not threading.main_thread():
            return
        reads, writes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._undo.callback(_close, reads, writes)
        before = signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
        if before >= 0:
            signal.set_wakeup_fd(before)
            self.end()
            return
        self.fd = reads
        self._undo.callback(signal.set_wakeup_fd, -1)
        self._undo.enter_context(kept_open(reads, writes))

    def end(self) -> None:
        self._undo.close()


def _close(*fds: int) -> None:
    for fd in fds:
        with suppress(OSError):  # C code of a test may have closed it
            os.close(fd)


class Watch:
    """Looks at the running thread on an LWP of its own, between begin() and end().

    patience: seconds that a thread may take from one point to the next.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.place = ""  #: where the thread was that came to no point
        self.spins = False  #: the thread ended when it was told to, so it was in Python code
        self.what = ""  #: which of ENDS tells what the thread did there

    def begin(self) -> None:
        self._signals = _Signals()
        native.explore_watching(True)
        self._lwp = spawn(self._look)

    def end(self) -> None:
        native.explore_watching(False)
        self._lwp.join()
        self._signals.end()

    @property
    def ident(self) -> int:
        return self._lwp.ident

    def _look(self) -> None:
        while found := native.explore_watch(self.patience, self._signals.fd):
            ident, _, self.what, self.spins = found
            self.place = _place(native.current_frames().get(ident))
            native.explore_interrupt(ident if self.spins else 0)
            if self.spins and (native.explore_watch(_GRACE, -1) or ())[:2] == found[:2]:
                self.spins = False
                native.explore_escape()
