"""Tokens of tests that failed, kept from one run of pytest to the next: a file for each test and version of Python.

Several processes may use the folder at once: a file is replaced whole, and each test is explored by one of them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
import tempfile
from pathlib import Path

from ..tokens import BadToken, read_token

_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
_IGNORED = (
    "# Tokens of tests that failed, which `pytest --lwp-explore` replays first. Cache them, don't commit them.\n*\n"
)


class Kept:
    """root: the project's. Its folder .lwp/explore is made when there is something to keep."""

    def __init__(self, root: Path) -> None:
        self._folder = root / ".lwp" / "explore"

    def _file(self, test: str) -> Path:
        begin = re.sub(r"[^A-Za-z0-9._-]+", "-", test)[-80:].strip("-.")
        return self._folder / f"{begin}-{hashlib.sha256(test.encode()).hexdigest()[:10]}-{_PYTHON}.json"

    def token(self, test: str) -> tuple[str, bool] | None:
        """Of the last run in which it failed, on this version of Python; and whether that has ended the process."""
        try:
            found = json.loads(self._file(test).read_text(encoding="utf-8"))
            read_token(found["token"])
        except (OSError, ValueError, TypeError, KeyError, BadToken):  # none, or a file that is not ours
            return None
        return str(found["token"]), bool(found.get("died"))

    def keep(self, test: str, token: str, died: bool = False) -> None:
        """OSError: it can't be written."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ignored = self._folder / ".gitignore"
        if not ignored.exists():
            _write(ignored, _IGNORED)
        _write(self._file(test), json.dumps({"test": test, "python": _PYTHON, "token": token, "died": died}) + "\n")

    def forget(self, test: str) -> None:
        with contextlib.suppress(OSError):
            self._file(test).unlink()


def _write(file: Path, text: str) -> None:
    """Whole, or not at all."""
    number, new = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    with open(number, "w", encoding="utf-8") as out:
        out.write(text)
    os.replace(new, file)
