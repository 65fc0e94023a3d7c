"""Which code is switched between bytecodes: the program's, its project's where that is installed, and what is named.

A name is that of a module or a package; with a slash it is a path.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from ..reading.files import Choice, is_runtimes_own, library_of
from .settings import SettingsError, names_in, nearest_above, read_table, read_toml, table_in


def names_of(option: str, names: Iterable[str]) -> list[str]:
    """TypeError: they are no names, or one text."""
    found = [names] if isinstance(names, str) else list(names)
    if isinstance(names, str) or not all(isinstance(name, str) for name in found):
        raise TypeError(f"{option} must be names of modules, such as ('urllib3',), not {names!r}")
    return found


def choice_for(test: Callable[[], object], include: list[str], exclude: list[str]) -> Choice:
    """For the same name, those given prevail over those in pyproject.toml, and these over what the project is.

    SettingsError: a name can't be found, or is not of Python code; pyproject.toml is wrong.
    """
    file = _file_of(test)
    project, table = read_table(file)
    (included, to_include), (excluded, to_exclude) = (names_in(project, table, key) for key in ("include", "exclude"))
    folder = str(project.parent) if project is not None else ""
    counts = {os.path.realpath(path): True for path in _of_project(file)}
    for where, base, names, what in (
        (included, folder, to_include, True),
        (excluded, folder, to_exclude, False),
        ("include", "", include, True),
        ("exclude", "", exclude, False),
    ):
        for name in names:
            counts |= {os.path.realpath(path): what for path in _found(name, base, where)}
    return tuple(sorted(counts.items()))


def _file_of(test: Callable[[], object]) -> str:
    """The test's file, or the current folder: a way of naming tests knows it, otherwise the test's module does."""
    if isinstance(known := getattr(test, "explored_file", None), str):
        return known
    while isinstance(test, functools.partial) or hasattr(test, "__wrapped__"):
        test = test.func if isinstance(test, functools.partial) else test.__wrapped__
    owner = type(getattr(test, "__self__", None)) if hasattr(test, "__func__") else test  # of a method
    module = sys.modules.get(getattr(owner, "__module__", None) or "")
    return getattr(module, "__file__", None) or os.getcwd()


# ---- names -----------------------------------------------------------------------------------------------------------


def _found(name: str, base: str, where: str) -> Iterable[str]:
    """The file of a module, or the folders of a package."""
    if "/" in name:
        path = os.path.join(base, os.path.expanduser(name))
        if not os.path.exists(path):
            raise SettingsError(f"{where}: there is no file or folder {path}")
        return [path]
    spec = _spec(name)
    if spec is None:
        raise SettingsError(f"{where}: no module {name} can be found")
    files = list(spec.submodule_search_locations or [spec.origin or ""])
    if files == ["frozen"]:
        raise SettingsError(f"{where}: {name} is frozen into the interpreter: start it with -X frozen_modules=off")
    if any(map(is_runtimes_own, files)):
        raise SettingsError(f"{where}: {name} is the runtime's own")
    if not spec.submodule_search_locations and not files[0].endswith(".py"):
        raise SettingsError(f"{where}: {name} is not written in Python, so a call of it is one step")
    return files


def _spec(name: str) -> ModuleSpec | None:
    """Of a module that need not be imported, nor does this import a package around it."""
    first, *inner = name.split(".")
    try:
        spec = importlib.util.find_spec(first)
    except (ImportError, ValueError):  # ValueError: it was made by hand, as __main__ is
        return None
    for part in inner:
        if spec is None or spec.submodule_search_locations is None:
            return None
        # Under its whole name a namespace package is found only below one that is imported (KeyError).
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations))
    return spec


# ---- the project that the test belongs to ----------------------------------------------------------------------------


def _of_project(file: str) -> Iterator[str]:
    """The installed files of the project that the test `file` belongs to, and `file` itself if it is installed."""
    if _is_installed(file):
        yield file
    top = nearest_above(file, "pyproject.toml", "setup.cfg", "setup.py")
    if top is None:
        return
    for entry in (*_entries(top.parent), *_entries(top.parent / "src")):
        spec = _spec(entry.stem) if entry.suffix == ".py" or (entry / "__init__.py").is_file() else None
        if spec is not None and spec.origin is not None and _is_installed(spec.origin):
            yield from spec.submodule_search_locations or [spec.origin]
    if name := _name_of(top.parent):
        yield from _of_distribution(name)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_installed(file: str) -> bool:
    return library_of(file) not in ("", *sys.stdlib_module_names)


def _name_of(folder: Path) -> str:
    if (file := folder / "pyproject.toml").is_file() and (name := table_in(read_toml(file), "project").get("name")):
        return str(name)
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(folder / "setup.cfg", encoding="utf-8")
    except (configparser.Error, UnicodeError):
        return ""
    return parser.get("metadata", "name", fallback="")


def _of_distribution(name: str) -> Iterator[str]:
    """Its modules, and its outermost packages."""
    import importlib.metadata  # takes 20 ms

    try:
        distribution = importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return
    if not _is_installed(str(distribution.locate_file("any.py"))):  # a checkout: its files are the program's anyhow
        return
    files = [file for file in distribution.files or () if file.suffix == ".py" and ".." not in file.parts]
    packages = {file.parent for file in files if file.name == "__init__.py"}
    tops = (next((folder for folder in reversed(file.parents) if folder in packages), file) for file in files)
    for top in dict.fromkeys(tops):
        yield str(distribution.locate_file(top))
