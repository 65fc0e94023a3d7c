"""explore(), replay() and explored(): runs a test under many schedules until one fails."""

from __future__ import annotations

import functools
import os
import random
import sys
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeVar

from .choice import choice_for, names_of
from .died import died
from .doubts import Failure
from .ends import Unfit
from .exploration import TO_TELL, Exploration
from .results import Outcome, Progress, Result
from .run.hand import Hand
from .run.plans import GRANULARITIES, Ending, Plan, Strikes, last_steps
from .run.session import Note, Session
from .search.portfolio import Portfolio
from .search.shrinking import Schedule
from .search.strategies import AWAITS, check_strategy, is_systematic, shared
from .tasks.loops import plain
from .tokens import check_of, read_token

_TRIES = 3
_TELL_EVERY = 0.2  # seconds
_SHARE = 4  # of the runs and seconds one part in so many is for early timeouts and cancellations

P = ParamSpec("P")
R = TypeVar("R")


def _check_test(test: Callable[..., object]) -> None:
    if not callable(test):
        raise TypeError(f"test must be a function, or something else that can be called, not {test!r}")


def _check_counts(**counts: int) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a whole number from 1 on, not {value!r}")


def _check_options(
    strategy: str, granularity: str, seconds: float | None, seed: int | None, progress: Callable[..., object] | None
) -> None:
    check_strategy(strategy)
    if granularity not in ("auto", *GRANULARITIES):
        raise ValueError(f"granularity must be auto, {', '.join(GRANULARITIES)}, not {granularity!r}")
    if seconds is not None and not (isinstance(seconds, int | float) and seconds >= 0):  # NaN is refused too
        raise ValueError(f"seconds must be a number from 0 on, or None, not {seconds!r}")
    if seed is not None and not isinstance(seed, int):
        raise TypeError(f"seed must be a whole number or None, not {seed!r}")
    if progress is not None and not callable(progress):
        raise TypeError(f"progress must be a function or None, not {progress!r}")


