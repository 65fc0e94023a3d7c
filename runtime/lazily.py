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
    """The __getattr__() and __dir__() of a module of this package.

    names: its globals().  homes: the module, relative to the package, that has each name.  modules: names that are a
    module themselves, and which.
    """
    modules = modules or {}

    def get_attribute(name: str) -> object:
        if name not in homes and name not in modules:
            raise AttributeError(f"module {names['__name__']!r} has no attribute {name!r}")
        from importlib import import_module

        if name in homes:
            names[name] = value = getattr(import_module(homes[name], __package__), name)
            return value
        return import_module(modules[name], __package__)

    def list_names() -> list[str]:
        return sorted({*names, *homes, *modules})

    return get_attribute, list_names
