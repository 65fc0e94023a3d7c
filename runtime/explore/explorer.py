"""explore(), replay() and explored(): runs a test under many schedules until one fails."""

from __future__ import annotations

import functools
import itertools
import math
import os
import random
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .. import native
from ..observe.source import Choice, choosing, is_program
from .choice import choice_for, names_of
from .results import DeadlockFound, Find, Inconclusive, LeftBehind, Livelock, Outcome, Progress, Result
from .run.plans import GRANULARITIES, TIMEOUT, Ending, Plan, Run, State, Step, by_deviations, last_steps
from .run.session import Session
from .search.portfolio import Portfolio
from .search.shrinking import Schedule, shrink
from .search.strategies import check_strategy, is_systematic, shared, some_plans
from .search.systematic import DIFFERS
from .search.tried import NO_THREADS, Tried, left_out
from .tokens import check_of, make_token, read_token

if TYPE_CHECKING:
    from .telling.races import Race, Races
    from .telling.recorder import Recorder
    from .telling.story import Story
    from .telling.undoing import Gap, Trial

__all__ = ["Progress", "Share", "explore", "explored", "options_of_replay", "replay"]

_REPLAYS = 10
_TRIES = 3
_IN_VAIN = (Ending.DEADLOCK, Ending.LEFT_BEHIND)  # a thread waits at the end
_TELL_EVERY = 0.2  # seconds
_SHRINK, _SHRINK_LIVELOCK = 5.0, 0.8  # seconds, at most
_SHRINK_RACE = 0.3  # seconds, at most, for each
_SEEK_REASONS = 2.0  # seconds, at most
_SEEK_UNDER_GIL, _SEEK_RUNS = 1.0, 600  # seconds and runs, at most
_TO_TELL = 0.9  # seconds that a find may take beyond `seconds`: a run that is cut off then may take a second to unwind
_TO_RECORD = 0.5  # of these, for the run that is told
_TO_TELL_OF_SHARE = 10.0  # the same, if the seconds are a Share
_LONGER = 10  # times max_steps: what goes on for that long is a livelock
_EARLY_SHARE = 4  # of the runs and seconds one part in so many is for early timeouts

P = ParamSpec("P")
R = TypeVar("R")


class Share(float):
    """Seconds after which no further run begins. Other seconds of explore() cut off a run, the first one too."""


class _Failure:
    """In what way a run has failed. Two runs with equal failures count as the same find."""

    def __init__(self, run: Run) -> None:
        self.ending = run.ending
        self.error = run.error
        self._place = _place(run.error) if run.error is not None else None
        self._name = f"{type(run.error).__module__}.{type(run.error).__qualname__}"  # a run may make its own class

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Failure):
            return NotImplemented
        return (self.ending, self._name, self._place) == (other.ending, other._name, other._place)

    __hash__ = None  # type: ignore[assignment]


def _place(error: BaseException) -> tuple[str, int] | None:
    """The program's line that raised."""
    found = None
    for frame, line in traceback.walk_tb(error.__traceback__):
        if found is None or is_program(frame.f_code.co_filename):
            found = (frame.f_code.co_filename, line)
    return found


