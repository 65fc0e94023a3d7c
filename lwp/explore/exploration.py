"""One exploration: its runs, and what becomes of a run that fails: it is made simple, replayed and told."""

from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import native
from ..reading.files import Choice, choosing
from ..reading.source import forget
from .doubts import Doubts, Failure, lacks, waited, waited_for_file, what_failed
from .ends import Unfit, reason
from .results import Changing, Find, Inconclusive, Outcome, Result, Text, name_of_error
from .run.plans import FINDS, GRANULARITIES, Ending, Kind, Plan, Run, State, Step, Strikes, by_deviations, last_steps
from .run.session import LONGER, Session
from .search.shrinking import Schedule, shrink
from .search.strategies import some_plans
from .search.tried import Tried, counted, left_out
from .tokens import check_of, make_token

if TYPE_CHECKING:
    from .telling.races import Race, Races
    from .telling.recorder import Recorder
    from .telling.story import Story
    from .telling.undoing import Gap, Trial

_REPLAYS, _LOOKS = 10, 4
_ENOUGH = 0.9  # of the replays: otherwise more than the order of threads decides
_SHRINK, _SHRINK_LIVELOCK = 5.0, 0.8  # seconds, at most
_SHRINK_RACE = 0.3  # seconds, at most, for each
_SEEK_REASONS, _SEEK_IN_LIBRARIES = 2.0, 0.5  # seconds, at most
_SEEK_OTHERS, _SEEK_RUNS = 1.0, 600  # seconds and runs, at most
_MOST_TOLD = 3  # switches of an order that passes
TO_TELL = 0.9  # seconds that a find may take beyond `seconds`: a run that is cut off then may take a second to unwind
TO_TELL_OF_SHARE = 40.0  # the same, if the seconds are a Share: a run of a second is run again thirty times
_TO_RECORD = 0.5  # of either, for the run that is told
_SLOW, _SLOWER = 10.0, 20  # seconds, and times the longest run before: their sum is the most that a run may take


class Share(float):
    """Seconds after which no further run begins. Other seconds of explore() cut off a run, the first one too."""


