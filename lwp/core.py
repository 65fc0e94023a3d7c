"""The one door to the core: what the tools use of it, loaded when it is first asked for.

`from ..core import NAME` is the only way.  No module of this package imports `runtime` by name, because a program may
have a `runtime` of its own, and ours goes by another name then (lwp_runtime.py).  core.pyi says to type checkers what
the names are.
"""

from __future__ import annotations

import lwp_runtime

#: Modules of the core that are names here.
_MODULES = {
    **{name: name for name in ("limits", "native", "patch", "placement", "scheduler", "thread", "threading")},
    "children": "patch.children",
    "members": "members",
    "pool": "pool",
    "structures": "native.structures",
}

#: Other names, by the module of the core that has them.
_NAMES = {
    "clone": ("Clone", "Context"),
    "lazily": ("loading",),
    "lwp": ("LWP", "MIN_STACK"),
    "native": ("_core", "call_outermost"),
    "native.structures": ("facts", "ffi", "lib", "thread_pointer"),
    "patch.children": ("has_hook", "pass_on"),
    "patch.installation": ("blocking_replaced", "install", "reopen_stdin"),
    "patch.keeping": ("kept_open",),
    "placement": ("Placement", "different", "parse_cpus"),
    "printable": ("printable",),
    "scheduler": ("Scheduler", "spawn", "yield_"),
    "sync": ("Barrier", "Condition", "Event", "Lock", "RLock", "Semaphore"),
    "thread": ("Thread", "current_thread"),
}
_HOMES = {name: f"runtime.{module}" for module, names in _NAMES.items() for name in names}

__getattr__, __dir__ = lwp_runtime.load("runtime.lazily").loading(
    globals(), _HOMES, {name: f"runtime.{module}" for name, module in _MODULES.items()}
)
