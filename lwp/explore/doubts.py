"""Whether a run that failed shows a bug: what else may have made it fail is taken away, and the plan is run again."""

from __future__ import annotations

import errno
import gc
import threading
import traceback
from collections.abc import Callable

from .. import native
from ..reading.files import is_program
from .run.plans import TIMEOUT, Ending, Kind, Plan, Run, State, Step, Strikes
from .run.session import LONGER, Session

_IN_VAIN = (Ending.DEADLOCK, Ending.LEFT_BEHIND)  # a thread waits at the end
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC)  # files, memory, watches of inotify(7)
_FULL_PATIENCE, _PATIENCE = 1.0, 0.05  # seconds; the first: FULL_PATIENCE of lwp/native/explore/run.c


class Failure:
    """In what way a run has failed. Two runs with equal failures count as the same find."""

    def __init__(self, run: Run) -> None:
        self.ending = run.ending
        self.error = run.error
        self._place = _place(run.error) if run.error is not None else None
        self._name = f"{type(run.error).__module__}.{type(run.error).__qualname__}"  # a run may make its own class

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Failure):
            return NotImplemented
        return (self.ending, self._name, self._place) == (other.ending, other._name, other._place)

    __hash__ = None  # type: ignore[assignment]


def what_failed(failed: Run | Failure) -> str:
    """What has failed, in a few words."""
    from .telling.words import of_error

    if (error := failed.error) is not None:
        return of_error(error)
    return {Ending.LEFT_BEHIND: "threads left behind", Ending.LIMIT: "no end"}.get(Ending(failed.ending), "deadlock")


def _place(error: BaseException) -> tuple[str, int] | None:
    """The program's line that raised."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if found is None or is_program(frame.f_code.co_filename):
            found = (frame.f_code.co_filename, line)
    return found


class Doubts:
    """Each method runs the plan of a failed run again in a way that takes away one cause, if that may be the cause.

    What is given to a run is given to those that come after it, too.
    """

    def __init__(self, session: Session, test: Callable[[], object]) -> None:
        self._session = session
        self._test = test
        session.circles = True

    def settled(self, plan: Plan, run: Run) -> Run:
        """The run, if its threads still wait for each other in a circle when others have gone on as far as they can.

        Otherwise the run without an end at the circle: a lock may be no mutex, but a signal that another thread gives.
        """
        if run.in_circle < 0 or not any(may for _, _, _, may in native.explore_final()):
            return run
        what = native.explore_final()[run.in_circle][1:3]
        self._session.circles = False
        longer = self._session.run(self._test, plan)
        final = native.explore_final()
        waits = run.in_circle < len(final) and State(final[run.in_circle][0]) is State.AT_POINT
        if longer.ending != Ending.FAILED and waits and final[run.in_circle][1:3] == what:
            self._session.circles = True
            return self._session.run(self._test, plan)
        return longer

    def lengthened(self, plan: Plan, run: Run) -> Run:
        """The run, or one that may have more steps, whose clock hurries later, if that comes to its end.

        The runs to come may then have as many.
        """
        if self._session.longer == 1 and (
            run.ending == Ending.LIMIT or (run.hurried and not plan.strikes & Strikes.EARLY)
        ):
            self._session.longer = LONGER
            run = self._session.run(self._test, plan)
        if run.ending == Ending.LIMIT:
            self._session.longer = 1  # a livelock is simplified in short runs
            run = self._session.run(self._test, plan)
        return run

    def collected(self, plan: Plan, run: Run) -> Run:
        """The run, or one that does not lack what the garbage collector has of the runs before."""
        if lacks(run) and not self._session.collects:
            self._session.collects = True
            gc.collect()
            run = self._session.run(self._test, plan)
        return run

    def is_answered(self, plan: Plan, failure: Failure, by_file: bool) -> bool:
        """Whether the failure goes away when files, and threads from before the run, are given time, because then no
        thread waits in vain. They get a little in the runs to come, too.

        by_file: one of its threads waited for a file.
        """
        others = set(native.current_frames()) - {threading.get_ident(), self._session.watch.ident}
        if not (others or by_file):
            return False
        before, self._session.patience = self._session.patience, _FULL_PATIENCE
        run = self._session.run(self._test, plan)
        is_answered = run.ending not in (*_IN_VAIN, Ending.OUT_OF_TIME) and Failure(run) != failure
        self._session.patience = _PATIENCE if is_answered else before
        return is_answered


def waited(run: Run, steps: list[Step]) -> bool:
    """Whether it failed because something did not come, or not in time."""
    return run.ending in _IN_VAIN or any(step.flags & TIMEOUT for step in steps)


def waited_for_file(steps: list[Step]) -> bool:
    """Whether something did not come from a file in time."""
    return any(step.kind == Kind.FILE and step.flags & TIMEOUT for step in steps)


def lacks(run: Run) -> bool:
    """Whether it failed because the system had no more files or memory to give."""
    return isinstance(run.error, OSError) and run.error.errno in _EXHAUSTED
