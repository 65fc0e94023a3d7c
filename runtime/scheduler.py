"""Which context runs where: LWPs by clone(2), what they share, and what is known of the living.

`spawn` is the low-level call; `runtime.Thread` is threading's vocabulary over it.
"""

from __future__ import annotations

from .clone import THREAD_FLAGS, Clone
from .green import Deadlock, GreenStatistics, Scheduler, blocking, green_statistics, sleep, wait_fd, yield_
from .lwp import LWP, Context
from .observe.waits import Wait, Waiting, waiting
from .spawn import spawn
from .statistics import Statistics, measure, statistics
from .steps import Step, record_steps

__all__ = [
    "LWP",
    "THREAD_FLAGS",
    "Clone",
    "Context",
    "Deadlock",
    "GreenStatistics",
    "Scheduler",
    "Statistics",
    "Step",
    "Wait",
    "Waiting",
    "blocking",
    "green_statistics",
    "measure",
    "record_steps",
    "sleep",
    "spawn",
    "statistics",
    "wait_fd",
    "waiting",
    "yield_",
]