class _Exploration:
    """One call of explore(), or of replay()."""

    def __init__(
        self,
        session: Session,
        test: Callable[[], object],
        seed: int | None = None,
        seconds: float | None = None,
        known: Collection[str] = (),
        races: bool = False,
    ) -> None:
        self._session = session
        self._test = test
        self._known = frozenset(known)
        self._names: dict[int, str] = {}  # of finds without an exception, by what their runs did
        self._began = time.monotonic()
        self._seconds = seconds
        session.circles = True
        self.result = Result(Outcome.BUDGET_SPENT, seed=seed)
        self.tried = Tried(session.unswitched)
        self.coarser = False  # whether a find between bytecodes may be replayed without points there
        self._races: Races | None = None
        if races:
            from .telling.races import Races

            self._races = Races()

    def run(self, plan: Plan) -> Run:
        run = self._session.run(self._test, plan) if self._races is None else self._run_with_races(plan, self._races)
        self.result.runs += 1
        self.tried.add(plan, run)
        self.tried.has_tasks = self._session.quiet.has_tasks
        return run

    def _run_with_races(self, plan: Plan, races: Races) -> Run:
        run, steps, recorder = self._looked_at(plan)
        races.add(plan, steps, recorder.accesses.found)
        return run

    def _looked_at(self, plan: Plan, gap: Gap | None = None) -> tuple[Run, list[Step], Recorder]:
        """Runs the plan, and looks at its data."""
        from .telling.recorder import Recorder

        recorder = Recorder(True, gap)
        run = self._session.run(self._test, plan, recorder.note, recorder.look)
        return run, last_steps(), recorder

    def _list_races(self) -> None:
        if self._races is not None:
            races, self._races = self._races, None
            self.result.races, self.result._races = races.told(self._token_of)

    def _token_of(self, race: Race) -> str:
        """Of a simple schedule with the race's other order."""

        def attempt(plan: Plan) -> Schedule | None:
            _, steps, recorder = self._looked_at(plan)
            turns = race.turns(steps, recorder.accesses.found)
            return Schedule(by_deviations(plan, steps), tuple(steps)) if turns else None

        assert race.other is not None
        plan, steps = race.other
        plan = shrink(Schedule(plan, tuple(steps)), attempt, seconds=_SHRINK_RACE, coarser=self.coarser).plan
        return make_token(plan, self._session.run(self._test, plan))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def give(self, seconds: float | None) -> None:
        """From now on runs are cut off so long after the begin."""
        self._session.until = None if seconds is None or isinstance(self._seconds, Share) else self._began + seconds

    def _give_to_tell(self) -> None:
        """From now on there is time to simplify and replay what was found."""
        if isinstance(self._seconds, Share):
            self._session.until = time.monotonic() + _TO_TELL_OF_SHARE
        elif self._seconds is not None:
            self.give(self._seconds + _TO_TELL)

    @property
    def left(self) -> float:
        """Seconds until then."""
        until = self._session.until
        return math.inf if until is None else until - time.monotonic()

    def end(self, outcome: Outcome, error: BaseException | None = None) -> Result:
        self.result.outcome = outcome
        self.result.error = error
        self.result.seconds = self.seconds
        self.result.distinct = len(self.tried.schedules)
        self.result.known = dict(self.tried.known)
        self.result._tried = self.tried
        self._list_races()
        return self.result

    def inconclusive(self, reason: str) -> Result:
        result = self.end(Outcome.INCONCLUSIVE, Inconclusive(reason))
        result._report = lambda result: f"INCONCLUSIVE: {reason}"
        return result

    def changes(self, run: Run) -> Result:
        """The same schedule has passed, and fails when it is run again."""
        error = run.error
        what = "" if error is None else f" ({': '.join(filter(None, (type(error).__name__, str(error))))})"
        result = self.inconclusive(
            f"the test passes when it is called first, and fails when it is called again in the same way{what}: "
            "it, or a fixture that is made once, keeps something from call to call"
        )
        assert result.error is not None
        result.error.__cause__ = error
        return result

    def stuck(self) -> Result:
        watch = self._session.watch
        if watch.waits:
            return self.inconclusive(
                f"a thread waits for a file or socket, where nothing came for {watch.patience:g} s, and nothing in the "
                f"test could go on: {watch.place}"
            )
        does = "spins or computes" if watch.spins else "is blocked in a call that is not under control"
        return self.inconclusive(
            f"a thread {does}, and came to no scheduling point for {watch.patience:g} s: {watch.place}"
        )

    # ---- what was found ----------------------------------------------------------------------------------------------

    def passes_as_known(self, plan: Plan, run: Run) -> bool:
        """Whether the run, the last one, has failed in a known way; it is counted."""
        name = self._known_name(plan, run)
        if name is not None:
            self.tried.known[name] += 1
        return name is not None

    def _known_name(self, plan: Plan, run: Run) -> str | None:
        if not self._known or run.ending in (Ending.TOO_MANY, Ending.STUCK):
            return None
        from .telling.naming import name_of_error, name_of_find

        if run.error is not None:
            name = name_of_error(run.error)
        else:
            if run.hash not in self._names:
                self._names[run.hash] = name_of_find(self._recorded(plan, with_states=run.ending == Ending.LIMIT)[1])
            name = self._names[run.hash]
        return name if name in self._known else None

    def _recorded(self, plan: Plan, with_states: bool) -> tuple[Run, Story]:
        from .telling.recorder import Recorder

        recorder = Recorder(with_states=with_states)
        run = self._session.run(self._test, plan, recorder.note)
        return run, recorder.finish(run)

    def _schedule(self, plan: Plan, failure: _Failure) -> Schedule | None:
        """Runs the plan; its schedule if it fails in that way."""
        run = self._session.run(self._test, plan)
        if not run.failed or _Failure(run) != failure or self._known_name(plan, run) is not None:
            return None
        steps = last_steps()
        return Schedule(by_deviations(plan, steps), tuple(steps))

    def _is_answered(self, plan: Plan, failure: _Failure) -> bool:
        """Whether the failure goes away when threads from before the run are given time, because then no thread waits
        in vain."""
        if not set(sys._current_frames()) - {threading.get_ident(), self._session.watch.ident} or self.left < 0:
            return False
        run = self._session.run(self._test, replace(plan, patient=True))
        return run.ending not in (*_IN_VAIN, Ending.OUT_OF_TIME) and _Failure(run) != failure

    def settled(self, plan: Plan, run: Run) -> Run:
        """The run, if the threads that wait for each other in it wait for ever; otherwise the run without such an end.

        A lock may be no mutex, but a signal that another thread gives.
        """
        if run.in_circle < 0 or not any(may for _, _, _, may in native.explore_final()):
            return run
        what = native.explore_final()[run.in_circle][1:3]
        self._session.circles = False
        longer = self._session.run(self._test, plan)
        final = native.explore_final()
        waits = run.in_circle < len(final) and State(final[run.in_circle][0]) is State.AT_POINT
        if longer.ending != Ending.FAILED and waits and final[run.in_circle][1:3] == what:
            self._session.circles = True
            return self._session.run(self._test, plan)
        return longer

    def _long(self) -> Result:
        steps = self._session.max_steps
        return self.inconclusive(
            f"a run had not ended after {2 * steps:,} steps, and nothing shows that it never will: --max-steps "
            f"(max_steps=), now {steps:,}, is for a test that is longer"
        )

    def found(self, plan: Plan, run: Run, name: str) -> Result | None:
        """The run has failed: shrinks it, replays it, and reports.  None: it is no failure after all."""
        if run.ending == Ending.TOO_MANY:
            return self.inconclusive("the test starts more than 1,024 threads in a run")
        if run.ending == Ending.STUCK:
            return self.stuck()
        self._give_to_tell()
        same = by_deviations(plan, last_steps())
        run = self.settled(same, run)
        if not run.failed or self.passes_as_known(same, run):  # it had closed a circle that is no deadlock
            return None
        failure = _Failure(run)
        steps = last_steps()
        same = by_deviations(plan, steps)
        if run.ending == Ending.LIMIT:
            if self._session.run(self._test, same, longer=_LONGER).ending != Ending.LIMIT:
                return self._long()
        elif run.hurried and not plan.early:
            return self._long()
        if _waited(run, steps) and self._is_answered(same, failure):
            return self.inconclusive(
                f"the test waits for a thread that it has not started ({_others()}): only those that it starts are "
                "under control"
            )
        tries = (self._schedule(same, failure) for _ in range(_REPLAYS))
        schedule = next((found for found in tries if found is not None), None)
        if schedule is None:
            return self._fails_no_more(failure)
        schedule = self._shrunk(schedule, failure)
        if schedule.needs_no_gil and (coarser := self._under_the_gil(failure, plan.early)) is not None:
            schedule = self._shrunk(coarser, failure)
        return self.conclude(schedule.plan, failure, f"{name}, {plan.granularity}", schedule.needs_no_gil)

    def _fails_no_more(self, failure: _Failure) -> Result:
        if self.left < 0:
            return self.inconclusive(
                "a run failed, and the time was up before it could be run again: give it more seconds"
            )
        if failure.ending == Ending.LEFT_BEHIND:
            reason = (
                "a run left threads behind, and the same schedule does not again: threads end with the run that starts "
                "them, so a pool that is kept for later calls loses its own. Make it in the test and shut it down there"
            )
        else:
            reason = "a run failed, and the same schedule does not fail again: repeated, the test does something else"
        result = self.inconclusive(reason)
        assert result.error is not None
        result.error.__cause__ = failure.error
        return result

    def _shrunk(self, schedule: Schedule, failure: _Failure) -> Schedule:
        seconds = min(_SHRINK_LIVELOCK if failure.ending == Ending.LIMIT else _SHRINK, self.left / 2)
        coarser = self.coarser and failure.ending != Ending.LIMIT
        return shrink(schedule, lambda plan: self._schedule(plan, failure), seconds=seconds, coarser=coarser)

    def _under_the_gil(self, failure: _Failure, early: bool) -> Schedule | None:
        """A schedule that fails in the same way, and that CPython with a GIL could have; None: not found."""
        until = time.monotonic() + min(_SEEK_UNDER_GIL, self.left / 2)
        plans = itertools.islice(some_plans("gil", self.tried.steps, early), _SEEK_RUNS)
        found = (self._schedule(plan, failure) for plan in plans if time.monotonic() < until)
        return next((schedule for schedule in found if schedule is not None), None)

    def conclude(self, plan: Plan, failure: _Failure, found_by: str, needs_no_gil: bool) -> Result:
        from .telling.naming import name_of_find
        from .telling.page import page
        from .telling.report import report
        from .telling.why import facts_as_dicts
        from .telling.words import headline

        def told(how: Callable[[Story, Result], str]) -> Callable[[Result], str]:
            def tell(result: Result) -> str:
                with choosing(self._session.choice):
                    return how(story, result)

            return tell

        self._list_races()  # before the run whose output is shown
        again: list[Run] = []
        while len(again) < _REPLAYS and self.left > _TO_RECORD:
            again.append(self._session.run(self._test, plan))
        recorded = self._explained(plan, failure, again)
        if recorded is None:
            return self._fails_no_more(failure)
        last, story = recorded
        if failure.ending == Ending.LIMIT and not story.has_cycle:
            return self._long()
        error = _as_error(last, headline(story))
        result = self.end(Outcome.EARLY_TIMEOUT if plan.early else Outcome.FOUND, error)
        result.name = name_of_find(story)
        result.token = make_token(plan, last)
        result.replays = sum(run.failed and _Failure(run) == failure for run in again)
        result.replayed = len(again)
        result.deviations = len(plan.deviations)
        result.command = f'runtime.replay({_name_of(self._test)}, "{result.token}")'
        result.found_by = found_by
        result.free_threaded_only = needs_no_gil
        result.why = facts_as_dicts(story)
        result._report = told(report)
        result._page = told(page)
        return result

    def _explained(self, plan: Plan, failure: _Failure, again: list[Run]) -> tuple[Run, Story] | None:
        """The run once more, for its story; None: it does not fail again in that way.

        A recorder that looks at data keeps objects alive a little longer. If that changes what the run does, the data
        is not told.
        """
        from .telling.recorder import Recorder
        from .telling.undoing import Trial, reasons

        is_livelock = failure.ending == Ending.LIMIT
        for number in range(_REPLAYS):
            looks = number == 0 and bool(again) and not is_livelock
            recorder = Recorder(looks, with_states=is_livelock)
            run = self._session.run(self._test, plan, recorder.note, recorder.look)
            if not run.failed or _Failure(run) != failure or (looks and run.hash != again[-1].hash):
                continue
            steps = last_steps()
            story = recorder.finish(run)
            if looks:
                found = Trial(plan, run, steps, recorder.accesses.found, recorder.accesses.looks, True)
                attempt = functools.partial(self._look, failure)
                seconds = min(_SEEK_REASONS, self.left / 2)
                story.explain(reasons(found, attempt, seconds, exact=bool(story.ring)), found.accesses)
                self._session.run(self._test, plan)  # what the last run prints stands below the report
            return run, story
        return None

    def _look(self, failure: _Failure, plan: Plan, gap: Gap | None) -> Trial:
        from .telling.undoing import Trial

        run, steps, recorder = self._looked_at(plan, gap)
        recorder.accesses.settle()
        fails = run.failed and _Failure(run) == failure
        return Trial(plan, run, steps, recorder.accesses.found, recorder.accesses.looks, fails)

    # ---- what was not ------------------------------------------------------------------------------------------------

    def out_of_time(self) -> Result:
        if self.result.runs > 1:
            return self.spent()
        return self.inconclusive(f"the first run had not ended after {self._seconds:g} s: give it more seconds")

    def spent(self) -> Result:
        text = self.tried.spent()
        self.result._report = lambda result: text
        return self.end(Outcome.BUDGET_SPENT)

    def alone(self) -> Result:
        """The test has passed in the default schedule, and started no thread: no other schedule is there."""
        if self.tried.has_tasks:
            return self.spent()
        return self._exhausted("", NO_THREADS)

    def exhausted(self, claim: str, granularity: str) -> Result:
        """claim: which schedules were tried. It holds only if the test does the same each time."""
        once, again = (self._session.run(self._test, Plan(granularity=granularity)) for _ in range(2))
        if Ending.OUT_OF_TIME in (once.ending, again.ending):
            return self.spent()
        if once.hash != again.hash:
            return self.inconclusive(DIFFERS)
        if self.tried.has_tasks:
            return self.spent()
        more = "" if granularity == "sync" else "".join(f"\n{line}" for line in left_out(self.tried.unswitched))
        return self._exhausted(f"{claim}: ", more)

    def _exhausted(self, claim: str, more: str) -> Result:
        end = f"{self.tried.failures()}{more}"  # a report must not keep the session
        self.result._report = lambda result: f"EXHAUSTED: {claim}{result.runs:,} run{'s' * (result.runs != 1)}, {end}"
        return self.end(Outcome.EXHAUSTED)


