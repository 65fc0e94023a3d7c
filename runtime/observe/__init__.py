"""What can be seen of threads from outside: what each waits for, and what they did."""

from __future__ import annotations

from ..lazily import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .. import limits as limits
    from . import listening as listening
    from . import trace as trace
    from . import waits as waits
    from .listening import listen as listen

_MODULES = ("listening", "trace", "waits")

if not TYPE_CHECKING:  # limits: its name before it was the core's
    __getattr__, __dir__ = loading(
        globals(),
        {"listen": ".observe.listening"},
        {"limits": ".limits", **{name: f".observe.{name}" for name in _MODULES}},
    )
