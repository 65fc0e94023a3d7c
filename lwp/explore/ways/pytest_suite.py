"""Exploring tests of pytest: lwp_pytest registers a Suite when a test is to be explored.

What an exploration has come to is `lwp_explore` of the test's report: a dict of plain values, which pytest-xdist passes
on, and pytest_summary.py reads.
"""

from __future__ import annotations

import functools
import os
import random
import re
import shlex
import sys
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from ...core import printable
from ...reading.folders import private
from ..exploration import TO_TELL_OF_SHARE, Share
from ..results import Died, Find, Outcome, Result, facts_of
from ..run.hand import Hand
from ..telling.words import of_error
from ..tokens import make_token
from .beside import watched
from .debugger import without_breakpoints
from .kept import Kept
from .pytest_exploring import check_options, debug_item, explore_item, options_for, reason_against, where
from .pytest_fixtures import end_fixtures, renew
from .pytest_settings import CHECKS, OF_A_TEST, option

_SEED = "lwp_explore_seed"  # of a worker's input
_STEPS = 20_000  # of a run that is known when it has ended the process
_TO_TELL = TO_TELL_OF_SHARE + 2  # seconds that a find may take after the test's time, with the run that it cuts off

_result: pytest.StashKey[Result] = pytest.StashKey()  # of a test that fails by it
_facts: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
_kills: pytest.StashKey[bool] = pytest.StashKey()  # whether the test's threads have ended with its runs
_own_limit: pytest.StashKey[float] = pytest.StashKey()  # seconds, of pytest-timeout


class _Time:
    """Shares the seconds that there are for all tests among those still to come."""

    def __init__(self, total: float | None) -> None:
        self._total = total
        self._to_come = 0

    def begin(self, tests: int) -> None:
        self._to_come = tests
        self._began = time.monotonic()

    def test_has_ended(self) -> None:
        self._to_come -= 1

    def share(self) -> Share | None:
        """For the next test; 0.0: the time is over, None: there is no limit."""
        if self._total is None:
            return None
        return Share(max(self._total - (time.monotonic() - self._began), 0.0) / max(self._to_come, 1))


