"""A test's fixtures, which each run makes anew."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.tmpdir import tmppath_result_key

_fixtures: pytest.StashKey[Fixtures] = pytest.StashKey()  # there is one for all explorations of a test


class Fixtures:
    """Within a `with`, in a run: fixtures of the scope `function` and setup_method() are made, and ended at its end.

    So what they start is under control, and what they stop is not left behind.  Fixtures of a wider scope are made
    once, until widen().
    """

    def __init__(self, item: pytest.Function) -> None:
        """Called after pytest has made them: ends these."""
        self._item: Any = item
        self._state: Any = self._item.session._setupstate
        self._of_all_scopes = False
        self._are_any = len(self._ends) > 1  # the first is the item's own
        if self._are_any:
            with suppress(Exception):  # a fixture may complain that the test has not used it
                self._end()

    @property
    def _ends(self) -> list[Callable[[], object]]:
        ends: list[Callable[[], object]] = self._state.stack[self._item][0]
        return ends

    @property
    def has_wider(self) -> bool:
        """Whether the test has fixtures of a wider scope than the function, besides pytest's own."""
        last = (defined[-1] for defined in self._item._fixtureinfo.name2fixturedefs.values() if defined)
        return any(one.scope != "function" and not one.func.__module__.startswith("_pytest.") for one in last)

    def end_all(self) -> None:
        """Ends those of all scopes: pytest makes them anew for the next test."""
        try:  # teardown_exact() forgets the others of a scope when one raises Unwound
            self._end_each(*(ends for ends, _ in reversed(self._state.stack.values())))
        finally:
            self._state.teardown_exact(None)

    def widen(self) -> bool:
        """From now on each run makes fixtures of all scopes anew, as a pytest of its own would.

        False: it did so before, or the test has none of a wider scope.
        """
        if self._of_all_scopes or not self.has_wider:
            return False
        self._of_all_scopes = self._are_any = True
        with suppress(Exception):
            self._end()
        return True

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
            if self._of_all_scopes:
                self._state.setup(self._item)
            else:
                self._item.setup()

    def __exit__(self, *_: object) -> None:
        if self._are_any:
            self._end()

    def _end(self) -> None:
        self._item.stash.setdefault(tmppath_result_key, {})  # tmp_path takes it away at its end
        try:
            self.end_all() if self._of_all_scopes else self._end_each(self._ends)
        finally:
            path = self._item.funcargs.get("tmp_path")
            if isinstance(path, Path):  # otherwise there would be one for each run
                shutil.rmtree(path, ignore_errors=True)

    def _end_each(self, *scopes: list[Callable[[], object]]) -> None:
        raised: BaseException | None = None
        for ends in scopes:
            while len(ends) > 1:  # the first is pytest's own
                try:
                    ends.pop()()
                except BaseException as error:
                    raised = raised or error
        if raised is not None:
            raise raised


def fixtures_of(item: pytest.Function) -> Fixtures:
    if _fixtures not in item.stash:
        item.stash[_fixtures] = Fixtures(item)
    return item.stash[_fixtures]


def end_fixtures(item: pytest.Item) -> None:
    """Ends fixtures of a wider scope, whose threads have ended with the first run."""
    if _fixtures in item.stash and item.stash[_fixtures].has_wider:
        item.stash[_fixtures].end_all()


def renew(item: pytest.Function) -> None:
    """Makes the test's fixtures once more after its runs, for a call as pytest's own."""
    if _fixtures in item.stash:
        item.stash[_fixtures].make()
