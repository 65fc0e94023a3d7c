"""Thread-local storage: `local`."""

from __future__ import annotations

from runtime.native import local

__all__ = ["local"]