def _name_of(test: Callable[[], object]) -> str:
    while isinstance(test, functools.partial):
        test = test.func
    return getattr(test, "__qualname__", "test").rpartition("<locals>.")[2]


def _waited(run: Run, steps: list[Step]) -> bool:
    """Whether it failed because something did not come, or not in time."""
    return run.ending in _IN_VAIN or any(step.flags & TIMEOUT for step in steps)


def _others() -> str:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    return ", ".join(names[:5]) if names else "none of Python's"


def _as_error(run: Run, headline: str) -> BaseException:
    if run.error is not None:
        return run.error
    kinds: dict[int, type[Find]] = {
        Ending.DEADLOCK: DeadlockFound,
        Ending.LEFT_BEHIND: LeftBehind,
        Ending.LIMIT: Livelock,
    }
    return kinds.get(run.ending, Find)(headline)


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
    known: Collection[str] = (),
    races: bool = False,
    progress: Callable[[Progress], object] | None = None,
) -> Result:
    """Runs test() under many schedules, until one makes it fail.

    The test is plain code on threading, queue, concurrent.futures or the runtime's own names. It must do the same each
    time that its threads run in the same order. A find is an exception in any of its threads, a deadlock, a livelock,
    or threads that are left behind.

    strategy: auto, chance, random, pct, pct:D, pos, dfs, dfs:N or dpor, see docs/explore.md.
    runs: how many, at most.
    seconds: for how long, at most, whatever the test does; telling what was found may take two seconds more.
    granularity: where threads may be switched: sync, at operations of primitives; gil, also where CPython with a GIL
    may switch; opcode, at each bytecode; auto takes turns.
    seed: of chance; None: another one each time.
    max_steps: in a run that is longer all threads have their turns. If it has not ended after as many again, it is a
    livelock if the threads repeat what they do, and otherwise inconclusive.
    include, exclude: names of modules and packages, or paths, whose code is switched between bytecodes like the
    program's, or is not. pyproject.toml has more of them, see docs/explore.md.
    workers: processes that share the runs; each has a seed of its own. dfs and dpor run in one.
    early_timeouts: a last quarter of the runs tries what happens when a timeout fires, or a sleep ends, though other
    threads could go on. What only fails in that way is the outcome EARLY_TIMEOUT.
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
    include, exclude = names_of("include", include), names_of("exclude", exclude)
    choice = choice_for(test, include, exclude)
    if races and workers > 1:
        raise ValueError("races are listed by one process: workers must be 1")
    if seed is None:
        seed = random.SystemRandom().getrandbits(32)

    def work(number: int, seed: int, runs: int, progress: Callable[[Progress], object] | None) -> Result:
        strategy_here = shared(strategy, number)
        return _explore(
            *(test, strategy_here, runs, seconds, granularity, seed, max_steps, choice, early_timeouts, known, races),
            progress,
        )

    if workers == 1 or is_systematic(strategy):  # there is one sequence of its plans only
        return work(0, seed, runs, progress)
    from .workers import in_processes

    again = functools.partial(replay, test, max_steps=max_steps, include=include, exclude=exclude)
    return in_processes(work, again, workers, seed, runs, progress)


def _explore(
    test: Callable[[], object],
    strategy: str,
    runs: int,
    seconds: float | None,
    granularity: str,
    seed: int,
    max_steps: int,
    choice: Choice,
    early_timeouts: bool,
    known: Collection[str],
    races: bool,
    progress: Callable[[Progress], object] | None,
) -> Result:
    with Session(max_steps, choice=choice) as session:
        exploration = _Exploration(session, test, seed, seconds, known, races)
        search = _Search(exploration, session, strategy, granularity, seed, progress)
        if not early_timeouts or is_systematic(strategy):  # a systematic search with them has all that is without
            return search.through(runs, seconds, early_timeouts)
        before = None if seconds is None else seconds - seconds / _EARLY_SHARE
        result = search.through(max(runs - runs // _EARLY_SHARE, 2), before, early=False)
        if result.error is not None or exploration.result.runs >= runs:
            return result
        return search.through(runs, seconds, early=True)


class _Search:
    """Tries the plans of a portfolio, until one fails."""

    def __init__(
        self,
        exploration: _Exploration,
        session: Session,
        strategy: str,
        granularity: str,
        seed: int,
        progress: Callable[[Progress], object] | None,
    ) -> None:
        self._exploration = exploration
        self._session = session
        self._strategy = strategy
        self._granularity = granularity
        self._seed = seed
        self._progress = progress
        self._told = 0.0

    def _portfolio(self, granularity: str, early: bool) -> Portfolio:
        return Portfolio(self._strategy, granularity, self._seed, self._session.max_steps, early)

    def _tell(self, failed: bool = False) -> None:
        now = self._exploration.seconds
        if self._progress is not None and (failed or now - self._told > _TELL_EVERY):
            self._told = now
            counts = self._exploration.result.runs, len(self._exploration.tried.schedules)
            self._progress(Progress(*counts, now, failed))

    def through(self, runs: int, seconds: float | None, early: bool) -> Result:
        """Until so many runs, or seconds, in all.  early: timeouts may fire early."""
        exploration, granularity = self._exploration, self._granularity
        exploration.coarser = granularity == "auto"
        if seconds is not None:
            exploration.give(seconds + _TO_TELL)  # the first run, which imports too, may take longer
        portfolio = self._portfolio(granularity, early)
        grain = GRANULARITIES[0] if granularity == "auto" else granularity
        name, plan = "default", Plan(granularity=grain)  # the first run also imports, and makes what is made once
        plans = portfolio.plans()
        begun = False
        while True:
            run = exploration.run(plan)
            if run.ending == Ending.OUT_OF_TIME:
                return exploration.out_of_time()
            exploration.give(seconds)
            spins = run.ending == Ending.STUCK and self._session.watch.spins
            if spins and granularity == "auto" and plan.granularity == "sync":
                # It waits for another thread without an operation, so the other thread must get its turn between
                # bytecodes.
                portfolio = self._portfolio("gil", early)
                plans = portfolio.plans()
                begun = exploration.coarser = False
            elif run.failed and not exploration.passes_as_known(plan, run):
                if plan == Plan(granularity=grain) and exploration.result.runs == 2:
                    return exploration.changes(run)
                self._tell(failed=not early)
                if (result := exploration.found(plan, run, name)) is not None:
                    return result
                exploration.give(seconds)
            elif not (exploration.tried.has_threads or self._session.quiet.may_have_missed_tasks):
                return exploration.alone()
            self._tell()
            if exploration.result.runs >= runs or (seconds is not None and exploration.seconds >= seconds):
                claim = portfolio.claim
                return exploration.exhausted(claim, plan.granularity) if claim else exploration.spent()
            try:
                name, plan = plans.send(run) if begun else next(plans)
                begun = True
            except StopIteration as end:
                return exploration.exhausted(end.value, plan.granularity) if end.value else exploration.spent()
            except Inconclusive as reason:
                return exploration.inconclusive(str(reason))


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
    wanted = read_token(token)
    choice = choice_for(test, names_of("include", include), names_of("exclude", exclude))
    with Session(max_steps, choice=choice) as session:
        # As in explore(): what the test imports, and makes once, is there before the run that counts.
        session.run(test, Plan(granularity=wanted.plan.granularity))
        exploration = _Exploration(session, test)
        for _ in range(_TRIES):  # if no other schedule runs before, the first run imports modules, and that takes steps
            run = exploration.settled(wanted.plan, exploration.run(wanted.plan))
            if run.failed:
                break
        if run.ending == Ending.STUCK:
            return exploration.stuck()
        if run.failed:
            schedule = Schedule(wanted.plan, tuple(last_steps()))
            found_by = f"replay, {wanted.plan.granularity}"
            return exploration.conclude(wanted.plan, _Failure(run), found_by, schedule.needs_no_gil)
        if run.missed or check_of(run) != wanted.check:
            return exploration.inconclusive("the test passed, and did not take the steps that the token tells of")
        return exploration.spent()


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
