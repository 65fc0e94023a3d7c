"""The runtime under the Python processes that a program starts: `lwp run --children`.

They learn of it from the environment.  HOOK, a line of Python beside the package (written by setup.py, executed by
`site` when an interpreter starts), calls begin() if LWP_CHILDREN is set; if not, or with -E or -I, it does nothing.
This module imports nothing at its top that `site` hasn't: a child loads it before its sys.path is complete.
"""

from __future__ import annotations

import os
import sys

HOOK = "lwp_runtime.pth"
CHILDREN = "LWP_CHILDREN"  #: not empty: Python processes run on the runtime
STACK_SIZE = "LWP_STACK_SIZE"  #: if set, bytes of stack for each of their threads
GREEN = "LWP_GREEN"  #: if set, their threads are green, on this number of LWPs
TIME_SLICE = "LWP_TIME_SLICE"  #: if set, the time slice of these in seconds, 0: none; if not set, install()'s

_UNITS = {STACK_SIZE: "bytes", GREEN: "LWPs", TIME_SLICE: "seconds"}


def has_hook() -> bool:
    """Whether `site` finds the hook: the package is installed, and not just on PYTHONPATH."""
    import site

    folders = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
    return any(os.path.exists(os.path.join(folder, HOOK)) for folder in folders)


def python_path() -> str:
    """The PYTHONPATH with which a Python process that we start finds this package, and what the program has on it."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return os.pathsep.join(filter(None, [os.path.dirname(package), os.environ.get("PYTHONPATH")]))


def pass_on(stack_size: int | None, lwps: int = 0, time_slice: float | None = None) -> None:
    """Has all Python processes that this process starts from now on, and theirs, run on the runtime.

    lwps: 0: each of their threads has an LWP of its own; more: they are green.
    time_slice: 0: none; None: install()'s.
    """
    os.environ[CHILDREN] = "1"
    for name, value in ((STACK_SIZE, stack_size), (GREEN, lwps or None), (TIME_SLICE, time_slice)):
        if value is not None:
            os.environ[name] = str(value)


class _AfterPaths:
    """Finds no module, but notices when `site` asks for sitecustomize: then, as documented there, sys.path is complete.

    While the hook is executed it isn't complete, because the packages of a user or a virtual environment come before
    the system's.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "sitecustomize":
            sys.meta_path.remove(self)
            _install()


_after_paths = _AfterPaths()


def begin() -> None:
    """Puts the runtime under this process, which is just starting, as soon as everything can be imported."""
    from ..interpreters import in_main

    # In a virtual environment `site` executes each hook twice; and it does so in each subinterpreter, where the runtime
    # doesn't work.
    if _after_paths not in sys.meta_path and in_main():
        sys.meta_path.insert(0, _after_paths)


def _install() -> None:
    try:
        import lwp_runtime

        from .. import tools
        from . import installation

        if size := os.environ.get(STACK_SIZE):
            import threading

            threading.stack_size(int(size))
        lwp_runtime.give_way()
        lwps, time_slice = (os.environ.get(name) for name in (GREEN, TIME_SLICE))
        if lwps:
            given = {"time_slice": float(time_slice) or None} if time_slice else {}
            installation.install(green=True, lwps=int(lwps), **given)
            installation.reopen_stdin()
        else:
            installation.install()
        for begin in tools.called("in a process of a tool's"):
            begin()
    except Exception as error:  # the child has its own work to do
        if sys.stderr is not None:
            reason = " ".join(str(error).split())
            if isinstance(error, ValueError):
                asked = [f"{name}={os.environ[name]!r}, in {_UNITS[name]}" for name in _UNITS if os.environ.get(name)]
                reason += f" ({'; '.join(asked)})" if asked else ""
            print(f"lwp: this process's threads are plain ones: {reason}", file=sys.stderr)
