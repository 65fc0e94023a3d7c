"""Exploring tests of pytest: lwp_pytest registers a Suite when a test is to be explored.

What an exploration has come to is `lwp_explore` of the test's report: a dict of plain values, which pytest-xdist passes
on, and summarize() reads.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import json
import logging
import os
import random
import re
import shlex
import shutil
import sys
import threading
import time
import unittest
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from _pytest.tmpdir import tmppath_result_key

from ...core import printable
from ...reading.folders import private
from ..exploration import TO_TELL_OF_SHARE, Share
from ..explorer import explore, options_of_replay, replay, survived
from ..results import Changing, Died, Find, Outcome, Result, facts_of
from ..run.hand import Hand
from ..run.plans import GRANULARITIES
from ..search.strategies import check_strategy
from ..search.tried import counted, left_out
from ..settings import SettingsError, read_table
from ..tasks.loops import plain
from ..telling.words import of_error
from ..tokens import BadToken, make_token
from .beside import watched
from .debugger import debug, without_breakpoints
from .kept import Kept
from .targets import Output, options_of, why_not

_SEED = "lwp_explore_seed"  # of a worker's input
_STEPS = 20_000  # of a run that is known when it has ended the process
_TO_TELL = TO_TELL_OF_SHARE + 2  # seconds that a find may take after the test's time, with the run that it cuts off

_result: pytest.StashKey[Result] = pytest.StashKey()  # of a test that fails by it
_facts: pytest.StashKey[dict[str, Any]] = pytest.StashKey()
_kills: pytest.StashKey[bool] = pytest.StashKey()  # whether the test's threads have ended with its runs
_own_limit: pytest.StashKey[float] = pytest.StashKey()  # seconds, of pytest-timeout
_OPTIONS = tuple(name for name in inspect.signature(explore).parameters if name not in ("test", "progress"))
_fixtures: pytest.StashKey[_Fixtures] = pytest.StashKey()  # there is one for all explorations of a test
#: _Fixtures with which a test looks at what it prints.
_LOOKING = {"capsys", "capsysbinary", "capteesys", "capfd", "capfdbinary"}


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


def _is(is_right: Callable[[Any], bool], said: str) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not is_right(value):
            raise ValueError(said)
        return value

    return check


def _is_known(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(reason, str) for reason in value.values())


_switch = _is(lambda value: type(value) is bool, "true or false")


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
    "granularity": _is(("auto", *GRANULARITIES).__contains__, f"auto, {', '.join(GRANULARITIES)}"),
    "workers": _whole,
    "early_timeouts": _switch,
    "cancel": _switch,
    "races": _switch,
    "html": _folder,
    "json": _file,
    "keep": _switch,
    "known": _is(_is_known, "a table with a reason, a text, for each name of a find"),
}
_OF_A_TEST = ("runs", "seconds", "strategy", "granularity", "workers", "early_timeouts", "cancel", "races")


def _option(config: pytest.Config, name: str) -> Any:
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


# ---- a test's fixtures -----------------------------------------------------------------------------------------------


class _Fixtures:
    """Within a `with`, in a run: fixtures of the scope `function` and setup_method() are made, and ended at its end.

    So what they start is under control, and what they stop is not left behind.  _Fixtures of a wider scope are made
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
            if self._of_all_scopes:
                self.end_all()
            else:
                self._end_own()
        finally:
            path = self._item.funcargs.get("tmp_path")
            if isinstance(path, Path):  # otherwise there would be one for each run
                shutil.rmtree(path, ignore_errors=True)

    def _end_own(self) -> None:
        raised: BaseException | None = None
        while len(self._ends) > 1:
            try:
                self._ends.pop()()
            except BaseException as error:
                raised = raised or error
        if raised is not None:
            raise raised


# ---- a test ----------------------------------------------------------------------------------------------------------


def _check_options(item: pytest.Item) -> None:
    """pytest.UsageError: a mark has other options than explore()."""
    for mark in item.iter_markers("explore"):
        wrong = [repr(value) for value in mark.args] + [name for name in mark.kwargs if name not in _OPTIONS]
        if wrong:
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.explore has no option {wrong[0]}: its options are {', '.join(_OPTIONS)}"
            )


