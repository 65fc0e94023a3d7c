"""The C core, calibrated: importing this module finds out the running glibc's layout or raises ImportError."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..interpreters import in_main
from .supported import obstacle

if _reason := obstacle():
    raise ImportError(_reason)


def _why_not_built() -> str:
    """The source tree is found before what is installed when it is the working directory, or that of the program."""
    tree = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for folder in map(os.path.abspath, sys.path):
        place = os.path.join(folder, "runtime", "native")
        if folder != tree and PathFinder.find_spec("_core", [place]):
            return (
                f"the source tree {tree}, whose C core has not been built, hides what is installed in {folder}: "
                f"work in another directory, or install with `{sys.executable} -m pip install -e .`"
            )
    return (
        f"runtime's C core has not been built for {sys.implementation.cache_tag}: "
        f"`{sys.executable} -m pip install .` in its source tree, or `-e .`, builds it"
    )


if find_spec("._core", __name__) is None:
    raise ImportError(_why_not_built())
if not in_main():
    raise ImportError("runtime works in the main interpreter only: its C core can't serve a subinterpreter beside it")

from . import _core  # noqa: E402  # once it is there

_core.attach(sys.modules[__name__])

_KIND, _TESTED = ("free-threaded CPython", (3, 13)) if "t" in sys.abiflags else ("CPython", (3, 15))  # the newest
if sys.version_info[:2] > _TESTED:
    import warnings

    warnings.warn(
        "runtime was tested with {} up to {}.{}; this is {}.{}, where what it checks at import is well".format(
            _KIND, *_TESTED, *sys.version_info[:2]
        ),
        RuntimeWarning,
        stacklevel=2,
    )

if TYPE_CHECKING:
    from ._types import FILES_LARGE as FILES_LARGE
    from ._types import LWP as LWP
    from ._types import OWN_FLAGS as OWN_FLAGS
    from ._types import SYS_FUTEX as SYS_FUTEX
    from ._types import THREAD_FLAGS as THREAD_FLAGS
    from ._types import Awaited as Awaited
    from ._types import BarrierBase as BarrierBase
    from ._types import Bell as Bell
    from ._types import CancelBase as CancelBase
    from ._types import ConditionBase as ConditionBase
    from ._types import EventBase as EventBase
    from ._types import FutureBase as FutureBase
    from ._types import GroupBase as GroupBase
    from ._types import RLock as RLock
    from ._types import SchedulerBase as SchedulerBase
    from ._types import SemaphoreBase as SemaphoreBase
    from ._types import SYS_prctl as SYS_prctl
    from ._types import SYS_sched_getattr as SYS_sched_getattr
    from ._types import SYS_sched_setattr as SYS_sched_setattr
    from ._types import WorkQueue as WorkQueue
    from ._types import allocate_lock as allocate_lock
    from ._types import blocking as blocking
    from ._types import call_outermost as call_outermost
    from ._types import cancel_mine as cancel_mine
    from ._types import cancel_now as cancel_now
    from ._types import cancel_set_raise as cancel_set_raise
    from ._types import checkpoint as checkpoint
    from ._types import code_instruction as code_instruction
    from ._types import code_points as code_points
    from ._types import context_counts as context_counts
    from ._types import current_thread as current_thread
    from ._types import explore_begin as explore_begin
    from ._types import explore_end as explore_end
    from ._types import explore_escape as explore_escape
    from ._types import explore_final as explore_final
    from ._types import explore_index as explore_index
    from ._types import explore_interrupt as explore_interrupt
    from ._types import explore_learn as explore_learn
    from ._types import explore_objects as explore_objects
    from ._types import explore_report as explore_report
    from ._types import explore_run as explore_run
    from ._types import explore_scheduler as explore_scheduler
    from ._types import explore_steps as explore_steps
    from ._types import explore_unwinding as explore_unwinding
    from ._types import explore_watch as explore_watch
    from ._types import explore_watching as explore_watching
    from ._types import fd_closed as fd_closed
    from ._types import fd_closing as fd_closing
    from ._types import fd_ready as fd_ready
    from ._types import find_in_object as find_in_object
    from ._types import gate_close as gate_close
    from ._types import gate_refuse as gate_refuse
    from ._types import green_counts as green_counts
    from ._types import green_runners as green_runners
    from ._types import green_states as green_states
    from ._types import groups_count as groups_count
    from ._types import groups_counts as groups_counts
    from ._types import is_green as is_green
    from ._types import lock as lock
    from ._types import lock_order_be_at as lock_order_be_at
    from ._types import lock_order_begin as lock_order_begin
    from ._types import lock_order_end as lock_order_end
    from ._types import lock_order_forget as lock_order_forget
    from ._types import lock_order_moment as lock_order_moment
    from ._types import lock_order_take as lock_order_take
    from ._types import lwp_measure as lwp_measure
    from ._types import lwp_reap as lwp_reap
    from ._types import lwp_statistics as lwp_statistics
    from ._types import made_at as made_at
    from ._types import may_block as may_block
    from ._types import on_helper as on_helper
    from ._types import pipe_function as pipe_function
    from ._types import read_waits as read_waits
    from ._types import run_all as run_all
    from ._types import running as running
    from ._types import set_describe_deadlock as set_describe_deadlock
    from ._types import site_text as site_text
    from ._types import sites_begin as sites_begin
    from ._types import sleep as sleep
    from ._types import socket_methods as socket_methods
    from ._types import socket_object_at as socket_object_at
    from ._types import stack_size as stack_size
    from ._types import stand_in as stand_in
    from ._types import steps_read as steps_read
    from ._types import steps_record as steps_record
    from ._types import system_call as system_call
    from ._types import thread_is_alive as thread_is_alive
    from ._types import thread_join as thread_join
    from ._types import thread_make as thread_make
    from ._types import thread_setup as thread_setup
    from ._types import thread_start as thread_start
    from ._types import thread_waited as thread_waited
    from ._types import tls_methods as tls_methods
    from ._types import trace_begin as trace_begin
    from ._types import trace_cancelled as trace_cancelled
    from ._types import trace_end as trace_end
    from ._types import trace_group as trace_group
    from ._types import trace_placed as trace_placed
    from ._types import wait_fd as wait_fd
    from ._types import wait_fds as wait_fds
    from ._types import wait_task_class as wait_task_class
    from ._types import wait_things as wait_things
    from ._types import wait_thread_class as wait_thread_class
    from ._types import waits as waits
    from ._types import watch_locks as watch_locks
    from ._types import watch_own as watch_own
    from ._types import watch_start as watch_start
    from ._types import watch_stop as watch_stop
    from ._types import yield_ as yield_
