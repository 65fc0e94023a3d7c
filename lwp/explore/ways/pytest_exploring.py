"""A test of pytest explored: what a run of it calls, and what that comes to."""

from __future__ import annotations

import contextvars
import functools
import inspect
import logging
import os
import shlex
import threading
import unittest
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest

from ..explorer import explore, options_of_replay, replay, survived
from ..results import Changing, Find, Result
from ..tasks.loops import plain
from ..tokens import BadToken
from .debugger import debug
from .pytest_fixtures import fixtures_of
from .targets import Output, options_of, why_not

_OPTIONS = tuple(name for name in inspect.signature(explore).parameters if name not in ("test", "progress"))
#: Fixtures with which a test looks at what it prints.
_LOOKING = {"capsys", "capsysbinary", "capteesys", "capfd", "capfdbinary"}


def check_options(item: pytest.Item) -> None:
    """pytest.UsageError: a mark has other options than explore()."""
    for mark in item.iter_markers("explore"):
        wrong = [repr(value) for value in mark.args] + [name for name in mark.kwargs if name not in _OPTIONS]
        if wrong:
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.explore has no option {wrong[0]}: its options are {', '.join(_OPTIONS)}"
            )


def options_for(item: pytest.Function, suite: dict[str, Any]) -> dict[str, Any]:
    """Options of the suite, of @explored and of the marks; what is nearest to the test prevails."""
    options = suite | options_of(item.obj)[1]
    for mark in reversed(list(item.iter_markers("explore"))):
        options |= mark.kwargs
    return options


def reason_against(item: pytest.Item) -> str | None:
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
    fixtures = fixtures_of(item)
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


def _forget_logged() -> None:
    for handler in logging.root.handlers:
        if type(handler).__name__ == "LogCaptureHandler" and handler.records:  # type: ignore[attr-defined]
            handler.reset()  # type: ignore[attr-defined]


def _ignores_errors_of_threads(item: pytest.Function) -> bool:
    """Whether the test, or the suite, has pytest's warning of them filtered: threads are meant to raise."""
    marks = (text for mark in item.iter_markers("filterwarnings") for text in mark.args)
    filters = [*map(str, marks), *item.config.getini("filterwarnings")]
    return any(one.startswith("ignore") and "PytestUnhandledThreadExceptionWarning" in one for one in filters)


def where(item: pytest.Item) -> str:
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


def debug_item(item: pytest.Function, options: dict[str, Any], token: str) -> None:
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


def explore_item(
    item: pytest.Function, options: dict[str, Any], token: str | None, died: bool = False
) -> Result | None:
    """Explores the test, or replays the token, and prints what the test printed in the reported run.

    died: its run has ended the process.

    None: the test raises, and starts no thread.  What a plain call of it does counts, because the test may raise only
    under the explorer's clock.
    """
    try:
        result, printed = _explore(item, options, token, died)
        if _may_be_by_fixture(result, token) and fixtures_of(item).widen():
            again, printed_again = _explore(item, options, token, died)
            if again.error is None or again.runs > 2:  # otherwise it changes all the same
                result, printed = again, printed_again
    except (ValueError, TypeError) as error:
        what = "--lwp-explore-replay" if isinstance(error, BadToken) else "@pytest.mark.explore"
        pytest.fail(f"{what}: {error}", pytrace=False)
    raises = result.token is not None and not isinstance(result.error, Find)
    if raises and token is None and not result._tried.varies:
        return None
    if result.token is not None:
        result.command = f"pytest {shlex.quote(where(item))} --lwp-explore-replay {result.token}"
    if result.error is not None:
        print(printed, end="")
    return result