def _options_for(item: pytest.Function, suite: dict[str, Any]) -> dict[str, Any]:
    """Options of the suite, of @explored and of the marks; what is nearest to the test prevails."""
    options = suite | options_of(item.obj)[1]
    for mark in reversed(list(item.iter_markers("explore"))):
        options |= mark.kwargs
    return options


def _reason_against(item: pytest.Item) -> str | None:
    """Why the test is not explored, or None."""
    if not isinstance(item, pytest.Function):
        return "is no function"
    return why_not(options_of(item.obj)[0])


def _call(item: pytest.Function) -> Callable[[], object]:
    """What a run does."""
    if isinstance(item.instance, unittest.TestCase):
        return functools.partial(_call_case, item.instance)
    function, options = options_of(item.obj)
    if function is not item.obj and item.instance is not None and options is not None:
        function = functools.partial(function, item.instance)
    fixtures = _fixtures_of(item)
    function = plain(function)

    def call() -> None:
        with fixtures as values:
            runs = _in_its_runner(item, function)
            runs(**{name: values[name] for name in item._fixtureinfo.argnames})

    return call


def _in_its_runner(item: Any, function: Callable[..., object]) -> Callable[..., object]:
    """pytest-asyncio has bound the test to the runner among the fixtures that it made first. Each run makes a runner,
    in whose loop its fixtures are."""
    name = f"_{getattr(item, '_loop_scope', '')}_scoped_runner"
    coroutine = getattr(function, "__wrapped__", None)
    if name not in item.fixturenames or coroutine is None:
        return function
    run = item._request.getfixturevalue(name).run
    return lambda **values: run(coroutine(**values), context=contextvars.copy_context())


def _call_case(made: unittest.TestCase) -> None:
    """With setUp() and tearDown(), on an instance of its own, as unittest does; made: has what fixtures have set."""
    case = type(made)(made._testMethodName)
    vars(case).update({name: value for name, value in vars(made).items() if name not in vars(case)})
    case.debug()


def _fixtures_of(item: pytest.Function) -> _Fixtures:
    if _fixtures not in item.stash:
        item.stash[_fixtures] = _Fixtures(item)
    return item.stash[_fixtures]


def _end_fixtures(item: pytest.Item) -> None:
    """Ends fixtures of a wider scope, whose threads have ended with the first run."""
    if _fixtures in item.stash and item.stash[_fixtures].has_wider:
        item.stash[_fixtures].end_all()


def _renew(item: pytest.Function) -> None:
    """Makes the test's fixtures once more after its runs, for a call as pytest's own."""
    if _fixtures in item.stash:
        item.stash[_fixtures].make()


def _forget_logged() -> None:
    for handler in logging.root.handlers:
        if type(handler).__name__ == "LogCaptureHandler" and handler.records:  # type: ignore[attr-defined]
            handler.reset()  # type: ignore[attr-defined]


def _ignores_errors_of_threads(item: pytest.Function) -> bool:
    """Whether the test, or the suite, has pytest's warning of them filtered: threads are meant to raise."""
    marks = (text for mark in item.iter_markers("filterwarnings") for text in mark.args)
    filters = [*map(str, marks), *item.config.getini("filterwarnings")]
    return any(one.startswith("ignore") and "PytestUnhandledThreadExceptionWarning" in one for one in filters)


def _where(item: pytest.Item) -> str:
    """The test's name for a command in the folder where pytest was started."""
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    return path + item.nodeid[item.nodeid.find("::") :]


def _explore(item: pytest.Function, options: dict[str, Any], token: str | None, died: bool) -> tuple[Result, str]:
    call = _call(item)
    ignores = _ignores_errors_of_threads(item)
    output = None if _LOOKING & set(item.fixturenames) else Output()

    def test() -> None:
        _forget_logged()
        if output is not None:
            output.begin()
        if ignores:
            threading.excepthook = lambda args: None
        call()

    test.explored_file = str(item.path)  # type: ignore[attr-defined]  # choice.py asks for it
    with output or nullcontext():
        way = survived if died else replay
        result = explore(test, **options) if token is None else way(test, token, **options_of_replay(options))
    return result, output.text if output is not None else ""


