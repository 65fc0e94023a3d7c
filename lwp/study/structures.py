"""Structures and functions of the tools' C, by cffi, for the map of TLS and the demonstrations."""

from __future__ import annotations

from ..core import structures
from ..native import _tools

__all__ = ["ffi", "lib"]

_study = structures.load_from(_tools, "_study")
ffi, lib = _study.ffi, _study.lib