class Exploration:
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
        self._is_limited = not (seconds is None or isinstance(seconds, Share))  # runs are cut off when the time is up
        self._longest = 0.0  # seconds, of a run
        self.doubts = Doubts(session, test)
        self.result = Result(Outcome.BUDGET_SPENT, seed=seed)
        self.tried = Tried(session.unswitched)
        self.coarser = False  # whether a find between bytecodes may be replayed without points there
        self._races: Races | None = None
        if races:
            from .telling.races import Races

            self._races = Races()

    def run(self, plan: Plan, most: int = 1, seconds: float = 0.0) -> Run:
        """Runs the test once, or a plan's series: until a run fails, at most so many times, and no more after so many
        seconds."""
        run_seconds = 0.0
        if self.result.runs and not self._is_limited:
            run_seconds = _SLOW + _SLOWER * self._longest
            self._session.until = time.monotonic() + run_seconds
        if self._races is None:
            run = self._session.run(self._test, plan, most=most, seconds=seconds, run_seconds=run_seconds)
        else:
            run, steps, recorder = self._looked_at(plan)
            self._races.add(plan, steps, recorder.accesses.found)
        if run.ending != Ending.OUT_OF_TIME:
            self._longest = max(self._longest, run.made.slowest / 1e9)
        first = self.result.runs == 0
        self.result.runs += run.made.runs
        if first:
            self.tried.kills = any(State(state) is not State.ENDED for state, *_ in native.explore_final())
        self.tried.add(plan, run, self._session.max_steps)
        self.tried.has_tasks = self._session.quiet.has_tasks
        self.tried.logged = self._session.quiet.logged
        return run

    def _looked_at(self, plan: Plan, gap: Gap | None = None) -> tuple[Run, list[Step], Recorder]:
        """Runs the plan, and looks at its data."""
        from .telling.recorder import Recorder

        recorder = Recorder(True, gap)
        run = self._session.run(self._test, plan, recorder.note, recorder.look)
        recorder.accesses.end()
        return run, last_steps(), recorder

    def _list_races(self) -> None:
        if self._races is not None:
            races, self._races = self._races, None
            self.result.races, self.result._races = races.told(self._token_of)

    def _token_of(self, race: Race) -> str:
        """Of a simple schedule with the race's other order."""
        from .telling.races import unordered

        def attempt(plan: Plan) -> Schedule | None:
            _, steps, recorder = self._looked_at(plan)
            turns = any(race.is_turned(*pair) for pair in unordered(steps, recorder.accesses.found))
            return Schedule(by_deviations(plan, steps), tuple(steps)) if turns else None

        assert race.other is not None
        plan, steps = race.other
        plan = shrink(Schedule(plan, tuple(steps)), attempt, seconds=_SHRINK_RACE, coarser=self.coarser).plan
        return make_token(plan, check_of(self._session.run(self._test, plan)))

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def give(self, seconds: float | None) -> None:
        """From now on runs are cut off so long after the begin."""
        self._session.until = self._began + seconds if self._is_limited and seconds is not None else None

    def _give_to_tell(self) -> None:
        """From now on there is time to simplify and replay what was found."""
        if isinstance(self._seconds, Share):
            self._session.until = time.monotonic() + TO_TELL_OF_SHARE
        elif self._seconds is not None:
            self.give(self._seconds + TO_TELL)

    @property
    def left(self) -> float:
        """Seconds until then."""
        until = self._session.until
        return math.inf if until is None else until - time.monotonic()

    def end(self, outcome: Outcome, text: str, error: BaseException | None = None) -> Result:
        self.result.outcome, self.result.error, self.result._report = outcome, error, Text(text)
        self.result.seconds, self.result.distinct = self.seconds, len(self.tried.schedules)
        self.result.known, self.result._tried = dict(self.tried.known), self.tried
        self._list_races()
        return self.result

    def inconclusive(
        self, end: str, kind: type[Inconclusive] = Inconclusive, cause: BaseException | None = None, **facts: object
    ) -> Result:
        """end: one of ENDS."""
        why = reason(end, self._session.numbers.addressed, **facts)
        error = kind(why)
        error.__cause__ = cause
        return self.end(Outcome.INCONCLUSIVE, f"INCONCLUSIVE: {why}", error)

    def changes(self, run: Run) -> Result:
        """The same schedule has passed, and fails when it is run again."""
        return self.inconclusive("changes", Changing, run.error, what=what_failed(run))

    def stuck(self) -> Result:
        watch = self._session.watch
        return self.inconclusive(watch.what, seconds=watch.patience, place=watch.place)

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
        from .telling.told import name_of_find

        if run.error is not None:
            name = name_of_error(run.error)
        else:
            if run.hash not in self._names:
                same = plan if plan.series is None else by_deviations(plan, last_steps())
                self._names[run.hash] = name_of_find(self._recorded(same, with_states=run.ending == Ending.LIMIT)[1])
            name = self._names[run.hash]
        return name if name in self._known else None

    def _recorded(self, plan: Plan, with_states: bool) -> tuple[Run, Story]:
        from .telling.recorder import Recorder

        recorder = Recorder(with_states=with_states)
        run = self._session.run(self._test, plan, recorder.note)
        return run, recorder.finish(run)

    def _schedule(self, plan: Plan, failure: Failure | None) -> Schedule | None:
        """Runs the plan; its schedule if it fails in that way. failure: None: if it passes."""
        run = self._session.run(self._test, plan)
        if run.failed is (failure is None):
            return None
        if failure is not None and (Failure(run) != failure or self._known_name(plan, run) is not None):
            return None
        steps = last_steps()
        return Schedule(by_deviations(plan, steps), tuple(steps))

    def _long(self) -> Result:
        steps = self._session.max_steps
        most = 2 * LONGER * steps
        if self.result.runs > 1:
            return self.spent(reason("last long", most=most))
        return self.inconclusive("long", most=most, steps=steps)

    def found(self, plan: Plan, run: Run, name: str) -> Result | None:
        """The run has failed: shrinks it, replays it, and reports.  None: it is no failure after all."""
        if run.ending == Ending.TOO_MANY:
            return self.inconclusive("threads")
        if run.ending == Ending.STUCK:
            return self.stuck()
        self._give_to_tell()
        same = by_deviations(plan, last_steps())
        run = self.doubts.collected(same, self.doubts.lengthened(same, self.doubts.settled(same, run)))
        if run.ending == Ending.OUT_OF_TIME:
            return self.spent(reason("last slow")) if self.result.runs > 1 else self.out_of_time()
        if lacks(run) and self.result.runs > 1:
            return self.spent(reason("keeps", error=run.error))
        if not run.failed or self.passes_as_known(same, run):  # it is long, or had closed a circle that is no deadlock
            return None
        failure = Failure(run)
        steps = last_steps()
        same = by_deviations(plan, steps)
        if run.ending == Ending.LIMIT and not self._recorded(same, with_states=True)[1].has_cycle:
            return self._long()
        if run.hurried and run.ending != Ending.LIMIT and not plan.strikes & Strikes.EARLY:
            most = self._session.max_steps
            return self.inconclusive("hurried", longer=LONGER * most, steps=most)
        by_file = waited_for_file(steps)
        if self.left > 0 and waited(run, steps) and self.doubts.is_answered(same, failure, by_file):
            if by_file:  # within a program data comes at once, except where the kernel has no time for that
                return None
            return self.inconclusive("others", others=_others())
        tries = (self._schedule(same, failure) for _ in range(_REPLAYS))
        schedule = next((found for found in tries if found is not None), None)
        if schedule is None:
            return self._fails_no_more(failure)
        schedule = self._shrunk(schedule, failure)
        if schedule.needs_no_gil and (coarser := self._sought(failure, ("gil", plan.strikes))) is not None:
            schedule = self._shrunk(coarser, failure)
        return self.conclude(schedule, failure, f"{name}, {plan.granularity}")

    def _fails_no_more(self, failure: Failure, end: str = "once", **facts: Any) -> Result:
        if self.left < 0:
            end = "no time"
        elif failure.ending == Ending.LEFT_BEHIND:
            end = "left behind"
        return self.inconclusive(end, cause=failure.error, what=what_failed(failure), **facts)

    def _shrunk(self, schedule: Schedule, failure: Failure) -> Schedule:
        seconds = min(_SHRINK_LIVELOCK if failure.ending == Ending.LIMIT else _SHRINK, self.left / 2)
        coarser = self.coarser and failure.ending != Ending.LIMIT
        return shrink(schedule, lambda plan: self._schedule(plan, failure), seconds=seconds, coarser=coarser)

    def _sought(self, failure: Failure | None, *kinds: tuple[str, Strikes]) -> Schedule | None:
        """A schedule that _schedule() takes; None: not found. kinds: granularities, and what may strike."""
        until = time.monotonic() + min(_SEEK_OTHERS, self.left / 2)
        each = (some_plans(granularity, self.tried.steps, strikes) for granularity, strikes in kinds)
        plans = itertools.islice(itertools.chain.from_iterable(zip(*each, strict=True)), _SEEK_RUNS)
        found = (self._schedule(plan, failure) for plan in plans if time.monotonic() < until)
        return next((schedule for schedule in found if schedule is not None), None)

    def _order_that_passes(self) -> list[str]:
        """Lines about a simple one, where the default order fails; [] if all that are tried fail."""
        from .telling.words import deviation

        kinds = itertools.product(GRANULARITIES, (Strikes.NOTHING, Strikes.EARLY))
        if not self.tried.varies or (found := self._sought(None, *kinds)) is None:
            return []
        found = shrink(found, lambda plan: self._schedule(plan, None), seconds=_SHRINK_RACE, coarser=True)
        run, story = self._recorded(found.plan, with_states=False)
        told = [f"  {text}" for event in story.events if (text := deviation(story, event))]
        more = [f"  ... {len(told) - _MOST_TOLD} more switches"] * (len(told) > _MOST_TOLD)
        return [f"It passes in this order, {make_token(found.plan, check_of(run))}:", *told[:_MOST_TOLD], *more]

    def conclude(self, schedule: Schedule, failure: Failure, found_by: str) -> Result:
        if isinstance(failure.error, Unfit):
            return self.inconclusive(failure.error.end, **failure.error.facts)
        from .telling.page import page
        from .telling.report import report
        from .telling.told import tell

        plan = schedule.plan
        self._list_races()  # before the run whose output is shown
        if not plan.deviations and outcome_of(schedule) is Outcome.FOUND and self.left > _TO_RECORD:
            self.result._passes = self._order_that_passes()
        again: list[Run] = []
        while len(again) < _REPLAYS and self.left > _TO_RECORD:
            run = self._session.run(self._test, plan)
            if run.ending == Ending.OUT_OF_TIME:
                break
            again.append(run)
        replays = sum(run.failed and Failure(run) == failure for run in again)
        if replays < _ENOUGH * len(again):
            return self._fails_no_more(failure, "seldom", often=replays, runs=len(again))
        recorded = self._explained(plan, failure, again)
        if recorded is None:
            return self._fails_no_more(failure)
        last, story, choice, name = recorded
        if failure.ending == Ending.LIMIT and not story.has_cycle:
            return self._long()
        with choosing(choice):
            told = tell(story)
        error = last.error if last.error is not None else FINDS.get(last.ending, Find)(told.what)
        result = self.end(outcome_of(schedule), "", error)
        result.name, result.token, result.found_by = name, make_token(plan, check_of(last)), found_by
        result.replays, result.replayed, result.deviations = replays, len(again), len(plan.deviations)
        result.command = f'runtime.replay({_name_of(self._test)}, "{result.token}")'
        result.free_threaded_only = schedule.needs_no_gil
        if any(thread >= 0 for thread in story.tasks):
            result.other_order = schedule.needs_other_order
            result._has_threads = story.tasks.count(-1) > 1
        result.why = [fact._asdict() for fact in told.why]
        result._report, result._page = (choosing(choice)(partial(how, told, story)) for how in (report, page))
        return result

    def _explained(self, plan: Plan, failure: Failure, again: list[Run]) -> tuple[Run, Story, Choice, str] | None:
        """The run once more, for its story, what counts as the program's in that, and the find's name.

        None: it does not fail again.

        If its data says nothing, and no task was cancelled, that of the libraries that it led to may. At sync their
        code has no points either way.
        """
        from .telling.told import name_of_find

        libraries: set[str] | None = set() if plan.granularity == "sync" else None
        recorded = self._told(plan, failure, again, _SEEK_REASONS, libraries)
        if recorded is None:
            return None
        run, story = recorded
        name = name_of_find(story)
        if story.reasons or story.ring or run.cancelled or not libraries or self.left < _TO_RECORD:
            return run, story, self._session.choice, name
        try:
            with self._session.including(libraries):
                here = self._session.run(self._test, plan)
                is_same = here.failed and (here.ending, type(here.error)) == (run.ending, type(run.error))
                told = self._told(plan, Failure(here), again, _SEEK_IN_LIBRARIES) if is_same else None
                if told is not None and told[1].reasons:
                    return *told, self._session.choice, name
        except RuntimeError:  # no place for the maps of that code
            pass
        finally:
            forget()
        return run, story, self._session.choice, name

    def _told(
        self, plan: Plan, failure: Failure, again: list[Run], seconds: float, libraries: set[str] | None = None
    ) -> tuple[Run, Story] | None:
        """The run and its story. libraries: the recorder adds to it which libraries came to points.

        A recorder that looks at data keeps objects alive a little longer. If that changes what the run does each time,
        the data is not told.
        """
        from .telling.recorder import Recorder
        from .telling.undoing import Trial, reasons

        is_livelock = failure.ending == Ending.LIMIT
        for number in range(_REPLAYS):
            looks = number < _LOOKS and bool(again) and not is_livelock
            recorder = Recorder(looks, with_states=is_livelock, libraries=libraries)
            run = self._session.run(self._test, plan, recorder.note, recorder.look)
            if not run.failed or Failure(run) != failure or (looks and run.hash != again[-1].hash):
                continue
            steps = last_steps()
            story = recorder.finish(run)
            if looks:
                accesses = recorder.accesses
                found = Trial(plan, run, steps, accesses.found, accesses.looks, True, story.tasks)
                attempt = partial(self._look, failure)
                seconds = min(seconds, self.left / 2)
                story.explain(reasons(found, attempt, seconds, exact=bool(story.ring)), found.accesses)
                self._session.run(self._test, plan)  # what the last run prints stands below the report
            return run, story
        return None

    def _look(self, failure: Failure, plan: Plan, gap: Gap | None) -> Trial:
        from .telling.undoing import Trial

        run, steps, recorder = self._looked_at(plan, gap)
        fails = run.failed and Failure(run) == failure
        accesses = recorder.accesses
        return Trial(plan, run, steps, accesses.found, accesses.looks, fails, native.explore_tasks())

    # ---- what was not ------------------------------------------------------------------------------------------------

    def out_of_time(self) -> Result:
        if self.result.runs <= 1:
            return self.inconclusive("first slow", seconds=self.seconds)
        if self._is_limited:
            return self.spent()
        return self.inconclusive("slow", most=_SLOW + _SLOWER * self._longest, longest=self._longest)

    def spent(self, why: str = "") -> Result:
        """None of the runs has failed. why: no more can be made, "" if they were as many as wanted."""
        self.tried.ended_by = why
        return self.end(Outcome.BUDGET_SPENT, self.tried.spent())

    def alone(self) -> Result:
        """The test has passed in the default schedule, and started no thread: no other schedule is there."""
        return self.spent() if self.tried.has_tasks else self._exhausted("", self.tried.alone)

    def exhausted(self, claim: str, granularity: str) -> Result:
        """claim: which schedules were tried, "" if that were not all. It holds only if the test does the same each
        time."""
        if not claim:
            return self.spent()
        once, again = (self._session.run(self._test, Plan(granularity=granularity)) for _ in range(2))
        if Ending.OUT_OF_TIME in (once.ending, again.ending) or self.tried.has_files or self.tried.has_tasks:
            return self.spent()
        if once.hash != again.hash:
            return self.inconclusive("differs")
        more = "" if granularity == "sync" else "".join(f"\n{line}" for line in left_out(self.tried.unswitched))
        turns = ", and tasks where files and timers leave their order open" if self.tried.tasks else ""
        return self._exhausted(f"{claim}{turns}: ", more)

    def _exhausted(self, claim: str, more: str) -> Result:
        runs = counted(self.result.runs, "run")
        return self.end(
            Outcome.EXHAUSTED, f"EXHAUSTED: {claim}{runs}, {self.tried.failures()}{more}{self.tried.timers}"
        )


def _name_of(test: Callable[[], object]) -> str:
    while isinstance(test, partial):
        test = test.func
    return getattr(test, "__qualname__", "test").rpartition("<locals>.")[2]


def _others() -> str:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    return ", ".join(names[:5]) if names else "none of Python's"


def outcome_of(schedule: Schedule) -> Outcome:
    if any(step.kind == Kind.CANCEL for step in schedule.steps):
        return Outcome.CANCELLATION
    return Outcome.EARLY_TIMEOUT if Strikes.EARLY in schedule.plan.strikes else Outcome.FOUND
