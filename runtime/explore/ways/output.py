"""What an explored program prints: of the last run only."""

from __future__ import annotations

import io
import sys

__all__ = ["Output"]


class _Bytes(io.BytesIO):
    def close(self) -> None:
        """A program that closes its standard output has said all the same what it has said."""


class Output:
    """Stands for standard output and error within a `with`; begin() forgets what was printed before."""

    def __init__(self) -> None:
        self._bytes = _Bytes()

    def __enter__(self) -> Output:
        self._before = sys.stdout, sys.stderr
        return self

    def __exit__(self, *_: object) -> None:
        sys.stdout, sys.stderr = self._before

    def begin(self) -> None:
        self._bytes = _Bytes()
        sys.stdout = io.TextIOWrapper(self._bytes, "utf-8", "backslashreplace", write_through=True)
        sys.stderr = io.TextIOWrapper(self._bytes, "utf-8", "backslashreplace", write_through=True)

    @property
    def text(self) -> str:
        return self._bytes.getvalue().decode(errors="replace")
