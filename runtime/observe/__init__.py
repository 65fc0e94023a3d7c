"""What can be seen of threads from outside: what each waits for, what they did, and what limits their number."""

from __future__ import annotations

from ..lazily import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import limits as limits
    from . import listening as listening
    from . import trace as trace
    from . import waits as waits
    from .listening import listen as listen

_MODULES = ("limits", "listening", "trace", "waits")

if not TYPE_CHECKING:
    __getattr__, __dir__ = loading(
        globals(), {"listen": ".observe.listening"}, {name: f".observe.{name}" for name in _MODULES}
    )
