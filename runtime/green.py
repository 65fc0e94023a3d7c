"""Green threads: many contexts on one LWP; `runtime.scheduler` hands it on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import native
from .thread import Thread

__all__ = ["TIME_SLICE", "Deadlock", "GreenStatistics", "Scheduler"]
__all__ += ["blocking", "green_statistics", "sleep", "wait_fd", "yield_"]

#: Seconds: of the scheduler that install(green=True) and `run --green` make, if they are not given another.  It is
#: sys.getswitchinterval(), for which a thread that computes keeps the GIL from the others on stock threads.
TIME_SLICE = 0.005

blocking = native.blocking
yield_ = native.yield_
sleep = native.sleep
wait_fd = native.wait_fd


class Deadlock(RuntimeError):
    """All green threads of a scheduler sleep, none with a timeout or for a file, and no thread is left to wake one.

    It is noticed when the last one goes to sleep.  Where another thread lives, or the program handles signals (others
    than SIGINT), one may be woken yet, and it is not raised before that thread has ended; after the end of one that the
    C library made, as threading's own, it is not raised.
    """


class Scheduler(native.SchedulerBase):
    """Runs threads on few LWPs, instead of on one of its own for each.

    To CPython and the C library each is a thread: its own get_ident(), threading.local, errno, context variables and C
    stack.  What sleeps in a primitive of `runtime.sync`, in join(), in sleep() and wait_fd() here or in yield_() leaves
    the LWP to the others.

    lwps: 1: the LWP of the thread that calls run().  Any other call that blocks (input and output, a stock lock) stops
    all its threads, and so does one that computes.  More, up to 1024: LWPs of its own, of which one runs; when it
    doesn't get on for 2 ms, in a call that blocks or since a thread computes, another one takes over.
    time_slice: seconds for which one thread may keep the others waiting, up to twice that.  Then they go on on
    another LWP, which is made if there is none: a thread that computes stops at the next boundary of bytecodes, since
    that one asks for the GIL, and takes turns with the others from there on (sys.setswitchinterval()), until it waits
    for something and comes back to the queue.  LWPs are its own then also with lwps=1; there are at most as many as
    asked for, or two, and one for each thread that computes, blocks or waits for the GIL at the same time.  They stay
    until run() ends.  With less than sys.getswitchinterval() more threads wait for the GIL, each on an LWP.
    From 0.0001 to 1e6; None: no more LWPs than asked for.
    ValueError: lwps or time_slice is out of bounds.  RuntimeError: a context can't be left in user space here (the
    processor's shadow stack is in use).
    """

    def __init__(self, lwps: int = 1, time_slice: float | None = None) -> None:
        # The base has taken both in __new__(), in C: this is the signature that help() shows.
        from .observe import waits  # noqa: F401  # for _describe(): in a deadlock a thread may sleep in an import

    def spawn(self, target: Callable[..., object], *args: Any) -> Thread:
        """Starts a Thread that calls target(*args) here; it runs when run() does, or, within that, when it is its turn.

        As Thread(target=target, args=args, scheduler=self).start().
        """
        thread = Thread(target=target, args=args, scheduler=self)
        thread.start()
        return thread

    def run(self) -> None:
        """Runs the green threads until all that are not daemons have ended, on the caller's LWP if that is the one.

        Signal handlers run meanwhile, in the main thread as always; if one raises, or a Deadlock is found, run() does,
        and may be called again.  Those that have not ended go on then, at the latest at the end of the program; a
        daemon that nobody runs any more stays where it is.

        RuntimeError: another thread runs it, or the caller is a green thread itself.
        """
        super().run()


class GreenStatistics(NamedTuple):
    """Counts over all schedulers of this process, since it began."""

    started: int  #: green threads
    switches: int  #: from one context to another, in user space
    sleeps: int  #: of an LWP in the kernel, since no green thread could go on


def green_statistics() -> GreenStatistics:
    """What is counted so far."""
    return GreenStatistics(*native.green_counts())


def _describe() -> None:
    """Raises, in the thread that is attached."""
    from .observe.waits import waiting  # not above: install() would load it, and what it imports, in every process

    found = waiting()
    lines = "".join(f"\n  {line}" for line in str(found).splitlines()) or " something else than our primitives"
    raise Deadlock(f"all green threads sleep, and nobody is left who could wake one; they wait for:{lines}")


native.set_describe_deadlock(_describe)
