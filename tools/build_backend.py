"""setuptools, which is asked first what it needs: cffi is named only then, when setup.py has not refused.

Where the runtime can't work, or be compiled, cffi may be a compiler's long complaint itself, so it isn't in
pyproject.toml.
"""

from __future__ import annotations

from runpy import run_path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

NEEDS = ["cffi>=1.16"]


def _check() -> None:
    if reason := run_path("runtime/native/build.py")["missing"]():
        raise SystemExit(reason)


def get_requires_for_build_wheel(settings: Any = None) -> list[str]:
    _check()
    return [*build_meta.get_requires_for_build_wheel(settings), *NEEDS]


def get_requires_for_build_editable(settings: Any = None) -> list[str]:
    _check()
    return [*build_meta.get_requires_for_build_editable(settings), *NEEDS]
