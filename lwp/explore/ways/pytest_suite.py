"""Exploring the tests of a run of pytest; lwp_pytest registers a Suite when one of them is to be explored.

What an exploration has come to is `lwp_explore` of the test's report: a dict of plain values, which pytest-xdist passes
on and pytest_summary reads.
"""

from __future__ import annotations

import functools
import os
import random
import re
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from ...reading.folders import private
from ..exploration import TO_TELL_OF_SHARE, Share
from ..results import Outcome, Result
from ..run.plans import GRANULARITIES
from ..search.strategies import check_strategy
from ..settings import SettingsError, read_table
from .debugger import without_breakpoints
from .kept import Kept
from .pytest_items import (
    check_options,
    debug_item,
    end_fixtures,
    explore_item,
    is_explored,
    options_for,
    reason_against,
    renew,
)

_SEED = "lwp_explore_seed"  # of a worker's input
_TO_TELL = TO_TELL_OF_SHARE + 2  # seconds that a find may take after the test's time, with the run that it cuts off

_result: pytest.StashKey[Result] = pytest.StashKey()  # of a test that fails by it
_facts: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
_kills: pytest.StashKey[bool] = pytest.StashKey()  # whether the test's threads have ended with its runs
_own_limit: pytest.StashKey[float] = pytest.StashKey()  # seconds, of pytest-timeout


# ---- options ---------------------------------------------------------------------------------------------------------


def _whole(value: Any) -> int:
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if type(value) is not int or value < 1:
        raise ValueError("a whole number from 1 on")
    return value


def _seconds(value: Any) -> Share:
    if isinstance(value, str) and re.fullmatch(r"\d+\.?\d*|\.\d+", value):
        value = float(value)
    if type(value) not in (int, float) or not 0 < value < 1e9:
        raise ValueError("a number of seconds above 0")
    return Share(value)


def _seed(value: Any) -> int:
    if value == "daily":
        return int(time.strftime("%Y%m%d", time.gmtime()))
    if isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        value = int(value)
    if type(value) is not int:
        raise ValueError("a whole number, or daily")
    return value


def _strategy(value: Any) -> str:
    check_strategy(value)
    return str(value)


def _granularity(value: Any) -> str:
    if value not in ("auto", *GRANULARITIES):
        raise ValueError(f"auto, {', '.join(GRANULARITIES)}")
    return str(value)


def _known(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(reason, str) for reason in value.values()):
        raise ValueError("a table with a reason, a text, for each name of a find")
    return value


