"""Names of a module that are loaded when they are first asked for (PEP 562): who doesn't ask loads little."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, but importing that takes longer than all of this
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["loading"]


def loading(names: dict[str, Any], homes: Mapping[str, str]) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """The __getattr__() and __dir__() of a module of this package.

    names: its globals().  homes: the module, relative to the package, that has each name.
    """

    def get_attribute(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {names['__name__']!r} has no attribute {name!r}")
        from importlib import import_module

        value = names[name] = getattr(import_module(homes[name], __package__), name)
        return value

    def list_names() -> list[str]:
        return sorted({*names, *homes})

    return get_attribute, list_names
