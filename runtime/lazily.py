"""Names of a module that are loaded when they are first asked for (PEP 562), so that a program loads only what it
uses."""

from __future__ import annotations

TYPE_CHECKING = False  # typing's name, but importing typing takes longer than this whole module
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["loading"]


def loading(
    names: dict[str, Any], homes: Mapping[str, str], modules: Mapping[str, str] | None = None
) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The __getattr__() and __dir__() of a module of this package.  dir() has the public names, and the module's own
    such as __file__.

    names: its globals().  homes: the module that has each name, relative to `runtime`, or by its whole name as
    lwp_runtime.load() takes it.  modules: names that are a module themselves, and which.
    """
    modules = modules or {}

    def load(module: str) -> Any:
        if module.startswith("."):
            from importlib import import_module

            return import_module(module, __package__)
        import lwp_runtime

        return lwp_runtime.load(module)

    def get_attribute(name: str) -> object:
        if name not in homes and name not in modules:
            raise AttributeError(f"module {names['__name__']!r} has no attribute {name!r}")
        if name in homes:
            names[name] = value = getattr(load(homes[name]), name)
            return value
        return load(modules[name])

    def list_names() -> list[str]:
        own = names.get("__all__", names)
        return sorted({*own, *homes, *modules, *(name for name in names if name.startswith("__"))})

    return get_attribute, list_names
