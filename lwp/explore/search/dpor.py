"""Partial orders: of schedules that differ only in the order of steps that do not matter to each other, one is tried.

Source-DPOR with sleep sets (Abdulla, Aronsson, Jonsson, Sagonas, POPL 2014).  After each run, each step is compared
with the earlier ones.  Two RACE if they are of different threads and touch the same object, and nothing between them
orders them.  If they were not yet run the other way round, a thread that leads to the reverse order is tried in place
of the earlier step.  A thread that was tried at a step SLEEPS in what is tried there later, until a step comes that
matters to it, because a run in which a sleeping thread goes on repeats an earlier run.

A thread that waits for a lock races with the thread that took it before, and not with the release that let it go on.
What the thread could do at that time is known from the step's `can` if it was there already, and otherwise from the
kind of operation.
"""

from __future__ import annotations

from collections.abc import Generator

from ... import native
from ...core import native as core
from ..ends import Unfit
from ..run.plans import DAEMON, IN_TURN, STEP, THREAD, TIMED, TIMEOUT, Kind, Plan, Run, State, Strikes, threads_in
from .fairness import Fairness
from .systematic import check_begin, what_is_left_out

#: What a step touches: 2 * object, + 1 if it may change it.  None: not known, so it matters to all.
Touched = tuple[int, ...] | None

_STARTS = (2 * (THREAD << 1) + 1,)  # the threads' numbers: they are given in the order of the starts
_NEVER_WAIT = {Kind.TRY, Kind.READ, Kind.RELEASE, Kind.SIGNAL, Kind.START, Kind.END, Kind.WAIT, Kind.YIELD, Kind.CODE}


def _matter(one: Touched, other: Touched) -> bool:
    """Whether the order of the two may make a difference."""
    if one is None or other is None:
        return True
    return any(a >> 1 == b >> 1 and (a | b) & 1 for a in one for b in other)


#: The races of a step are looked for among all steps before it.
_MOST_STEPS = 3000


class _Daemons(Exception):
    """A run may end before one of its threads does: then the end of a thread matters to all steps."""


class _Objects:
    """What kinds of objects a run's steps were done to."""

    def __init__(self) -> None:
        self._objects: list[object] | None = None

    def forget(self) -> None:
        self._objects = None

    def _all(self) -> list[object]:
        if self._objects is None:
            self._objects = native.explore_objects()
        return self._objects

    def _is(self, number: int, kind: type) -> bool:
        return 0 < number <= len(self._all()) and isinstance(self._all()[number - 1], kind)

    def is_flag(self, number: int) -> bool:
        """Whether it is an Event or a Future, which a wait leaves as it is."""
        return self._is(number, core.EventBase) or self._is(number, core.FutureBase)

    def is_lock(self, number: int) -> bool:
        """Whether it is a Lock or an RLock, of the runtime's or of CPython's."""
        if not 0 < number <= len(self._all()):
            return False
        return any(base.__module__ == "_thread" for base in type(self._all()[number - 1]).__mro__)

    def lock_of(self, number: int) -> int | None:
        """The number of a condition's lock; 0: it is no condition; None: not known."""
        if not self._is(number, core.ConditionBase):
            return 0
        lock = getattr(self._all()[number - 1], "_lock", None)
        return next((at for at, one in enumerate(self._all(), 1) if one is lock), None)


