"""threading's names on the runtime: `from runtime import threading` in place of `import threading`.

Threads, locks and what is made of locks are ours.  The rest, such as enumerate(), is threading's own, and knows our
threads.  Other modules still use threading: queue.Queue and concurrent.futures make stock threads and locks, unless
install() has put ours in their places.
"""

from __future__ import annotations

import sys
import threading as _stock
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .sync import Barrier, BoundedSemaphore, BrokenBarrierError, Condition, Event, Lock, RLock, Semaphore
from .thread import Thread, Timer, current_thread

if TYPE_CHECKING:
    from threading import TIMEOUT_MAX as TIMEOUT_MAX
    from threading import ExceptHookArgs as ExceptHookArgs
    from threading import ThreadError as ThreadError
    from threading import active_count as active_count
    from threading import enumerate as enumerate
    from threading import get_ident as get_ident
    from threading import get_native_id as get_native_id
    from threading import getprofile as getprofile
    from threading import gettrace as gettrace
    from threading import local as local
    from threading import main_thread as main_thread
    from threading import setprofile as setprofile
    from threading import settrace as settrace
    from threading import stack_size as stack_size

    if sys.version_info >= (3, 12):
        from threading import setprofile_all_threads as setprofile_all_threads
        from threading import settrace_all_threads as settrace_all_threads

    excepthook = _stock.excepthook

__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "BrokenBarrierError",
    "Condition",
    "Event",
    "Lock",
    "RLock",
    "Semaphore",
    "Thread",
    "Timer",
    "current_thread",
]
__all__ += [name for name in _stock.__all__ if name not in __all__]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name == "__path__":  # threading is no package
            raise AttributeError(name)
        return getattr(_stock, name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *dir(_stock)})


class _Module(ModuleType):
    @property
    def excepthook(self) -> Any:
        """It is set in threading, because threads of both kinds ask threading for it."""
        return _stock.excepthook

    @excepthook.setter
    def excepthook(self, hook: Any) -> None:
        _stock.excepthook = hook


sys.modules[__name__].__class__ = _Module
