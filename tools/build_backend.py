"""setuptools, which is asked first what it needs: cffi is named only then, when setup.py has not refused.

Where the runtime can't work, cffi may be a compiler's long complaint itself, so it isn't in pyproject.toml.
"""

from __future__ import annotations

from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403

NEEDS = ["cffi>=1.16"]


def get_requires_for_build_wheel(settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(settings), *NEEDS]


def get_requires_for_build_editable(settings: Any = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(settings), *NEEDS]
