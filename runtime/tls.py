"""Thread-local storage: threading's `local`, and what every thread's TLS is made of, as data read from live memory.

`local` is all that a program loads.  The rest is loaded when first asked for: layout() and inspect() from
runtime.inspection, compare() from runtime.comparison, variables() from runtime.variables; the types are there too.
"""

from __future__ import annotations

from threading import local

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

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(_HOMES[name], __package__), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
