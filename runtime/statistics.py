"""Counts over all LWPs of this process, and, when asked for, how each of them started and what it used."""

from __future__ import annotations

from dataclasses import dataclass

from .native import ffi, lib

__all__ = ["Statistics", "measure", "statistics"]


@dataclass(frozen=True)
class Statistics:
    """Counts over all LWPs of this process; from latency_p50 on, of those since measure(True)."""

    started: int  #: since the process began
    alive: int  #: now
    peak: int  #: most alive at once
    measured: int  #: threads that the rest is about
    latency_p50: float  #: seconds from before clone(2) to the thread's first line in C
    latency_p99: float  #: the same; both right to about a fifth
    cpu: float  #: seconds of user and system time of the ended ones
    voluntary: int  #: context switches because it slept
    involuntary: int  #: context switches because its time was up
    stack_used: int  #: bytes of stack, the deepest of all


def measure(on: bool) -> None:
    """Switches the measuring of each thread on (from zero) or off; off it costs nothing."""
    lib.lwp_measure(on)


def statistics() -> Statistics:
    """What is counted so far."""
    found = ffi.new("struct lwp_statistics *")
    lib.lwp_read_statistics(found)
    return Statistics(
        found.started,
        found.alive,
        found.peak,
        found.measured,
        found.latency_p50_ns / 1e9,
        found.latency_p99_ns / 1e9,
        found.cpu_ns / 1e9,
        found.voluntary,
        found.involuntary,
        found.stack_used,
    )
