"""CPython threads made by hand on Linux: clone(2), TLS blocks and futexes instead of pthread_create.

`import runtime` is all that a program imports: each module of this package is its attribute, as runtime.sync is, and is
loaded when it is first asked for.  Most then load the C core, and are an ImportError that says why where it can't work.
`from runtime import threading` is a module with all of threading's names, on the runtime.

(PYTEST_DONT_REWRITE: pytest would warn that it came too late to rewrite what is loaded at start-up.)
"""

from __future__ import annotations

from . import tools
from .lazily import loading

TYPE_CHECKING = False  # typing's name, but importing typing takes longer than this whole module
if TYPE_CHECKING:
    from . import aio as aio
    from . import limits as limits
    from . import patch as patch
    from . import placement as placement
    from . import pool as pool
    from . import queue as queue
    from . import scheduler as scheduler
    from . import sync as sync
    from . import thread as thread
    from . import threading as threading
    from . import tls as tls
    from .clone import THREAD_FLAGS, Clone
    from .groups import (
        Cancelled,
        Group,
        Task,
        TaskStatus,
        as_completed,
        checkpoint,
        fail_after,
        move_on_after,
        shield,
        wait,
    )
    from .patch import install, installed, is_installed, uninstall
    from .thread import Thread
    from .tools import explore, explored, replay, watchdog
    from .tools import observe as observe
    from .tools import tlsmap as tlsmap

    ALL_COMPLETED: str  #: for wait(): when all things are ready
    FIRST_COMPLETED: str  #: for wait(): when the first is
    __version__: str  #: of the installed distribution; PackageNotFoundError in a source tree that is not installed

__all__ = ["THREAD_FLAGS", "Clone", "Thread", "__version__"]
__all__ += ["ALL_COMPLETED", "FIRST_COMPLETED", "Cancelled", "Group", "Task", "TaskStatus"]  # .groups
__all__ += ["as_completed", "checkpoint", "fail_after", "move_on_after", "shield", "wait"]  # .groups
__all__ += ["explore", "explored", "install", "installed", "is_installed", "replay", "uninstall", "watchdog"]

_HOMES = {
    **dict.fromkeys(("ALL_COMPLETED", "FIRST_COMPLETED", "Cancelled", "Group", "Task", "TaskStatus"), ".groups"),
    **dict.fromkeys(("as_completed", "checkpoint", "fail_after", "move_on_after", "shield", "wait"), ".groups"),
    **dict.fromkeys(("THREAD_FLAGS", "Clone"), ".clone"),
    **dict.fromkeys(("install", "installed", "is_installed", "uninstall"), ".patch"),
    "Thread": ".thread",
}
_MODULES = {"limits", "patch", "placement", "scheduler", "sync", "thread", "threading", "tls"}
_MODULES |= {"aio", "pool", "queue"}  # .groups

if not TYPE_CHECKING:  # a type checker reports names that don't exist
    _HOMES |= tools.NAMES["runtime"]
    _load, __dir__ = loading(globals(), _HOMES, {name: f".{name}" for name in _MODULES} | tools.MODULES)

    def __getattr__(name: str) -> object:
        if name != "__version__":
            return _load(name)
        from importlib.metadata import version

        value = globals()[name] = version("lwp-runtime")
        return value
