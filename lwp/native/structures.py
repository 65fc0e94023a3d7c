"""The tools' own structures and functions of C, by cffi: for the map of TLS and the demonstrations."""

from __future__ import annotations

from ..core import structures
from . import _tools

__all__ = ["ffi", "lib"]

_study = structures.load_from(_tools, "_study")
ffi, lib = _study.ffi, _study.lib
