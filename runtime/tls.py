"""Thread-local storage: threading's `local`, and what every thread's TLS is made of, as data read from live memory.

`local` is all that a program loads.  The rest is loaded when first asked for, from the modules of runtime.tlsmap, where
the types are too: layout() and inspect() from inspection, compare() from comparison, variables() from variables.
"""

from __future__ import annotations

from threading import local

from . import tools
from .lazily import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tools import compare, inspect, layout, variables

__all__ = ["compare", "inspect", "layout", "local", "variables"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = loading(globals(), tools.NAMES["tls"])
