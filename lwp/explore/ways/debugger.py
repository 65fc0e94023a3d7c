"""`--replay TOKEN --pdb`: a schedule is run once more, with prompts of pdb in its threads.

There is one before the last switch that differs from the usual schedule, in the thread that is about to be stopped;
one at each breakpoint(); and one where the run fails. While a prompt is there the run stands still, its clock too, and
what the debugger does is no operation of the program's.
"""

from __future__ import annotations

import bdb
import contextlib
import functools
import pdb
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from traceback import walk_stack
from types import FrameType
from typing import Any

from ... import native
from ...core import printable
from ...reading.files import is_program
from ..choice import choice_for, names_of
from ..run.plans import Ending, Kind, Plan, Run, State
from ..run.quiet import replace
from ..run.session import LONGER, Session
from ..tasks.tasks import frames_of
from ..telling.recorder import Recorder
from ..telling.story import Story
from ..telling.words import at, deviation, headline, of_error, stopped, waiting
from ..tokens import read_token
from .targets import of_program

_NEVER = -1  # bdb's stoplineno after `continue`
_PATIENCE = 1e6  # seconds that a prompt may take
_IN_VAIN = (Ending.DEADLOCK, Ending.LEFT_BEHIND, Ending.LIMIT)


def debug(
    test: Callable[[], object],
    token: str,
    *,
    max_steps: int = 20_000,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> None:
    """Runs test() under the schedule of a token, as replay() does, with prompts on standard input and output."""
    plan = read_token(token).plan
    choice = choice_for(test, names_of("include", include), names_of("exclude", exclude))
    with Session(max_steps, patience=_PATIENCE, choice=choice) as session:
        session.longer = LONGER
        with without_breakpoints():
            session.run(test, Plan(granularity=plan.granularity))  # as in replay(): imports
            prompts = _Prompts(_stops(session, test, plan))
        with contextlib.ExitStack() as undo:
            replace(undo, sys, "breakpointhook", lambda before: prompts.at_breakpoint)
            replace(undo, threading, "excepthook", lambda before: functools.partial(prompts.failed, before))
            session.run(functools.partial(prompts.call, test), plan, prompts.note)


@contextlib.contextmanager
def without_breakpoints() -> Iterator[None]:
    """breakpoint() does nothing, because the runs before the one with prompts are none of the user's."""
    with contextlib.ExitStack() as undo:
        replace(undo, sys, "breakpointhook", lambda before: lambda *args, **kwargs: None)
        yield


def _stops(session: Session, test: Callable[[], object], plan: Plan) -> dict[int, str]:
    """Before which notes of the run there is to be a prompt, and what is said there."""
    steps: list[int] = []
    threads: list[int] = []
    recorder = Recorder()

    def note(thread: int, kind: int, object: object, now: float) -> None:
        if not native.explore_unwinding():
            steps.append(native.explore_look()[1])
            threads.append(thread)
            recorder.note(thread, kind, object, now, sys._getframe(1))

    run = session.run(test, plan, note)
    story = recorder.finish(run)
    stops = {}
    if run.ending in _IN_VAIN and steps:
        stops[len(steps) - 1] = f"its next step is the last; {headline(story)}"
    if (last := next((event for event in reversed(story.events) if event.instead_of is not None), None)) is not None:
        before = [number for number, step in enumerate(steps) if step <= last.at]
        if last.instead_of is not None and story.share(last.thread, last.instead_of):  # a task that already waits
            before = [number for number in before if threads[number] == last.instead_of]
        number = max(before, default=None)
        if number is not None:
            stops[number] = deviation(story, last)
    return stops


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """What is done is no operation of the program's."""
    before = native.explore_silence(True)
    try:
        yield
    finally:
        native.explore_silence(before)


class _Prompts:
    def __init__(self, stops: dict[int, str]) -> None:
        self._stops = stops
        self._notes = 0
        self._recorder = Recorder()
        self._debuggers: dict[int, _Debugger] = {}
        self.over = False  #: the user has quit

    def note(self, thread: int, kind: int, object: object, now: float) -> None:
        if native.explore_unwinding():
            return
        number, self._notes = self._notes, self._notes + 1
        frame = sys._getframe(1)
        self._recorder.note(thread, kind, object, now, frame)
        if number in self._stops:
            outwards = [one for one, _ in walk_stack(frame)]
            if kind == Kind.TURN and hasattr(object, "get_coro"):  # a task waits, and is not on the stack
                outwards = [one for one in frames_of(object) if is_program(one.f_code.co_filename)]
            stop = next((one for one in outwards if is_program(one.f_code.co_filename)), frame)
            self._debugger().stop(stop, self._stops[number], outwards)

    def at_breakpoint(self, *args: object, **kwargs: object) -> None:
        if native.explore_index() < 0:
            pdb.set_trace()
        elif not native.explore_unwinding():
            self._debugger().stop(sys._getframe(1), "breakpoint()")

    def call(self, test: Callable[[], object]) -> None:
        try:
            test()
        except Exception as error:
            self._failed(error)
            raise

    def failed(self, hook: Callable[[Any], object], args: Any, /) -> None:
        if isinstance(args.exc_value, Exception):
            self._failed(args.exc_value)
        hook(args)

    def _failed(self, error: Exception) -> None:
        if not native.explore_unwinding() and not isinstance(error, bdb.BdbQuit):
            self._debugger().post_mortem(error)

    def _debugger(self) -> _Debugger:
        thread = native.explore_index()
        if thread not in self._debuggers:
            with _silence():
                self._debuggers[thread] = _Debugger(self, thread)
        return self._debuggers[thread]

    def name(self, thread: int) -> str:
        return self._recorder.names.get(thread) or threading.current_thread().name

    def others(self, thread: int) -> list[str]:
        """What the threads do, except one."""
        story = self._recorder.so_far(Run(Ending.DEADLOCK, None, -1, 0, 0, 0, 0, 0, -1, 0))
        now, _ = native.explore_look()
        return [
            f"{story.name(number)}  {_doing(story, number, State(state), bool(may))}"
            for number, (state, _, _, may) in enumerate(now)
            if number != thread
        ]


def _doing(story: Story, thread: int, state: State, may_go_on: bool) -> str:
    if state is State.ENDED:
        return "has ended"
    if state is State.NEW:
        return "has not begun"
    wait = next((wait for wait in story.waits if wait.thread == thread), None)
    if wait is None:
        return "runs a loop of asyncio"
    if not may_go_on:
        return waiting(story, wait)
    before = stopped(wait.event)
    return f"can go on at {at(wait.event.place)}{f', {before}' if before else ''}"


class _Debugger(pdb.Pdb):
    """One for each thread, because pdb follows one thread."""

    def __init__(self, prompts: _Prompts, thread: int) -> None:
        super().__init__(nosigint=True)
        self.prompt = "(lwp) "
        self._prompts = prompts
        self._thread = thread

    def stop(self, frame: FrameType, why: str, outwards: list[FrameType] | None = None) -> None:
        """A prompt now, before anything else is done in this thread.

        outwards: the frames, the innermost first, if they are not those of the stack.
        """
        if self._prompts.over:
            return
        self.reset()
        frames = [one for one, _ in walk_stack(frame)] if outwards is None else outwards
        self.botframe = frames[-1]
        with _silence():
            self._tell(why)
            self.interaction(frame, None)
        if self.quitting:
            raise bdb.BdbQuit
        if self.stoplineno != _NEVER or self.breaks:
            # What set_trace() does before the prompt; then pdb would stop in its own frames first.
            for one in frames:
                one.f_trace = self.trace_dispatch
            sys.settrace(self.trace_dispatch)

    def post_mortem(self, error: Exception) -> None:
        if self._prompts.over:
            return
        self.reset()
        with _silence():
            self._tell(f"raises {of_error(error)}")
            self.interaction(None, of_program(error.__traceback__) or error.__traceback__)

    def _tell(self, why: str) -> None:
        self.message("\n" + printable(f"--- in {self._prompts.name(self._thread)}: {why}"))

    def trace_dispatch(self, frame: FrameType, event: str, arg: Any) -> Any:
        if native.explore_unwinding():  # the run is over
            sys.settrace(None)
            return None
        if event == "opcode" and not hasattr(self, "dispatch_opcode"):  # 3.11's granularity wants these events
            return self.trace_dispatch
        return super().trace_dispatch(frame, event, arg)

    def interaction(self, *args: Any, **kwargs: Any) -> None:
        with _silence():
            super().interaction(*args, **kwargs)

    def set_quit(self) -> None:
        self._prompts.over = True
        super().set_quit()

    def do_threads(self, arg: str) -> None:
        """threads

        The other threads of the run: what each does, what it waits for, and which thread holds that.
        """
        for line in self._prompts.others(self._thread):
            self.message(printable(line))