class Suite:
    """A plugin of pytest: explores all tests, or those that are marked."""

    def __init__(self, config: pytest.Config, is_marked: Callable[[pytest.Item], bool]) -> None:
        """is_marked: whether a test itself asks for it."""
        self._config = config
        self._is_marked = is_marked
        self._all = config.option.lwp_explore is not None
        self._token: str | None = config.option.lwp_explore_replay
        found = {name: option(config, name) for name in CHECKS}
        self._debugs = self._token is not None and config.option.usepdb
        seed = getattr(config, "workerinput", {}).get(_SEED, found["seed"])
        self._seed: int = seed if seed is not None else random.SystemRandom().getrandbits(32)
        self._html: str | None = found["html"]
        self._known: dict[str, str] = found["known"] or {}
        self._known_tokens = Kept(config.rootpath)
        self._kept = None if found["keep"] is False or self._token is not None else self._known_tokens
        self._hand = Hand(_STEPS)
        if not getattr(config.option, "numprocesses", None) or hasattr(config, "workerinput"):
            fd = os.dup((sys.__stderr__ or sys.stderr).fileno())  # as it is before any test is captured
            config.add_cleanup(lambda: os.close(fd))
            watched(self._hand, fd, lambda: self._tell_of_death(fd))
        self._time = _Time(found["total"])
        self._options = {name: found[name] for name in OF_A_TEST if found[name] is not None}

    def _tell_of_death(self, fd: int) -> None:
        """In the process that watches this one."""
        assert self._hand.plan is not None
        nodeid, where = self._hand.about
        token = make_token(self._hand.plan[0], 0)
        if self._kept is not None:
            with suppress(OSError):
                self._kept.keep(nodeid, token, died=True)
        text = f"a run of {nodeid} has ended the process; again: pytest {where} --lwp-explore-replay {token}"
        os.write(fd, f"\nlwp explore: {printable(text)}\n".encode())

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:  # pytest-xdist's: a worker begins
        node.workerinput[_SEED] = self._seed

    def pytest_report_header(self) -> str | None:
        if self._token is not None:
            return None
        options = "".join(f", {name} {value}" for name, value in self._options.items())
        return f"lwp explore: seed {self._seed}{options}"

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self._token is not None and len(session.items) > 1:
            raise pytest.UsageError(f"--lwp-explore-replay is for one test, and {len(session.items)} are selected")
        typed = [arg for arg in session.config.invocation_params.args if str(arg).startswith("--lwp-explore-")]
        if typed and session.items and not any(map(self._is_meant, session.items)):
            option = str(typed[0]).partition("=")[0]
            raise pytest.UsageError(f"{option} is for --lwp-explore, or for tests that are marked: none is")
        for item in session.items:
            check_options(item)
        if self._debugs:  # pytest's own prompt would come after the run, when the other threads are gone
            self._config.pluginmanager.unregister(name="pdbinvoke")
        workers = getattr(session.config, "workerinput", {}).get("workercount", 1)
        self._time.begin(-(-len(session.items) // workers))

    def pytest_runtest_logfinish(self) -> None:
        self._time.test_has_ended()

    def _is_meant(self, item: pytest.Item) -> bool:
        return self._all or self._token is not None or self._is_marked(item)

    @pytest.hookimpl(tryfirst=True, optionalhook=True)
    def pytest_timeout_set_timer(self, item: pytest.Item, settings: Any) -> object:
        """pytest-timeout's: its limit is for one call of the test. The test is explored for so long, and then told."""
        if _own_limit in item.stash or not self._is_meant(item) or reason_against(item) is not None:
            return None
        item.stash[_own_limit] = settings.timeout
        longer = settings._replace(timeout=2 * settings.timeout + _TO_TELL)
        return item.config.hook.pytest_timeout_set_timer(item=item, settings=longer)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        if not self._is_meant(item):
            return
        if (reason := reason_against(item)) is not None:
            item.stash[_facts] = _facts_of(item, "not explored", report=reason)
            return
        item.runtest = functools.partial(self._explore, item, item.runtest)  # type: ignore[method-assign]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        if item.stash.get(_kills, False):
            end_fixtures(item)

    def _explore(self, item: Any, run_plainly: Callable[[], object]) -> None:
        __tracebackhide__ = True
        options = options_for(item, {**self._options, "seed": self._seed, "known": ()})
        if self._known and not isinstance(options["known"], str):
            options["known"] = {*options["known"], *self._known}
        late = self._limit(item, options)
        self._hand.about = [item.nodeid, shlex.quote(where(item))]
        kept = self._kept_find(item, options)
        result = kept or self._result(item, options)
        if result is None:
            item.stash[_facts] = _facts_of(item, "no thread", report="it raises, and starts no thread")
            renew(item)
            run_plainly()
            return
        item.stash[_kills] = result._tried.kills
        item.stash[_facts] = facts = _facts_of(item, _outcome(result, late), result, kept=kept is not None)
        if self._html is not None and result.token is not None:
            facts["page"] = _write_page(Path(self._html), item.nodeid, result)
        for name in ("outcome", "token", "runs", "seed"):  # JUnit's <property>
            if facts[name] is not None:
                item.user_properties.append((f"lwp_explore_{name}", facts[name]))
        _raise(item, result)

    def _kept_find(self, item: pytest.Function, options: dict[str, Any]) -> Result | None:
        """Replays what is kept of the test; None: it passes."""
        if self._kept is None or (found := self._kept.token(item.nodeid)) is None:
            return None
        result = explore_item(item, options, *found)
        if result is None or result.token is None or result.name in options["known"]:
            self._kept.forget(item.nodeid)
            return None
        result.found_by = result.found_by.replace("replay", "a kept token")
        return result

    def _result(self, item: pytest.Function, options: dict[str, Any]) -> Result | None:
        with without_breakpoints() if self._debugs else nullcontext():
            died = (self._token, True) == self._known_tokens.token(item.nodeid)
            result = explore_item(item, options, self._token, died)
        if result is None or result.token is None or result._unasked:
            return result
        if self._debugs and self._token is not None:
            debug_item(item, options, self._token)
        if self._kept is not None:
            try:
                self._kept.keep(item.nodeid, result.token, isinstance(result.error, Died))
            except OSError as error:
                warnings.warn(pytest.PytestWarning(f"lwp explore: what failed can't be kept: {error}"), stacklevel=2)
        return result

    def _limit(self, item: pytest.Item, options: dict[str, Any]) -> bool:
        """Takes the test's share of the time for all tests, and no more than its own limit; whether that was over."""
        if (most := item.stash.get(_own_limit, None)) is not None and (options.get("seconds") or most) >= most:
            options["seconds"] = Share(most)
        share = self._time.share()
        if share is None or self._token is not None:
            return False
        if share == 0.0:
            options["runs"] = 1
        else:
            own = options.get("seconds")
            options["seconds"] = share if own is None else min(share, own)
        return share == 0.0

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when != "call":
            return report
        if (facts := item.stash.get(_facts, None)) is not None:
            report.lwp_explore = facts  # type: ignore[attr-defined]
        result = item.stash.get(_result, None)
        if result is None or call.excinfo is None or call.excinfo.value is not result.error:
            return report
        text = result.report().rstrip()
        shown: Any = call.excinfo.getrepr(style="native", chain=False)  # whose frames are the explorer's
        shown.reprtraceback.reprentries[0].lines = [f"{line}\n" for line in text.splitlines()]
        report.longrepr = shown
        return report


def _outcome(result: Result, late: bool) -> str:
    """As a summary names it."""
    if result.error is not None:
        return result.outcome.value
    if not result._tried.varies:
        return "no thread"
    if result.known:
        return "known"
    return "out of time" if late else result.outcome.value


def _facts_of(item: pytest.Item, outcome: str, result: Result | None = None, **more: object) -> dict[str, Any]:
    facts = facts_of(result or Result(Outcome.EXHAUSTED)) | {"nodeid": item.nodeid, "outcome": outcome, "kept": False}
    unswitched = sorted(result._tried.unswitched) if result is not None and result._tried else []
    return facts | {"tasks": facts.pop("asyncio_tasks"), "unswitched": unswitched} | more


def _raise(item: pytest.Item, result: Result) -> None:
    __tracebackhide__ = True
    expected = getattr(getattr(item, "obj", None), "__unittest_expecting_failure__", False)
    if result.error is None or result._unasked:
        if expected:
            pytest.fail("Unexpected success", pytrace=False)
        return
    if expected and result.token is not None:
        pytest.xfail()
    if isinstance(result.error, KeyboardInterrupt):  # which would end pytest
        result.error = Find(of_error(result.error))
    item.stash[_result] = result
    raise result.error


def _write_page(folder: Path, nodeid: str, result: Result) -> str:
    """Its file, which is named after the test."""
    file = folder / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', nodeid)}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(file, "w", encoding="utf-8", opener=private) as out:
            out.write(result.page())
    except OSError as error:
        pytest.fail(f"--lwp-explore-html: {file}: {error.strerror}\n\n{result.report()}", pytrace=False)
    return str(file)
