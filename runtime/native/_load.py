"""The import of runtime.native, step by step: each obstacle is told before what would fail over it less clearly."""

from __future__ import annotations

import os
import sys

from ..interpreters import in_main
from .supported import obstacle

TYPE_CHECKING = False  # typing's name, but importing typing takes longer than this whole module
if TYPE_CHECKING:
    from types import ModuleType


def load(module: ModuleType) -> None:
    """Finds out the running glibc's layout, and adds the core's types and functions to the module, or ImportError."""
    if reason := obstacle():
        raise ImportError(reason)
    if not in_main():
        raise ImportError(
            "runtime works in the main interpreter only: its C core can't serve a subinterpreter beside it"
        )
    try:
        from ._core import attach
    except ModuleNotFoundError:
        raise ImportError(_why_not_built()) from None
    attach(module)
    _warn_of_newer_python()


def _why_not_built() -> str:
    """The source tree is found before what is installed when it is the working directory, or that of the program."""
    from importlib.machinery import PathFinder

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


def _warn_of_newer_python() -> None:
    kind, tested = ("free-threaded CPython", (3, 13)) if "t" in sys.abiflags else ("CPython", (3, 15))  # the newest
    if sys.version_info[:2] > tested:
        import warnings

        warnings.warn(
            "runtime was tested with {} up to {}.{}; this is {}.{}, where what it checks at import is well".format(
                kind, *tested, *sys.version_info[:2]
            ),
            RuntimeWarning,
            stacklevel=4,  # at the import of runtime.native
        )
