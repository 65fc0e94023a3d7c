"""The tools' own structures and functions of C, by cffi: for the map of TLS and the demonstrations."""

from __future__ import annotations

from lwp_runtime import load

from . import _tools

__all__ = ["ffi", "lib"]

_study = load("native.structures").load_from(_tools, "_study")
ffi, lib = _study.ffi, _study.lib
