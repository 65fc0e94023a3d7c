"""The structures and functions of the lower C floors, by cffi: for those who study them, and for tests.

What a program's threads need is in runtime.native, types and functions of plain C.  cffi is loaded here, so a program
that only makes threads doesn't load it.  Its module `_structures` lies in the same shared object as `_core`, because
the two must see one state.
"""

from __future__ import annotations

from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType
from typing import Any, NamedTuple

from . import _core

__all__ = ["Fact", "facts", "ffi", "glibc_version", "lib", "load_from", "thread_pointer"]


def load_from(extension: ModuleType, name: str) -> Any:
    """A second extension module of the shared object in which `extension` lies."""
    loader = ExtensionFileLoader(f"{extension.__name__.rpartition('.')[0]}.{name}", str(extension.__file__))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


_structures = load_from(_core, "_structures")
ffi, lib = _structures.ffi, _structures.lib

_SOURCES = ("_thread_db_* descriptor", "exported symbol", "kernel", "probe thread", "dynamic linker's tables")


class Fact(NamedTuple):
    """One thing found out about the running glibc."""

    name: str
    value: int  #: an offset or size in bytes, a count, or an address
    size: int  #: bytes, of a field of struct pthread whose offset is the value; otherwise 0
    source: str  #: where it comes from
    check: str  #: what confirmed it from a second side


def glibc_version() -> str:
    """The running glibc's version, such as "2.41"."""
    return str(ffi.string(lib.glibc.version).decode())


def thread_pointer() -> int:
    """What the calling thread's thread pointer register holds; on x86-64 its ident too."""
    return int(ffi.cast("uintptr_t", lib.arch_thread_pointer()))


def facts() -> list[Fact]:
    """What was calibrated at import, and how each was checked."""
    glibc = lib.glibc
    return [
        Fact(
            ffi.string(found.name).decode(),
            int(found.value),
            int(found.size),
            _SOURCES[found.source],
            ffi.string(found.check).decode(),
        )
        for found in glibc.facts[0 : glibc.fact_count]
    ]