class _Search:
    def __init__(self, most_steps: int, strikes: Strikes, with_daemons: bool) -> None:
        self._strikes = strikes
        self._most_steps = most_steps
        self._with_daemons = with_daemons
        self._objects = _Objects()
        self._fairness = Fairness()
        self.gave_way = self.cut = False
        self._steps = b""  # of the last run
        self._tasks: list[int] = []  # the same: of native.explore_tasks()
        # Before each step:
        self._can: list[int] = []
        self._usual = bytearray()
        self._begun: list[int] = []  # threads
        self._waiting: list[int] = []  # threads that spin, and so wait for others
        self._todo: list[int] = []  # threads that are to be tried
        self._asleep: list[dict[int, Touched]] = []  # threads, with what they would do
        # Each step:
        self._chosen = bytearray()
        self._kind = bytearray()
        self._flags = bytearray()
        self._touched: list[Touched] = []
        self._past: list[int] = []  # a bit for each step that is before it in all orders like this one, and its own
        self._previous: list[int] = []  # of the same thread, or -1
        # By thread: its last step, and the step that started it.
        self._last: dict[int, int] = {}
        self._start: dict[int, int] = {}
        # By object, and for steps that may have touched any object: (2 * step, + 1 if it may have changed it)
        self._history: dict[int, list[int]] = {}
        self._unknown: list[int] = []

    def __call__(self) -> Generator[Plan, Run, None]:
        order = bytearray()
        while True:
            deviations = tuple((at, thread) for at, thread in enumerate(order) if thread != self._usual[at])
            run = yield Plan(deviations=deviations, strikes=self._strikes)
            self._objects.forget()
            self._tasks = native.explore_tasks()
            self._follow(run, order)
            while self._can:
                at = len(self._can) - 1
                if len(self._chosen) > at:
                    self._asleep[at][self._chosen[at]] = self._touched[at]
                    self._undo()
                if left := [thread for thread in threads_in(self._todo[at]) if thread not in self._asleep[at]]:
                    break
                self._forget_place()
            else:
                return
            order = self._chosen + bytes((left[0],))

    # ---- the steps of a run ------------------------------------------------------------------------------------------

    def _follow(self, run: Run, order: bytearray) -> None:
        before, self._steps = self._steps, native.explore_steps()
        check_begin(run, self._steps, order, before)
        if run.steps > _MOST_STEPS:
            raise Unfit("systematic steps", most=_MOST_STEPS, steps=run.steps)
        self.cut |= run.steps > self._most_steps
        first = len(self._chosen)
        for at, (can, early, number, chosen, usual, kind, flags) in enumerate(
            STEP.iter_unpack(self._steps[first * STEP.size : self._most_steps * STEP.size]), first
        ):
            if at >= len(order):
                self._come_to(can, early, chosen, usual, flags & IN_TURN)
                if chosen in self._asleep[at]:
                    self._choose_awake(at)
                    return
            self._fairness.took(at, flags & TIMEOUT)
            if flags & DAEMON and not self._with_daemons:
                raise _Daemons
            touched = self._what(chosen, kind, number, flags)
            self._race(at, chosen, kind, flags, touched, took=True)
            self._do(at, chosen, kind, flags, touched)
        self._end(run)

    def _come_to(self, can: int, early: int, chosen: int, usual: int, in_turn: int) -> None:
        at = len(self._can)
        begun = self._begun[-1] if at else 0
        for thread in threads_in(can & ~begun):
            self._start[thread] = at - 1
        asleep = {}
        if at:
            done = self._touched[-1]
            asleep = {thread: op for thread, op in self._asleep[-1].items() if not _matter(op, done)}
        self._fairness.step(can & ~early, usual, self._chosen[-1] if at else 0, in_turn)
        self._can.append(can)
        self._usual.append(usual)
        self._begun.append(begun | can)
        self._waiting.append(self._fairness.waiting())
        self._todo.append(1 << chosen)
        self._asleep.append(asleep)

    def _choose_awake(self, at: int) -> None:
        """The default schedule would have a sleeping thread go on, so this chooses one that is awake."""
        left = self._can[at] & ~sum(1 << thread for thread in self._asleep[at])
        if left & self._waiting[at]:
            self.gave_way = True
            left &= ~self._waiting[at]
        self._todo[at] = left & -left
        # all threads that could go on sleep, and the threads that wait for them would be seen nowhere else
        if not left:
            waiting = {thread: op for thread, op in self._pending(at).items() if not self._can[at] >> thread & 1}
            self._race_pending(at, waiting)

    def _do(self, at: int, thread: int, kind: int, flags: int, touched: Touched) -> None:
        self._chosen.append(thread)
        self._kind.append(kind)
        self._flags.append(flags)
        self._touched.append(touched)
        self._previous.append(self._last.get(thread, -1))
        self._last[thread] = at
        if touched is None:
            self._unknown.append(2 * at + 1)
        else:
            for one in touched:
                self._history.setdefault(one >> 1, []).append(2 * at + (one & 1))

    def _undo(self) -> None:
        thread = self._chosen.pop()
        touched = self._touched.pop()
        previous = self._previous.pop()
        del self._kind[-1], self._flags[-1], self._past[-1]
        if previous < 0:
            del self._last[thread]
        else:
            self._last[thread] = previous
        if touched is None:
            self._unknown.pop()
        else:
            for one in touched:
                self._history[one >> 1].pop()

    def _forget_place(self) -> None:
        for each in (self._can, self._usual, self._begun, self._waiting, self._todo, self._asleep):
            del each[-1]
        self._fairness.cut(len(self._can))
        at = len(self._can)
        for thread in [thread for thread, start in self._start.items() if start >= at - 1 >= 0]:
            del self._start[thread]

    def _what(self, thread: int, kind: int, number: int, flags: int) -> Touched:
        """What the step touches.  A timeout moves the clock, which all threads see."""
        if flags & TIMEOUT:
            return None
        if kind == Kind.BEGIN and self._tasks[thread] >= 0:  # it is a turn
            return None
        if number == 0:
            return _STARTS if kind == Kind.START else () if kind in (Kind.BEGIN, Kind.YIELD) else None
        if kind in (Kind.READ, Kind.JOIN):
            return (2 * number,)
        if kind == Kind.END:
            return None if self._with_daemons else (2 * number + 1,)
        if kind == Kind.WAIT:
            lock = self._objects.lock_of(number)
            if lock is None:
                return None
            if lock:  # which it releases
                return 2 * number + 1, 2 * lock + 1
        if kind in (Kind.WAIT, Kind.WAKE) and self._objects.is_flag(number):
            return (2 * number,)
        if kind == Kind.WAKE:
            waited = self._touched[self._last[thread]]
            if waited is not None and waited[0] >> 1 != number:
                return 2 * number + 1, waited[0]
        return (2 * number + 1,)

    def _end(self, run: Run) -> None:
        at = len(self._chosen)
        pending = self._pending(at)
        if pending and not run.failed and not self._with_daemons:
            raise _Daemons
        self._race_pending(at, pending)

    def _pending(self, at: int) -> dict[int, tuple[int, int]]:
        """What each thread was about to do at that step: the kind and the object's number."""
        found: dict[int, tuple[int, int]] = {}
        for _, _, number, thread, _, kind, _ in STEP.iter_unpack(self._steps[at * STEP.size :]):
            found.setdefault(thread, (kind, number))
        for thread, (state, kind, number, _) in enumerate(native.explore_final()):
            if State(state) is not State.ENDED:
                found.setdefault(thread, (kind, number))
        return {thread: op for thread, op in found.items() if thread in self._start}

    def _race_pending(self, at: int, pending: dict[int, tuple[int, int]]) -> None:
        """The run ends here, but what threads were about to do may race too."""
        for thread, (kind, number) in pending.items():
            self._race(at, thread, kind, 0, self._what(thread, kind, number, 0), took=False)

    # ---- races -------------------------------------------------------------------------------------------------------

    def _race(self, at: int, thread: int, kind: int, flags: int, touched: Touched, took: bool) -> None:
        """Notes the step's past if it was done, and has its races run the other way round."""
        last = self._last.get(thread, self._start[thread])
        past = self._past[last] if last >= 0 else 0
        known, direct = past, 0
        races = []
        for before in self._before(at, touched):
            if self._chosen[before] == thread:
                continue
            direct |= 1 << before
            if not known >> before & 1:
                could = self._could(before, thread, last, kind, flags, touched)
                if could is not False:
                    races.append(before)
                if could:
                    known |= self._past[before]
            past |= self._past[before]
        for before in races:
            self._turn_round(before, at, thread, direct)
        if took:
            self._past.append(past | 1 << at)

    def _before(self, at: int, touched: Touched) -> list[int]:
        """The steps that matter to a step that touches this, latest first."""
        if touched is None:
            return list(range(at - 1, -1, -1))
        found = {step >> 1 for step in self._unknown}
        for one in touched:
            found.update(step >> 1 for step in self._history.get(one >> 1, ()) if (step | one) & 1)
        return sorted(found, reverse=True)

    def _could(self, before: int, thread: int, last: int, kind: int, flags: int, touched: Touched) -> bool | None:
        """Whether the thread could have done what it did before that step; None: not known."""
        if last < before:
            return bool(self._can[before] >> thread & 1)
        if kind in _NEVER_WAIT or flags & (TIMED | TIMEOUT):
            return True
        then = self._kind[before]
        if kind == Kind.JOIN and then == Kind.END:
            return False
        if kind == Kind.ACQUIRE and then == Kind.ACQUIRE:
            return True
        if kind == Kind.ACQUIRE and then == Kind.RELEASE and touched and self._was_held(touched[0] >> 1, before):
            return False
        return None

    def _was_held(self, number: int, before: int) -> bool:
        if not self._objects.is_lock(number):
            return False
        for step in reversed(self._history[number]):
            if step & 1 and step >> 1 < before and not self._flags[step >> 1] & TIMEOUT:
                return self._kind[step >> 1] in (Kind.ACQUIRE, Kind.WAKE)
        return False

    def _turn_round(self, before: int, at: int, thread: int, direct: int) -> None:
        """Has a run tried in which the thread's step `at` comes before the step `before`."""
        after = 0  # steps that don't come after `before` in all orders
        seen = 0
        first = 0  # threads that may begin with them
        for step in range(before + 1, at):
            if self._past[step] >> before & 1:
                continue
            one = 1 << self._chosen[step]
            if not seen & one:
                seen |= one
                if not self._past[step] & after:
                    first |= one
            after |= 1 << step
        started = (after << 1) >> (self._start[thread] + 1) & 1
        if not seen >> thread & 1 and not direct & after and not started:
            first |= 1 << thread
        if first & self._todo[before] or any(first >> one & 1 for one in self._asleep[before]):
            return
        first &= self._can[before]
        if first & self._waiting[before]:
            self.gave_way = True
            first &= ~self._waiting[before]
        self._todo[before] |= 1 << thread if first >> thread & 1 else first & -first


def partial_orders(most_steps: int, strikes: Strikes = Strikes.NOTHING) -> Generator[Plan, Run, str]:
    """A schedule of each order of operations on primitives that matter to each other; what was tried, at its end."""
    search = _Search(most_steps, strikes, False)
    try:
        yield from search()
    except _Daemons:
        search = _Search(most_steps, strikes, True)
        yield from search()
    left_out = what_is_left_out(search.gave_way, search.cut, most_steps)
    return f"all orders of operations on primitives, not of what threads do to shared data without them{left_out}"
