"""Which version this is."""

from __future__ import annotations


def version() -> str:
    """The runtime's version, also from a source tree that is not installed."""
    from importlib.metadata import PackageNotFoundError

    try:
        from .. import __version__
    except PackageNotFoundError:
        return "(not installed)"
    return __version__