def _debug_item(item: pytest.Function, options: dict[str, Any], token: str) -> None:
    """Runs the schedule of a token with prompts of pdb, on the terminal as it is without pytest."""
    test = functools.partial(_call(item))
    test.explored_file = str(item.path)  # type: ignore[attr-defined]
    capture: Any = item.config.pluginmanager.getplugin("capturemanager")
    capture.suspend(in_=True)
    try:
        debug(test, token, **options_of_replay(options))
    finally:
        capture.resume()


def _may_be_by_fixture(result: Result, token: str | None) -> bool:
    """Whether fixtures that are made once may have brought the test to that, as a pool's without its threads."""
    if token is not None:
        return result.token is None
    return isinstance(result.error, Changing) or (result.error is not None and result.runs == 1)


def _explore_item(
    item: pytest.Function, options: dict[str, Any], token: str | None, died: bool = False
) -> Result | None:
    """Explores the test, or replays the token, and prints what the test printed in the reported run.

    died: its run has ended the process.

    None: the test raises, and starts no thread.  What a plain call of it does counts, because the test may raise only
    under the explorer's clock.
    """
    try:
        result, printed = _explore(item, options, token, died)
        if _may_be_by_fixture(result, token) and _fixtures_of(item).widen():
            again, printed_again = _explore(item, options, token, died)
            if again.error is None or again.runs > 2:  # otherwise it changes all the same
                result, printed = again, printed_again
    except (ValueError, TypeError) as error:
        what = "--lwp-explore-replay" if isinstance(error, BadToken) else "@pytest.mark.explore"
        pytest.fail(f"{what}: {error}", pytrace=False)
    raises = result.token is not None and not isinstance(result.error, Find)
    if raises and token is None and not result._tried.has_threads:
        return None
    if result.token is not None:
        result.command = f"pytest {shlex.quote(_where(item))} --lwp-explore-replay {result.token}"
    if result.error is not None:
        print(printed, end="")
    return result


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

    def __init__(self, config: pytest.Config, is_marked: Callable[[pytest.Item], bool]) -> None:
        """is_marked: whether a test itself asks for it."""
        self._config = config
        self._is_marked = is_marked
        self._all = config.option.lwp_explore is not None
        self._token: str | None = config.option.lwp_explore_replay
        found = {name: _option(config, name) for name in _CHECKS}
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
        self._options = {name: found[name] for name in _OF_A_TEST if found[name] is not None}

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
            _check_options(item)
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
        if _own_limit in item.stash or not self._is_meant(item) or _reason_against(item) is not None:
            return None
        item.stash[_own_limit] = settings.timeout
        longer = settings._replace(timeout=2 * settings.timeout + _TO_TELL)
        return item.config.hook.pytest_timeout_set_timer(item=item, settings=longer)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> None:
        if not self._is_meant(item):
            return
        if (reason := _reason_against(item)) is not None:
            item.stash[_facts] = _facts_of(item, "not explored", report=reason)
            return
        item.runtest = functools.partial(self._explore, item, item.runtest)  # type: ignore[method-assign]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        if item.stash.get(_kills, False):
            _end_fixtures(item)

    def _explore(self, item: Any, run_plainly: Callable[[], object]) -> None:
        __tracebackhide__ = True
        options = _options_for(item, {**self._options, "seed": self._seed, "known": ()})
        if self._known and not isinstance(options["known"], str):
            options["known"] = {*options["known"], *self._known}
        late = self._limit(item, options)
        self._hand.about = [item.nodeid, shlex.quote(_where(item))]
        kept = self._kept_find(item, options)
        result = kept or self._result(item, options)
        if result is None:
            item.stash[_facts] = _facts_of(item, "no thread", report="it raises, and starts no thread")
            _renew(item)
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
        result = _explore_item(item, options, *found)
        if result is None or result.token is None or result.name in options["known"]:
            self._kept.forget(item.nodeid)
            return None
        result.found_by = result.found_by.replace("replay", "a kept token")
        return result

    def _result(self, item: pytest.Function, options: dict[str, Any]) -> Result | None:
        with without_breakpoints() if self._debugs else nullcontext():
            died = (self._token, True) == self._known_tokens.token(item.nodeid)
            result = _explore_item(item, options, self._token, died)
        if result is None or result.token is None or result._unasked:
            return result
        if self._debugs and self._token is not None:
            _debug_item(item, options, self._token)
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
    if not result._tried.has_threads:
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


