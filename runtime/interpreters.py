"""Which interpreter this is.  What the C core knows belongs to the process, so it serves one interpreter, the main
one."""

from __future__ import annotations

import sys

__all__ = ["in_main"]


def in_main() -> bool:
    """Whether the caller runs in the main interpreter, and not in a subinterpreter."""
    if sys.version_info >= (3, 12):
        import _thread

        return bool(_thread._is_main_interpreter())  # type: ignore[attr-defined]
    import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]

    return bool(interpreters.get_current() == interpreters.get_main())
