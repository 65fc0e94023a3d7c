"""Finds the package `runtime` beside this file, and leaves that name to a program that has a `runtime` of its own.

The command `lwp`, pytest's plugin and the start-up hook begin here, because `runtime` may already be the program's when
they begin.  (PYTEST_DONT_REWRITE: pytest would warn that it came too late to rewrite what the hook has loaded.)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

__all__ = ["NAMES", "call", "give_way", "load", "main"]

NAME = "runtime"
PRIVATE = "_lwp_runtime"  # the package's name in sys.modules while NAME is the program's
NAMES = (NAME, PRIVATE)


def _is_ours(spec: ModuleSpec | None) -> bool:
    """Whether it leads to this package or to another copy of it, which must not come into the same process."""
    origin = spec.origin if spec else None
    return bool(origin and os.path.isfile(os.path.join(os.path.dirname(origin), "native", "build.py")))


def _find(without: object = None) -> ModuleSpec | None:
    """What `import runtime` would find."""
    for finder in sys.meta_path:
        if finder is not without and hasattr(finder, "find_spec") and (spec := finder.find_spec(NAME, None)):
            return spec
    return None


def load(module: str) -> ModuleType:
    """runtime.MODULE, whatever the program calls `runtime`."""
    for name in NAMES:
        if _is_ours(getattr(sys.modules.get(name), "__spec__", None)):
            return import_module(f"{name}.{module}")
    if NAME not in sys.modules and _is_ours(_find()):
        return import_module(f"{NAME}.{module}")
    _load_privately()
    return import_module(f"{PRIVATE}.{module}")


def call(module: str, name: str, *args: object) -> Any:
    """runtime.MODULE.NAME(*args).  Another process can be asked for it, because this module has the same name
    everywhere."""
    return getattr(load(module), name)(*args)


def _load_privately() -> None:
    from importlib.util import module_from_spec, spec_from_file_location

    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), NAME)
    spec = spec_from_file_location(PRIVATE, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])
    assert spec
    assert spec.loader
    sys.modules[PRIVATE] = package = module_from_spec(spec)
    spec.loader.exec_module(package)


def _rename(old: str, new: str) -> None:
    """Has the loaded package go by another name, under which its relative imports then find and load the rest."""
    loaded = {name: module for name, module in sys.modules.items() if name == old or name.startswith(old + ".")}
    renamed = {new + name.removeprefix(old): module for name, module in loaded.items()}
    sys.modules.update(renamed)  # before a relative import of another thread asks for it
    for name, module in renamed.items():
        if not issubclass(type(module), ModuleType):  # cffi has put something there that looks like a module
            continue
        module.__name__ = name
        module.__package__ = name if hasattr(module, "__path__") else name.rpartition(".")[0]
        if spec := module.__spec__:
            spec.name = name
            if hasattr(spec.loader, "name"):
                spec.loader.name = name  # type: ignore[union-attr]
    for name in loaded:
        del sys.modules[name]


class _Finder:
    """Stands first on sys.meta_path while the package goes by its private name.

    A program that imports `runtime` gets what it would have found without us.  If that is this package, it gets the
    package that is loaded, which then has its own name again.
    """

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != NAME:
            return None
        found = _find(without=self)
        if found is None or not _is_ours(found):
            return found
        spec = ModuleSpec(NAME, self, origin=found.origin, is_package=True)  # type: ignore[arg-type]
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        _rename(PRIVATE, NAME)
        self.package = sys.modules[NAME]
        self.spec = self.package.__spec__
        return self.package

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # importlib has written its own there


_finder = _Finder()


def give_way() -> None:
    """Leaves the name `runtime` to the program, from its first line on."""
    if _is_ours(getattr(sys.modules.get(NAME), "__spec__", None)):
        _rename(NAME, PRIVATE)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def main() -> int:
    """The command `lwp`."""
    return load("cli").main()  # type: ignore[no-any-return]
