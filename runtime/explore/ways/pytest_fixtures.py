"""A test's own fixtures, which each run gets anew, as each call of the test gets them in pytest."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.tmpdir import tmppath_result_key

__all__ = ["Fixtures"]


class Fixtures:
    """Within a `with`, in a run: fixtures of the scope `function` and setup_method() are made, and ended at its end.

    So what they start is under control, and what they stop is not left behind.  Fixtures of a wider scope are made
    once.
    """

    def __init__(self, item: pytest.Function) -> None:
        """Called after pytest has made them: ends these."""
        self._item: Any = item
        self._ends: list[Callable[[], object]] = self._item.session._setupstate.stack[item][0]
        self._are_any = len(self._ends) > 1  # the first is the item's own
        if self._are_any:
            with suppress(Exception):  # a fixture may complain that the test has not used it
                self._end()

    def __enter__(self) -> dict[str, object]:
        """Their values by name."""
        self.make()
        values: dict[str, object] = self._item.funcargs
        return values

    def make(self) -> None:
        """pytest ends what the last call has made."""
        if self._are_any:
            with suppress(BaseException):
                self._end()  # of a run whose thread was abandoned
            self._item._initrequest()
            self._item.setup()

    def __exit__(self, *_: object) -> None:
        if self._are_any:
            self._end()

    def _end(self) -> None:
        raised: BaseException | None = None
        self._item.stash.setdefault(tmppath_result_key, {})  # tmp_path takes it away at its end
        while len(self._ends) > 1:
            try:
                self._ends.pop()()
            except BaseException as error:
                raised = raised or error
        path = self._item.funcargs.get("tmp_path")
        if isinstance(path, Path):  # otherwise there would be one for each run
            shutil.rmtree(path, ignore_errors=True)
        if raised is not None:
            raise raised
