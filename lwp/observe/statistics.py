"""Counts over all LWPs of this process, and, when asked for, how each of them started and what it used."""

from __future__ import annotations

from dataclasses import dataclass

from ..native import lwp_measure, lwp_statistics


@dataclass(frozen=True)
class Statistics:
    """Counts over all LWPs of this process; from latency_p50 on, of those since measure(True)."""

    started: int  #: since the process began
    alive: int  #: now
    peak: int  #: most alive at once
    measured: int  #: threads that the following fields are about
    latency_p50: float  #: seconds from before clone(2) to the thread's first line in C
    latency_p99: float  #: the same for the slowest hundredth; both are right to about a fifth
    cpu: float  #: seconds of user and system time, of ended threads
    voluntary: int  #: context switches because it slept
    involuntary: int  #: context switches because its time was up
    stack_used: int  #: bytes of stack, the deepest of all


def measure(on: bool) -> None:
    """Switches the measuring of each thread on (from zero) or off; off it costs nothing."""
    lwp_measure(on)


def statistics() -> Statistics:
    """What is counted so far."""
    started, alive, peak, measured, p50, p99, cpu, voluntary, involuntary, stack_used = lwp_statistics()
    return Statistics(
        started, alive, peak, measured, p50 / 1e9, p99 / 1e9, cpu / 1e9, voluntary, involuntary, stack_used
    )