def _switch(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def _folder(value: Any) -> str:
    if not isinstance(value, str) or not value or (os.path.exists(value) and not os.path.isdir(value)):
        raise ValueError("a folder, which is made if there is none")
    return os.path.abspath(value)


def _file(value: Any) -> str:
    if (
        not isinstance(value, str)
        or not value
        or os.path.isdir(value)
        or not os.path.isdir(os.path.dirname(value) or ".")
    ):
        raise ValueError("a file in a folder that is there")
    return os.path.abspath(value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "runs": _whole,
    "seconds": _seconds,
    "total": _seconds,
    "seed": _seed,
    "strategy": _strategy,
    "granularity": _granularity,
    "workers": _whole,
    "early_timeouts": _switch,
    "cancel": _switch,
    "races": _switch,
    "html": _folder,
    "json": _file,
    "keep": _switch,
    "known": _known,
}
_OF_A_TEST = ("runs", "seconds", "strategy", "granularity", "workers", "early_timeouts", "cancel", "races")


def option(config: pytest.Config, name: str) -> Any:
    """What the command line says, or otherwise pyproject.toml; None: neither does. pytest.UsageError: it is wrong."""
    flag = "--lwp-explore" if name == "runs" else f"--lwp-explore-{name.replace('_', '-')}"
    value = getattr(config.option, flag[2:].replace("-", "_"), None)
    if value is None or (name == "runs" and value == ""):
        flag, value = f"pyproject.toml: [tool.lwp.explore] {name}", _settings(config).get(name)
    if value is None:
        return None
    try:
        return _CHECKS[name](value)
    except ValueError as error:
        raise pytest.UsageError(f"{flag}={value}: {_said(name, error)}") from None


def _said(name: str, error: ValueError) -> str:
    return str(error) if name == "strategy" else f"{name.upper()} is {error}"


def _settings(config: pytest.Config) -> dict[str, Any]:
    try:
        return read_table(str(config.rootpath))[1]
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from None


# ---- the tests -------------------------------------------------------------------------------------------------------


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

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._all = config.option.lwp_explore is not None
        self._token: str | None = config.option.lwp_explore_replay
        found = {name: option(config, name) for name in _CHECKS}
        self._debugs = self._token is not None and config.option.usepdb
        seed = getattr(config, "workerinput", {}).get(_SEED, found["seed"])
        self._seed: int = seed if seed is not None else random.SystemRandom().getrandbits(32)
        self._html: str | None = found["html"]
        self._known: dict[str, str] = found["known"] or {}
        self._kept = None if found["keep"] is False or self._token is not None else Kept(config.rootpath)
        self._time = _Time(found["total"])
        self._options = {name: found[name] for name in _OF_A_TEST if found[name] is not None}

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
        for item in session.items:
            check_options(item)
        if self._debugs:  # pytest's own prompt would come after the run, when the other threads are gone
            self._config.pluginmanager.unregister(name="pdbinvoke")
        workers = getattr(session.config, "workerinput", {}).get("workercount", 1)
        self._time.begin(-(-len(session.items) // workers))

    def pytest_runtest_logfinish(self) -> None:
        self._time.test_has_ended()

    def _is_meant(self, item: pytest.Item) -> bool:
        return self._all or self._token is not None or is_explored(item)

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
            item.stash[_facts] = _facts_of(item, "not explored", reason)
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
        kept = self._kept_find(item, options)
        result = kept or self._result(item, options)
        if result is None:
            item.stash[_facts] = _facts_of(item, "no thread", "it raises, and starts no thread")
            renew(item)
            run_plainly()
            return
        item.stash[_kills] = result._tried.kills
        item.stash[_facts] = facts = _facts_of(item, _outcome(result, late), result.report(), result)
        facts["kept"] = kept is not None
        if self._html is not None and result.token is not None:
            facts["page"] = _write_page(Path(self._html), item.nodeid, result)
        for name in ("outcome", "token", "runs", "seed"):  # JUnit's <property>
            if facts[name] is not None:
                item.user_properties.append((f"lwp_explore_{name}", facts[name]))
        _raise(item, result)

    def _kept_find(self, item: pytest.Function, options: dict[str, Any]) -> Result | None:
        """Replays what is kept of the test; None: it passes."""
        if self._kept is None or (token := self._kept.token(item.nodeid)) is None:
            return None
        result = explore_item(item, options, token)
        if result is None or result.token is None or result.name in options["known"]:
            self._kept.forget(item.nodeid)
            return None
        result.found_by = result.found_by.replace("replay", "a kept token")
        return result

    def _result(self, item: pytest.Function, options: dict[str, Any]) -> Result | None:
        with without_breakpoints() if self._debugs else nullcontext():
            result = explore_item(item, options, self._token)
        if result is None or result.token is None:
            return result
        if self._debugs and self._token is not None:
            debug_item(item, options, self._token)
        if self._kept is not None:
            try:
                self._kept.keep(item.nodeid, result.token)
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
        if result.command and result.command not in text:
            text += f"\n\nTo see it again: {result.command}"
        shown: Any = call.excinfo.getrepr(style="native", chain=False)  # whose frames are the explorer's
        shown.reprtraceback.reprentries[0].lines = [f"{line}\n" for line in text.splitlines()]
        report.longrepr = shown
        return report


def _outcome(result: Result, late: bool) -> str:
    """As a summary names it."""
    if result.error is not None:
        return result.outcome.value
    if not result._tried.has_threads:
        return "no thread"
    if result.known:
        return "known"
    return "out of time" if late else result.outcome.value


def _facts_of(item: pytest.Item, outcome: str, report: str, result: Result | None = None) -> dict[str, Any]:
    found = result or Result(Outcome.EXHAUSTED)
    return {
        "nodeid": item.nodeid,
        "outcome": outcome,
        "name": found.name,
        "known": found.known,
        "token": found.token,
        "command": found.command or None,
        "runs": found.runs,
        "distinct": found.distinct,
        "seconds": round(found.seconds, 6),
        "seed": found.seed,
        "kept": False,
        "tasks": bool(found._tried and found._tried.has_tasks),
        "races": found.races,
        "orders": found.orders,
        "unswitched": sorted(found._tried.unswitched) if found._tried else [],
        "report": report,
    }


def _raise(item: pytest.Item, result: Result) -> None:
    __tracebackhide__ = True
    expected = getattr(getattr(item, "obj", None), "__unittest_expecting_failure__", False)
    if result.error is None:
        if expected:
            pytest.fail("Unexpected success", pytrace=False)
        return
    if expected and result.token is not None:
        pytest.xfail()
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
