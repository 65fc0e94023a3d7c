"""Names of a module that are loaded when they are first asked for (PEP 562): who doesn't ask loads little."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping

__all__ = ["loading"]


def loading(module: str, homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The __getattr__() and __dir__() of a module of this package.

    homes: the module, relative to the package, that has each name.
    """

    def get_attribute(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(homes[name], __package__), name)
        setattr(sys.modules[module], name, value)
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[module]), *homes})

    return get_attribute, list_names
