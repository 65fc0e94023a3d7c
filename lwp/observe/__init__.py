"""What can be seen of threads from outside: what each waits for, and what they did."""

from __future__ import annotations

from ..core import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..core import limits as limits
    from . import listening as listening
    from . import trace as trace
    from . import waits as waits
    from .listening import listen as listen

_MODULES = ("listening", "trace", "waits")

if not TYPE_CHECKING:  # limits: its name before it was the core's
    __getattr__, __dir__ = loading(
        globals(),
        {"listen": "lwp.observe.listening"},
        {"limits": "runtime.limits", **{name: f"lwp.observe.{name}" for name in _MODULES}},
    )
