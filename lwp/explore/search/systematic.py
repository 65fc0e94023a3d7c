"""Depth first: every schedule once, those with few preemptions first."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator

from ... import native
from ..ends import Unfit
from ..run.plans import IN_TURN, MOST_IN_SET, STEP, TIMEOUT, Plan, Plans, Run, Strikes, threads_in
from .fairness import Fairness

_CHOSEN = 20  #: its place in a step
_MOST_BYTES = 1 << 26  #: for the beginnings of schedules that are kept for the next bound

#: Where threads are switched, for a claim.
SWITCHES = {
    "sync": "at operations of primitives",
    "gil": "where CPython with a GIL may switch",
    "opcode": "between bytecodes",
}
_STRUCK = {Strikes.EARLY: "early timeouts", Strikes.CANCEL: "cancellations"}


def check_begin(run: Run, steps: bytes, order: bytes | bytearray, before: bytes = b"") -> None:
    """Unfit: the run did not begin with these threads, or not as the run before it except for the last.

    Or it has more threads than a step's sets hold.
    """
    if run.threads > MOST_IN_SET:
        raise Unfit("systematic threads", most=MOST_IN_SET, threads=run.threads)
    same = (len(order) - 1) * STEP.size if before and order else 0
    if steps[:same] != before[:same] or steps[_CHOSEN : len(order) * STEP.size : STEP.size] != order:
        raise Unfit("differs")


def what_is_left_out(gave_way: bool, cut: bool, most_steps: int) -> str:
    """For a claim."""
    return ", where one that spins gives way" * gave_way + f", in the first {most_steps:,} steps of a run" * cut


class _Search:
    """Schedules with a number of preemptions, or of what may strike; the number rises step by step.

    The beginning of a schedule with one more is kept until all with fewer were tried, so none is tried twice.
    """

    def __init__(self, granularity: str, most_steps: int, strikes: Strikes) -> None:
        self._strikes = strikes
        self._granularity = granularity
        self._most_steps = most_steps
        self.kept: list[tuple[bytes, array[int]]] = []  # (threads, [256 * a + t: thread t at step a in place])
        self.gave_way = False  # a spinning thread was not tried where another thread waited for its turn
        self.cut = False  # a run was longer than most_steps
        self.forgot = False  # there were too many beginnings to keep
        self._room = _MOST_BYTES

    def below(self, begin: bytes) -> Generator[Plan, Run, None]:
        """All schedules with this begin and no more preemptions than it has."""
        order = bytearray(begin)
        untried: list[int] = []  # at each step after the begin, a set of threads
        usual = bytearray()
        deviations = tuple(enumerate(begin))
        fairness = Fairness()
        steps = b""
        while True:
            run = yield Plan(deviations=deviations, strikes=self._strikes, granularity=self._granularity)
            before, steps = steps, native.explore_steps()
            check_begin(run, steps, order, before)
            self.cut |= run.steps > self._most_steps
            later = array("Q")
            known = len(order)
            first = known - 1 if usual else 0  # the begin's steps are told once
            last = order[first - 1] if first else 0
            fairness.cut(first)
            del usual[first:]
            for at, (can, early, _, chosen, default, _, flags) in enumerate(
                STEP.iter_unpack(steps[first * STEP.size : self._most_steps * STEP.size]), first
            ):
                usual.append(default)
                in_turn = flags & IN_TURN
                fairness.step(can & ~early, default, last, in_turn)
                fairness.took(at, flags & TIMEOUT)
                goes_on = in_turn or (default == last and not early >> last & 1)
                last = chosen
                if at < known:
                    continue
                order.append(chosen)
                others = can & ~(1 << chosen)
                if others and (waiting := fairness.waiting() & others):
                    self.gave_way = True
                    others &= ~waiting
                free = 0 if goes_on else others & ~early
                untried.append(free)
                if others != free:
                    later.extend(256 * at + thread for thread in threads_in(others & ~free))
            self._keep(order, later)
            while untried and not untried[-1]:
                untried.pop()
            if not untried:
                return
            at = len(begin) + len(untried) - 1
            del order[at + 1 :]
            thread = (untried[-1] & -untried[-1]).bit_length() - 1
            untried[-1] &= untried[-1] - 1
            order[at] = thread
            deviations = tuple((i, order[i]) for i in range(at + 1) if order[i] != usual[i])

    def _keep(self, order: bytearray, later: array[int]) -> None:
        if later:
            self._room -= len(order) + 8 * len(later)
            if self._room > 0:
                self.kept.append((bytes(order[: later[-1] // 256]), later))
            else:
                self.forgot = True

    def take(self) -> Iterator[bytes]:
        """The begins of schedules with one preemption more."""
        kept, self.kept = self.kept, []
        for order, later in kept:
            self._room += len(order) + 8 * len(later)
            for one in later:
                yield order[: one // 256] + bytes((one % 256,))


def depth_first(
    granularity: str, most_steps: int, strikes: Strikes = Strikes.NOTHING, bound: int | None = None
) -> Plans:
    """Every schedule, or each that has at most so many preemptions or strikes; what was tried, at its end."""
    search = _Search(granularity, most_steps, strikes)
    yield from search.below(b"")
    switches = 0
    while search.kept and switches != bound:
        switches += 1
        for begin in search.take():
            yield from search.below(begin)
    if search.forgot:
        return ""
    left_out = what_is_left_out(search.gave_way, search.cut, most_steps)
    few = ""
    if bound is not None:
        struck = [f" or {name}" for strike, name in _STRUCK.items() if strike in strikes]
        few = f" with at most {bound} preemption{'s' * (bound != 1)}{''.join(struck)}"
    return f"all schedules{few} that switch threads {SWITCHES[granularity]}{left_out}"