# ---- what pytest says at its end, and the file of --lwp-explore-json -------------------------------------------------


def summarize(terminal: pytest.TerminalReporter, reports: Iterable[Any]) -> None:
    """reports: all that pytest has; those of explored tests have `lwp_explore`."""
    tests: list[dict[str, Any]] = [report.lwp_explore for report in reports if hasattr(report, "lwp_explore")]
    terminal.section("schedules explored by lwp", sep="-")
    explored = [test for test in tests if test["outcome"] not in ("no thread", "not explored")]
    if explored:
        terminal.write_line(_told_counts(explored))
        for line in left_out({name for test in explored for name in test["unswitched"]}):
            terminal.write_line(line)
    if alone := sum(test["outcome"] == "no thread" for test in tests):
        terminal.write_line(f"{counted(alone, 'test')} start{'s' * (alone == 1)} no thread")
    for line in [
        *_told_finds(tests),
        *_told_known(tests, _option(terminal.config, "known") or {}),
        *_told_others(tests),
    ]:
        terminal.write_line(line)
    if (file := _option(terminal.config, "json")) is not None:
        _write_facts(Path(file), tests)


def _told_counts(tests: list[dict[str, Any]]) -> str:
    runs, seconds, distinct = (sum(test[name] for test in tests) for name in ("runs", "seconds", "distinct"))
    outcomes = Counter(test["outcome"] for test in tests)
    seeds = {test["seed"] for test in tests} - {None}  # a replay has none
    seed = f"; seed {seeds.pop()}" if len(seeds) == 1 else ""
    return (
        f"{counted(len(tests), 'test')}: {counted(runs, 'run')}, {seconds:.1f} s, {distinct:,} distinct schedules; "
        + ", ".join(f"{count} {name}" for name, count in sorted(outcomes.items()))
        + seed
    )


def _told_finds(tests: list[dict[str, Any]]) -> Iterator[str]:
    """By the names of the finds, because one bug may make many tests fail."""
    commands: dict[str, list[str]] = {}
    for test in tests:
        if test["token"] is not None:
            kept = "  (kept from an earlier run)" if test["kept"] else ""
            commands.setdefault(f"{test['outcome']}: {test['name']}", []).append(f"  {test['command']}{kept}")
    for name, lines in commands.items():
        yield name
        yield from lines


def _told_known(tests: list[dict[str, Any]], reasons: dict[str, str]) -> Iterator[str]:
    seen: dict[str, list[str]] = {}
    for test in tests:
        for name, runs in test["known"].items():
            seen.setdefault(name, []).append(f"  {test['nodeid']}, in {counted(runs, 'run')}")
    for name, lines in seen.items():
        yield f"known: {name}{f': {reasons[name]}' if name in reasons else ''}"
        yield from lines


def _told_others(tests: list[dict[str, Any]]) -> Iterator[str]:
    for outcome in ("inconclusive", "out of time", "not explored"):
        for test in [test for test in tests if test["outcome"] == outcome]:
            line = test["report"].partition("\n")[0]
            why = {"inconclusive": line.removeprefix("INCONCLUSIVE"), "not explored": f" {line}"}
            yield f"{outcome}: {test['nodeid']}{why.get(outcome, '')}"
    for test in tests:
        if test["tasks"] and test["outcome"] not in ("found", "inconclusive"):
            yield f"not explored: {test['nodeid']} as to the order of its tasks of asyncio"


def _write_facts(file: Path, tests: list[dict[str, Any]]) -> None:
    try:
        with open(file, "w", encoding="utf-8", opener=private) as out:
            out.write(json.dumps(tests, indent=1) + "\n")
    except OSError as error:
        raise pytest.UsageError(f"--lwp-explore-json: {file}: {error.strerror}") from None