def explore(
    test: Callable[[], object],
    *,
    strategy: str = "auto",
    runs: int = 1000,
    seconds: float | None = None,
    granularity: str = "auto",
    seed: int | None = None,
    max_steps: int = 20_000,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    workers: int = 1,
    early_timeouts: bool = False,
    cancel: bool = False,
    known: Collection[str] = (),
    races: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> Result:
    """Runs test() under many schedules, until one makes it fail.

    The test is plain code on threading, queue, concurrent.futures or the runtime's own names. It must do the same each
    time that its threads run in the same order. A find is an exception in any of its threads, a deadlock, a livelock,
    or threads that are left behind.

    strategy: auto, chance, random, pct, pct:D, pos, dfs, dfs:N or dpor, see docs/lwp/explore-reference.md.
    runs: how many, at most.
    seconds: for how long, at most, whatever the test does; telling what was found may take two seconds more.
    granularity: where threads may be switched: sync, at operations of primitives; gil, also where CPython with a GIL
    may switch; opcode, at each bytecode; auto takes turns.
    seed: of chance; None: another one each time.
    max_steps: in a run that is longer all threads have their turns. If it has not ended after twenty times as many, it
    is a livelock if the threads repeat what they do, and otherwise inconclusive.
    include, exclude: names of modules and packages, or paths, whose code is switched between bytecodes like the
    program's, or is not. pyproject.toml has more of them, see docs/lwp/explore-reference.md.
    workers: processes that share the runs; each has a seed of its own. dfs and dpor run in one.
    early_timeouts: a last quarter of the runs tries what happens when a timeout fires, a sleep ends, or a task of
    asyncio goes on, though others could go on before. What only fails in that way is the outcome EARLY_TIMEOUT.
    cancel: the first quarter tries what happens when a task of asyncio is cancelled, or its timeout fires, once at each
    await; the last one tries that in other orders, too. What only fails in that way is the outcome CANCELLATION.
    known: names of finds (`Result.name`) that are counted only, and behind which the search goes on.
    races: whether uses of data that no primitive orders are listed, too; runs take longer by that.
    progress: called a few times a second, and when a run has failed.

    TypeError: test can't be called; seed is no whole number; include, exclude or known is not names.
    ValueError: another argument is out of bounds; a name can't be found; pyproject.toml is wrong.
    RuntimeError: the caller is a green thread, or explores already.
    """
    _check_test(test)
    _check_counts(runs=runs, max_steps=max_steps, workers=workers)
    _check_options(strategy, granularity, seconds, seed, progress)
    if isinstance(known, str) or not all(isinstance(name, str) for name in known):
        raise TypeError(f"known must be names of finds, such as ['AssertionError bank.py:transfer'], not {known!r}")
    test = plain(test)
    include, exclude = names_of("include", include), names_of("exclude", exclude)
    choice = choice_for(test, include, exclude)
    if races and workers > 1:
        raise ValueError("races are listed by one process: workers must be 1")
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)

    strikes = Strikes(Strikes.EARLY * bool(early_timeouts) | Strikes.CANCEL * bool(cancel))

    def work(number: int, seed: int, runs: int, progress: Callable[[Progress], object] | None) -> Result:
        with Session(max_steps, choice=choice) as session:
            exploration = Exploration(session, test, seed, seconds, known, races)
            search = _Search(exploration, session, shared(strategy, number), granularity, seed, progress)
            if is_systematic(strategy):  # with what strikes it has all that is without
                return search.through(runs, seconds, strikes)
            if not strikes:
                return search.through_early(search.through(runs, seconds, strikes), runs, seconds)
            part = None if seconds is None else seconds / _SHARE
            if Strikes.CANCEL in strikes and number == 0:
                awaits = replace(search, _strategy=AWAITS, _granularity="sync")
                result = awaits.through(max(runs // _SHARE, 2), part, Strikes.CANCEL)
                if result.error is not None or exploration.result.runs >= runs:
                    return result
            before = None if seconds is None else seconds - seconds / _SHARE
            result = search.through(max(runs - runs // _SHARE, 2), before, Strikes.NOTHING)
            if result.error is not None or exploration.result.runs >= runs:
                return result
            return search.through(runs, seconds, strikes)

    if workers == 1 or is_systematic(strategy):  # there is one sequence of its plans only
        return work(0, seed, runs, progress)
    from .workers import in_processes

    as_here: dict[str, Any] = {"max_steps": max_steps, "include": include, "exclude": exclude}
    again, look = functools.partial(replay, test, **as_here), functools.partial(survived, test, **as_here)
    return in_processes(work, again, look, max_steps, workers, seed, runs, progress)


@dataclass
class _Search:
    """Tries the plans of a portfolio, until one fails."""

    _exploration: Exploration
    _session: Session
    _strategy: str
    _granularity: str
    _seed: int
    _progress: Callable[[Progress], object] | None
    _told: float = 0.0

    def _portfolio(self, granularity: str, strikes: Strikes) -> Portfolio:
        return Portfolio(self._strategy, granularity, self._seed, self._session.max_steps, strikes)

    def _tell(self, failed: bool = False) -> None:
        now = self._exploration.seconds
        if self._progress is not None and (failed or now - self._told > _TELL_EVERY):
            self._told = now
            counts = self._exploration.result.runs, len(self._exploration.tried.schedules)
            self._progress(Progress(*counts, now, failed))

    def through_early(self, result: Result, runs: int, seconds: float | None) -> Result:
        """With early timeouts, if all else was tried before the runs and seconds were over: a quarter of them more."""
        tried = self._exploration.tried
        if result.outcome is not Outcome.EXHAUSTED or not tried.has_timers or result.runs >= runs:
            return result
        text = result._report(result).removesuffix(tried.timers)
        left = None if seconds is None else min(seconds, result.seconds + seconds / _SHARE)
        found = self.through(min(runs, result.runs + runs // _SHARE), left, Strikes.EARLY)
        found._unasked = found.outcome is Outcome.EARLY_TIMEOUT
        return found if found.token else self._exploration.end(Outcome.EXHAUSTED, text + tried.timers)

    def through(self, runs: int, seconds: float | None, strikes: Strikes) -> Result:
        """Until so many runs, or seconds, in all."""
        exploration, granularity = self._exploration, self._granularity
        exploration.coarser = granularity == "auto"
        if seconds is not None:
            exploration.give(seconds + TO_TELL)  # the first run, which imports too, may take longer
        portfolio = self._portfolio(granularity, strikes)
        grain = GRANULARITIES[0] if granularity == "auto" else granularity
        name, plan = "default", Plan(granularity=grain)  # the first run also imports, and makes what is made once
        plans = portfolio.plans()
        begun = False
        while True:
            given = _TELL_EVERY if seconds is None else min(_TELL_EVERY, seconds - exploration.seconds)
            run = exploration.run(plan, runs - exploration.result.runs, given)
            if run.ending == Ending.OUT_OF_TIME:
                return exploration.out_of_time()
            exploration.give(seconds)
            spins = run.ending == Ending.STUCK and self._session.watch.spins
            if spins and granularity == "auto" and plan.granularity == "sync":
                # It waits for another thread without an operation, so the other thread must get its turn between
                # bytecodes.
                portfolio = self._portfolio("gil", strikes)
                plans = portfolio.plans()
                begun = exploration.coarser = False
            elif run.failed and not exploration.passes_as_known(plan, run):
                if plan == Plan(granularity=grain) and exploration.result.runs == 2:
                    return exploration.changes(run)
                self._tell(failed=not strikes)
                if (result := exploration.found(plan, run, name)) is not None:
                    return result
                exploration.give(seconds)
            elif not (exploration.tried.varies or self._session.quiet.may_have_missed_tasks or (strikes and run.tasks)):
                return exploration.alone()
            self._tell()
            if exploration.result.runs >= runs or (seconds is not None and exploration.seconds >= seconds):
                return exploration.exhausted(portfolio.claim, plan.granularity)
            try:
                name, plan = plans.send(run) if begun else next(plans)
                begun = True
            except StopIteration as end:
                return exploration.exhausted(end.value, plan.granularity)
            except Unfit as why:
                return exploration.inconclusive(why.end, **why.facts)


def replay(
    test: Callable[[], object],
    token: str,
    *,
    max_steps: int = 20_000,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> Result:
    """Runs test() under the schedule of a token. The options must be those of the explore() that has found it.

    FOUND: it fails. BUDGET_SPENT: it did the same steps as the token says, and passed.
    INCONCLUSIVE: it did other steps, and passed: the program has changed, or it does not do the same each time.

    ValueError: the text is no token, or is for another version of Python (BadToken); max_steps is below 1; a name can't
    be found; pyproject.toml is wrong.
    TypeError: test can't be called, or the token is no text; include or exclude is not names.
    """
    _check_test(test)
    _check_counts(max_steps=max_steps)
    test = plain(test)
    wanted = read_token(token)
    choice = choice_for(test, names_of("include", include), names_of("exclude", exclude))
    with Session(max_steps, choice=choice) as session:
        # As in explore(): what the test imports, and makes once, is there before the run that counts.
        session.run(test, Plan(granularity=wanted.plan.granularity))
        exploration = Exploration(session, test)
        for _ in range(_TRIES):  # if no other schedule runs before, the first run imports modules, and that takes steps
            run = exploration.doubts.settled(wanted.plan, exploration.run(wanted.plan))
            run = exploration.doubts.lengthened(wanted.plan, run)
            if run.failed:
                break
        exploration.give(None)
        if run.ending == Ending.STUCK:
            return exploration.stuck()
        if run.failed:
            schedule = Schedule(wanted.plan, tuple(last_steps()))
            found_by = f"replay, {wanted.plan.granularity}"
            return exploration.conclude(schedule, Failure(run), found_by)
        if run.missed or check_of(run) != wanted.check:
            return exploration.inconclusive("other steps")
        return exploration.spent()


def survived(
    test: Callable[[], object],
    token: str | Hand,
    how: str = "",  # it has ended, if that is known
    *,
    max_steps: int = 20_000,
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> Result:
    """Replays, in processes of its own, a run that has ended its process: that of a token, or the one in a hand."""
    test = plain(test)
    choice = choice_for(test, names_of("include", include), names_of("exclude", exclude))
    found = (read_token(token).plan, "replay") if isinstance(token, str) else token.plan
    assert found is not None

    def once(plan: Plan, note: Note | None) -> None:
        with Session(max_steps, choice=choice) as session:
            session.run(test, Plan(granularity=plan.granularity))  # as in replay()
            session.run(test, plan, note)

    plan, found_by = found
    with Session(max_steps):
        pass  # imports what otherwise each process would import
    runs = 1 if isinstance(token, str) else token.runs
    return died(once, plan, max_steps, how, f"{found_by}, {plan.granularity}", runs)


def options_of_replay(options: dict[str, Any]) -> dict[str, Any]:
    """Those of explore()'s options that replay() needs, too."""
    return {name: options[name] for name in ("max_steps", "include", "exclude") if name in options}


def explored(
    test: Callable[P, R] | None = None, **options: Any
) -> Callable[P, None] | Callable[[Callable[P, R]], Callable[P, None]]:
    """Decorates a test function. A call of it explores it, by explore() with these options, and raises what is found.

    If the environment variable LWP_EXPLORE_REPLAY holds a token, the token is replayed instead.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, None]:
        _check_test(function)

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
            bound = functools.partial(function, *args, **kwargs)
            token = None if sys.flags.ignore_environment else os.environ.get("LWP_EXPLORE_REPLAY")
            if token:
                replay(bound, token, **options_of_replay(options)).check()
            else:
                explore(bound, **options).check()

        wrapper._lwp_explored = function, options  # type: ignore[attr-defined]  # for the command and the plugin
        return wrapper

    return decorate if test is None else decorate(test)
