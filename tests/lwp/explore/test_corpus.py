"""Each program of the corpus: its bug is found, named and replayed, and nothing is found in its repair."""

from __future__ import annotations

from collections import Counter
from functools import partial

import pytest
from conftest import SLOW
from corpus import PROGRAMS, Find, Needs, Program

from lwp.explore import DeadlockFound, LeftBehind, Livelock, Outcome, explore, replay

_ERRORS: dict[Find, type[BaseException]] = {
    Find.ASSERTION: AssertionError,
    Find.EXCEPTION: Exception,
    Find.DEADLOCK: DeadlockFound,
    Find.LIVELOCK: Livelock,
    Find.LEFT_BEHIND: LeftBehind,
}

#: Their bugs take seconds to find.
LONG = {
    *("one_spoon", "io_pending", "stopped_before_it_runs", "lock_one"),
    *("flag_read_once", "stale_expectation", "lost_arrival"),
}


@pytest.mark.parametrize(
    "program",
    [pytest.param(one, id=one.name, marks=pytest.mark.slow if one.name in LONG else ()) for one in PROGRAMS],
)
def test_the_bug_is_found(program: Program) -> None:
    buggy = partial(program.run, False)
    result = explore(buggy, runs=20_000, seconds=60 * SLOW, seed=1, early_timeouts=program.early)
    wanted = {Outcome.EARLY_TIMEOUT, Outcome.FOUND} if program.early else {Outcome.FOUND}
    assert result.outcome in wanted, result.report()
    assert isinstance(result.error, _ERRORS[program.find])
    assert result.replays == 10
    assert result.token
    assert isinstance(replay(buggy, result.token).error, type(result.error))
    with pytest.raises(type(result.error)):
        result.check()
    if program.needs is not Needs.OPCODE:
        assert not result.free_threaded_only


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_nothing_is_found_in_the_repair(program: Program) -> None:
    result = explore(partial(program.run, True), runs=2000, seed=1, early_timeouts=True)
    assert result.outcome in (Outcome.BUDGET_SPENT, Outcome.EXHAUSTED), result.report()


def test_there_are_enough_and_of_each_kind() -> None:
    assert len(PROGRAMS) >= 50
    assert not [name for name, count in Counter(program.name for program in PROGRAMS).items() if count > 1]
    assert all(program.source.strip() and 1 <= program.depth <= 3 for program in PROGRAMS)
    needed = Counter(program.needs for program in PROGRAMS)
    assert needed[Needs.SYNC] >= 30
    assert needed[Needs.GIL] >= 10
    assert needed[Needs.OPCODE] >= 10
    assert {program.find for program in PROGRAMS} == set(Find)
