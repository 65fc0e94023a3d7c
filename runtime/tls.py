"""Thread-local storage: threading's `local`, and what every thread's TLS is made of, as data read from live memory.

`local` is all that a program loads.  The rest is loaded when first asked for, from the modules of runtime.tlsmap, where
the types are too: layout() and inspect() from inspection, compare() from comparison, variables() from variables.
"""

from __future__ import annotations

from threading import local

from .lazily import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .tlsmap.comparison import compare
    from .tlsmap.inspection import inspect
    from .tlsmap.layout import layout
    from .tlsmap.variables import variables

__all__ = ["compare", "inspect", "layout", "local", "variables"]

_HOMES = {
    "compare": ".tlsmap.comparison",
    "inspect": ".tlsmap.inspection",
    "layout": ".tlsmap.layout",
    "variables": ".tlsmap.variables",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = loading(globals(), _HOMES)
