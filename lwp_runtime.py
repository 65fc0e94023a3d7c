"""Finds the packages `runtime` and `lwp` beside this file, and leaves these names to a program that has its own.

The command `lwp`, pytest's plugin and the start-up hook begin here, because a name may already be the program's when
they begin; and the tools find the core by it.  (PYTEST_DONT_REWRITE: pytest would warn that it came too late to rewrite
what the hook has loaded.)
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["give_way", "load", "main", "name_here", "packages"]

#: The packages, and a file that only ours has.
_MARKS = {"runtime": os.path.join("native", "build.py"), "lwp": os.path.join("command", "_main.py")}
_PREFIX = "_lwp_"  # before a package's name in sys.modules while that name is the program's

_seen: dict[str, ModuleType] = {}  # the loaded packages: later the process may be another user's, and see no files


def _is_ours(name: str, spec: ModuleSpec | None) -> bool:
    """Whether it leads to this package or to another copy of it, which must not come into the same process."""
    origin = spec.origin if spec else None
    return bool(origin and os.path.isfile(os.path.join(os.path.dirname(origin), _MARKS[name])))


def _loaded(name: str) -> str | None:
    """What the package is called in sys.modules."""
    for known in (name, _PREFIX + name):
        module = sys.modules.get(known)
        if module is not None and (module is _seen.get(name) or _is_ours(name, getattr(module, "__spec__", None))):
            _seen[name] = module
            return known
    return None


def packages() -> set[str]:
    """What those of the packages that are loaded are called."""
    return {known for known in map(_loaded, _MARKS) if known}


def name_here(module: str) -> str:
    """What a module of ours is called here; another process, where it may be called otherwise, has given its name."""
    package, dot, rest = module.partition(".")
    name = package.removeprefix(_PREFIX)
    return (_loaded(name) or name) + dot + rest if name in _MARKS else module


def _find(name: str, without: object = None) -> ModuleSpec | None:
    """What `import NAME` would find."""
    for finder in sys.meta_path:
        if finder is not without and hasattr(finder, "find_spec") and (spec := finder.find_spec(name, None)):
            return spec
    return None


def load(module: str) -> ModuleType:
    """A module of ours, by its name in our source, whatever the program calls `runtime` or `lwp`."""
    name, dot, rest = module.partition(".")
    if (known := _loaded(name)) is None:
        if name not in sys.modules and _finders[name] not in sys.meta_path and _is_ours(name, _find(name)):
            known = name
        else:
            known = _load_privately(name)
        import_module(known)
        _loaded(name)  # sees it while the process can still read files
    return import_module(known + dot + rest)


def _load_privately(name: str) -> str:
    from importlib.util import module_from_spec, spec_from_file_location

    root = os.path.dirname(os.path.abspath(__file__))
    if not os.path.isdir(folder := os.path.join(root, name)):
        raise ModuleNotFoundError(f"runtime's tools are not installed: there is no package {name} in {root}", name=name)
    private = _PREFIX + name
    spec = spec_from_file_location(private, os.path.join(folder, "__init__.py"), submodule_search_locations=[folder])
    assert spec
    assert spec.loader
    sys.modules[private] = package = module_from_spec(spec)
    spec.loader.exec_module(package)
    return private


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
    """Stands first on sys.meta_path while the package goes by its private name, or is to do so when it is loaded.

    A program that imports it by its name gets what it would have found without us.  If that is this package, it gets
    the package that is loaded, which then has its own name again.
    """

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.package:
            return None
        found = _find(name, without=self)
        if found is None or not _is_ours(name, found) or _PREFIX + name not in sys.modules:
            return found
        spec = ModuleSpec(name, self, origin=found.origin, is_package=True)  # type: ignore[arg-type]
        spec.submodule_search_locations = found.submodule_search_locations
        return spec

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        _rename(_PREFIX + self.package, self.package)
        module = sys.modules[self.package]
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec  # importlib has written its own there


_finders = {name: _Finder(name) for name in _MARKS}


def give_way() -> None:
    """Leaves the names `runtime` and `lwp` to the program, from its first line on."""
    for name, finder in _finders.items():
        if _loaded(name) == name:
            _rename(name, _PREFIX + name)
        if finder not in sys.meta_path:
            sys.meta_path.insert(0, finder)


def main() -> int:
    """The command `lwp`."""
    try:
        command = load("lwp.command")
    except ModuleNotFoundError as missing:
        if missing.name == "lwp":
            sys.exit(f"lwp: {missing}")
        if missing.name != "click":
            raise
        # The source tree is enough for `python -m`, and has what is needed only when it has been installed.
        install = f"`{sys.executable} -m pip install -e .` in the source tree installs it"
        sys.exit(f"lwp: {missing.name} is missing: {install}")
    return command.main()  # type: ignore[no-any-return]
