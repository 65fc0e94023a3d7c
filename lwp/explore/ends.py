"""How an exploration ends without a find: the sentence of each end, for INCONCLUSIVE and for BUDGET SPENT."""

from __future__ import annotations

from typing import Any

from .results import Inconclusive, Outcome, Result, Text

ENDS = {
    # The test is not fit for it.
    "changes": "the test passes when it is called first, and fails when it is called again in the same way ({what}): "
    "it, or a fixture that is made once, keeps something from call to call, or its files come in another order",
    "differs": "the test does not do the same each time that its threads run in the same order",
    "threads": "the test starts more than 1,024 threads in a run",
    "systematic threads": "dfs and dpor follow at most {most} threads, and the test has {threads}",
    "systematic steps": "dpor follows runs of at most {most:,} steps, and the test has {steps:,}",
    "others": "the test waits for a thread that it has not started ({others}): only those that it starts are under "
    "control",
    "timer": "the test sets a handler for {signal}, the signal of a timer, which comes by the clock in earnest: only "
    "signals that the test sends itself are under control",
    # A run did not end.
    "file": "a thread waits for a file or socket, where nothing came for {seconds:g} s, and nothing in the test could "
    "go on: {place}",
    "spins": "a thread spins or computes, and came to no scheduling point for {seconds:g} s: {place}",
    "blocked": "a thread is blocked in a call that is not under control, and came to no scheduling point for "
    "{seconds:g} s: {place}",
    "slow": "a run had not ended after {most:.0f} s, and those before took {longest:.1g} s at most: it waits for what "
    "is out of control, or for what an earlier call of the test has changed",
    "first slow": "the first run had not ended after {seconds:.0f} s: give it more seconds",
    "long": "a run had not ended after {most:,} steps, and nothing shows that it never will: --max-steps (max_steps=), "
    "now {steps:,}, is for a test that is longer",
    "last long": "the last run had not ended after {most:,} steps: --max-steps is for a longer test",
    "last slow": "the last run took too long to be looked at again",
    # A run failed, and that shows no bug.
    "keeps": "each run keeps something, so the last one failed: {error}",
    "hurried": "a run failed after its clock had hurried, because it was longer than {longer:,} steps: with a larger "
    "--max-steps (max_steps=), now {steps:,}, the clock hurries later",
    "no time": "a run failed ({what}), and the time was up before it could be run again: give it more seconds",
    "died": "a run has ended its process {how}, and the same schedule (token {token}) does not again",
    "left behind": "a run left threads behind, and the same schedule does not again: threads end with the run that "
    "starts them, so a pool that is kept for later calls loses its own. Make it in the test and shut it down there",
    "once": "a run failed ({what}), and the same schedule does not fail again: repeated, the test does something else",
    "seldom": "a run failed ({what}), and the same schedule failed again in {often} of {runs} runs only: repeated, "
    "the test does something else",
    "worker": "worker {number} ended {how}, and not in a run",
    # A token.
    "other steps": "the test passed, and did not take the steps that the token tells of",
}


_OTHERWISE = ("changes", "differs", "once", "seldom", "other steps")  #: the same schedule was another run
_ADDRESSED = "; {place} asks for id(), an address, which no two runs share: order by a number of your own"


class Unfit(Inconclusive):
    """Raised by what finds out that a test is not fit; the exploration then ends so."""

    def __init__(self, end: str, /, **facts: Any) -> None:
        super().__init__(reason(end, **facts))
        self.end, self.facts = end, facts


def reason(end: str, /, addressed: str = "", **facts: object) -> str:
    """addressed: the program's line that has asked for an id(), "" if none has."""
    more = _ADDRESSED.format(place=addressed) if addressed and end in _OTHERWISE else ""
    return ENDS[end].format(**facts) + more


def inconclusive(end: str, /, **facts: Any) -> Result:
    why = reason(end, **facts)
    return Result(Outcome.INCONCLUSIVE, error=Inconclusive(why), _report=Text(f"INCONCLUSIVE: {why}"))
