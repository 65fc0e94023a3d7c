"""Which version this is."""

from __future__ import annotations


def version() -> str:
    """The runtime's version, also from a source tree that is not installed."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("lwp-runtime")
    except PackageNotFoundError:
        return "(not installed)"
