"""The map of a thread's TLS, read from its live memory: its layout and content, two threads compared, variables."""

from __future__ import annotations

from ...core import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import comparison as comparison
    from . import inspection as inspection
    from . import variables as variables

_MODULES = ("comparison", "inspection", "variables")

if not TYPE_CHECKING:
    __getattr__, __dir__ = loading(globals(), {}, {name: f"lwp.study.tlsmap.{name}" for name in _MODULES})
