"""The runtime behind `threading` and `_thread`, for a whole process.

Threads: the methods of threading.Thread itself are replaced, so that classes derived from it long ago start here too.
Primitives: the names are, in threading, in _thread, and wherever a loaded module has kept one of them.
"""

from __future__ import annotations

from ..lazily import loading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .installation import install, installed, is_installed, uninstall

__all__ = ["install", "installed", "is_installed", "uninstall"]

if not TYPE_CHECKING:
    # Loaded when first asked for: children.py runs before a process can import what installation.py needs.
    __getattr__, __dir__ = loading(globals(), dict.fromkeys(__all__, ".patch.installation"))
