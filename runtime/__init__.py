"""CPython threads made by hand on Linux: clone(2), TLS blocks and futexes instead of pthread_create."""

from __future__ import annotations

from runtime.patch import install, installed, uninstall
from runtime.scheduler import THREAD_FLAGS, Clone
from runtime.thread import Thread

__all__ = ["THREAD_FLAGS", "Clone", "Thread", "__version__", "install", "installed", "uninstall"]


def __getattr__(name: str) -> str:
    if name == "__version__":  # read when asked for: importlib.metadata is slow to import
        from importlib.metadata import version

        return version("lwp-runtime")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
