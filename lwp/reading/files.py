"""Whose code a file holds: the program's, a library's or the runtime's own; how its path is shown, and other texts of
the program's."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Generator

from ..core import printable
from . import ROOT, RUNTIME, TOOLS

#: Real paths of files and folders, and whether their code counts as the program's. Of several that hold a file the
#: longest decides, whatever the file is otherwise.
Choice = tuple[tuple[str, bool], ...]

_chosen: Choice = ()
_INSTALLED = ("/site-packages/", "/dist-packages/")


@contextlib.contextmanager
def choosing(choice: Choice) -> Generator[None]:
    """Has is_program() follow the choice, in all threads."""
    global _chosen
    before, _chosen = _chosen, choice
    try:
        yield
    finally:
        _chosen = before


#: The folder of Python's own modules; that of installed packages has a name of _INSTALLED.  sysconfig knows it too, but
#: reads files when asked, which the program may not be allowed to do by then: it may have become another user.
_STDLIB = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "")


@functools.cache
def _runtimes_own() -> tuple[str, ...]:
    folders = (os.path.join(os.path.realpath(folder), "") for folder in (RUNTIME, TOOLS))
    return *folders, os.path.join(os.path.realpath(ROOT), "lwp_")  # the plugin, in a source tree


def is_runtimes_own(path: str) -> bool:
    return os.path.join(os.path.realpath(path), "").startswith(_runtimes_own())


@functools.lru_cache(maxsize=4096)
def is_library(filename: str) -> bool:
    """Whether the code in that file is Python's, an installed package's or the runtime's, whatever was chosen."""
    if filename.startswith("<frozen") or any(folder in filename for folder in _INSTALLED):
        return True
    return is_runtimes_own(filename) or os.path.realpath(filename).startswith(_STDLIB)


def is_program(filename: str) -> bool:
    """Whether the code in that file is the program's own: no library's, unless choosing() says otherwise. The
    runtime's never is."""
    decided = _decided(filename, _chosen)
    return not is_library(filename) if decided is None else decided


def is_excluded(filename: str) -> bool:
    """Whether choosing() says that the file's code is not the program's."""
    return _decided(filename, _chosen) is False


@functools.lru_cache(maxsize=4096)
def _decided(filename: str, choice: Choice) -> bool | None:
    if filename.startswith("<") or is_runtimes_own(filename):
        return None
    path = os.path.join(os.path.realpath(filename), "")
    holding = [(len(chosen), counts) for chosen, counts in choice if path.startswith(os.path.join(chosen, ""))]
    return max(holding)[1] if holding else None


@functools.lru_cache(maxsize=4096)
def library_of(filename: str) -> str:
    """The name of the installed package, or of Python's module, that the file belongs to; "": it belongs to none."""
    if filename.startswith("<") or is_runtimes_own(filename):
        return ""
    return _in_library(filename).partition("/")[0].removesuffix(".py")


def _in_library(filename: str) -> str:
    """The path in the folder of Python's modules or of installed packages; "": the file is in none."""
    path = os.path.realpath(filename)
    folder = next((folder for folder in (*_INSTALLED, _STDLIB) if folder in path), "")
    return path.rpartition(folder)[2] if folder else ""


def printable_lines(text: str) -> str:
    """The same of a report that is made already: the ends of its lines and its tabs stay."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))


@functools.lru_cache(maxsize=1024)
def name_of_file(path: str) -> str:
    """As one would type it from the current folder; a library's without the folder of libraries; printable."""
    relative = os.path.relpath(path)
    return printable(relative if not relative.startswith("..") else _in_library(path) or path)


@functools.lru_cache(maxsize=4096)
def short(site: str) -> str:
    """FILE:LINE in FUNCTION, or its beginning, without outer functions and folders, except the folder of an
    __init__.py; printable."""
    folder, name = os.path.split(site)
    place, within, function = name.partition(" in ")
    if place.startswith("__init__.py"):
        place = os.path.join(os.path.basename(folder), place)
    return printable(f"{place}{within}{function.rpartition('<locals>.')[2]}")
