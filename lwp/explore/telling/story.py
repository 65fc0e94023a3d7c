"""The story of a run that failed: what each thread did in which order, what it held and what it waited for."""

from __future__ import annotations

import re
import traceback
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable
from functools import cached_property
from typing import NamedTuple

from ... import native
from ...core import printable
from ...reading.files import is_program
from ...reading.rings import rings
from ...reading.source import Place
from ..results import Find
from ..run.plans import MOST_IN_SET, THREAD, Ending, Kind, Run, State, Step
from .accesses import Access, Raised, conflict
from .events import CAUGHT, DATA, RAISE, Event, Holding, Line, Note, Thing, Wait, lines_of
from .undoing import Reason

_LONGEST_CYCLE = 24  # events, of all threads together; a longer cycle is told for each thread
_CYCLES = 3  # times at least that something is repeated
_LOOKED_AT = 6000  # events
_NOTICED = 0.0005  # seconds; the clock goes on by less at most steps


class Cycle(NamedTuple):
    """What a list repeats at its end."""

    begin: int
    length: int
    times: int


class Story:
    """What a failed run did."""

    def __init__(
        self,
        run: Run,
        notes: dict[int, list[Note]],
        names: dict[int, str],
        steps: list[Step],
        final: list[tuple[int, int, int, int]],
        raised: list[Raised],
    ) -> None:
        self.run = run
        self.ending = Ending(run.ending)
        self.threads = len(final)
        self.events: list[Event] = []
        self.next: dict[int, Event] = {}  #: what each thread was about to do at the end
        self.holdings: list[Holding] = []
        self.reasons: list[Reason] = []
        self.consequence: list[Access] = []  #: uses of other data, by which the failure showed itself
        self._names = names
        self._notes = notes
        self._states = [State(state) for state, _, _, _ in final]
        self._used: defaultdict[int, int] = defaultdict(int)  # notes of each thread
        self.tasks = native.explore_tasks()  #: of each thread: the thread that it shares if it is a task, otherwise -1
        self._started: list[str] = [""]
        self._held: dict[Thing, Holding] = {}
        self._permits: defaultdict[Thing, list[Holding]] = defaultdict(list)
        self._signalled: set[Thing] = set()  # semaphores whose permits are given back by other threads than took them
        self._waiting: defaultdict[Thing, dict[int, Event]] = defaultdict(dict)
        self._signals: dict[Thing, Event] = {}
        #: the calls that led to the exception; the last one raised it
        self.raised_at = places_of(run.error) if self.ending == Ending.FAILED else []
        #: the first that raised it, if another thread has raised it again, as a future's result() does
        self.first_raised = _first_raised(run, raised) if self.ending == Ending.FAILED else None
        self._read(steps)
        self._may = [bool(may) for _, _, _, may in final]
        self._read_end(steps, [(kind, number) for _, kind, number, _ in final])
        self._mark_jumps()
        self.told = self._with_waits()
        self._follow()
        self._add_caught(raised)
        stuck = [(thread, event) for thread, event in self.next.items() if self._is_stuck and not self._may[thread]]
        # A loop waits when its tasks do.
        loops = {self.tasks[thread] for thread, _ in stuck if self.tasks[thread] >= 0}
        self.waits = [self._wait(*one) for one in stuck if one[0] not in loops or not one[1].is_inner]
        self._notes = {}
        waits = {wait.thread: wait for wait in self.waits}
        self.ring = [waits[thread] for thread in next(rings({thread: wait.on for thread, wait in waits.items()}), [])]
        self.cycle = _find_cycle([_key(event) for event in self.events]) if self.ending == Ending.LIMIT else None

    # ---- for its readers ---------------------------------------------------------------------------------------------

    def name(self, thread: int) -> str:
        at = self._threads.index(thread) if thread in self._threads else len(self._started)
        started = self._started[at] if at < len(self._started) else ""
        return printable(self._names.get(thread) or started or f"thread {thread}")

    @cached_property
    def _threads(self) -> list[int]:
        """The threads that are no tasks, in the order of their starts."""
        return [thread for thread in range(len(self.tasks)) if self.tasks[thread] < 0]

    def share(self, one: int, other: int) -> bool:
        """Whether they are tasks of one loop, or its thread."""
        first, second = (self.tasks[any] if self.tasks[any] >= 0 else any for any in (one, other))
        return first == second

    def short_name(self, thread: int) -> str:
        """The name without the function's that threading puts behind it, if that is as clear."""
        name = self._short.get(self.name(thread), self.name(thread))
        return name if len(name) <= 30 else f"{name[:29]}…"

    @cached_property
    def _short(self) -> dict[str, str]:
        names = [self.name(thread) for thread in range(self.threads)]
        short = [re.sub(r"^((?:Thread|Task)-[0-9]+) [(].*[)]$", "\\1", name) for name in names]
        return dict(zip(names, short, strict=True)) if len(set(short)) == len(short) else {}

    @property
    def tracebacks(self) -> list[tuple[str, list[Place]]]:
        """The calls that led to the exception, thread by thread."""
        first = self.first_raised
        calls = 0 if first is None else len(self.raised_at) - first.calls
        parts = [
            (f"Traceback of {self.name(self.run.error_thread)}", self.raised_at[:calls] if first else self.raised_at)
        ]
        if first is not None:
            parts.append((f"It was raised in {self.name(first.thread)}", self.raised_at[calls:]))
        return [(title, places) for title, places in parts if places]

    @property
    def all_waits(self) -> list[Wait]:
        """At the end; those of the ring first."""
        return [*self.ring, *(wait for wait in self.waits if wait not in self.ring)]

    @property
    def _is_stuck(self) -> bool:
        return self.ending in (Ending.DEADLOCK, Ending.LEFT_BEHIND)

    @property
    def repeated(self) -> list[Event]:
        """A livelock's cycle, if it is short."""
        if self.cycle is None or self.cycle.length > _LONGEST_CYCLE:
            return []
        return self.events[self.cycle.begin : self.cycle.begin + self.cycle.length]

    @property
    def has_cycle(self) -> bool:
        """Whether a livelock is told: what its threads repeat, together or each for itself."""
        threads = {event.thread for event in self.events[-_LOOKED_AT:]}
        return self.cycle is not None or all(self.cycle_of(thread) for thread in threads)

    def lines(self) -> tuple[list[Line], list[Line]]:
        """What is told, and what a livelock repeats after that."""
        repeated = self.repeated
        told = [event for event in self.told if event.at < repeated[0].at] if repeated else self.told
        return lines_of(told), lines_of(repeated)

    def cycle_of(self, thread: int) -> tuple[Cycle, list[Event]] | None:
        """What one thread repeats."""
        own = [event for event in self.events if event.thread == thread]
        found = _find_cycle([_key(event) for event in own])
        return (found, own[found.begin : found.begin + found.length]) if found is not None else None

    def explain(self, reasons: list[Reason], accesses: list[Access]) -> None:
        """Tells which data made the test fail, also among the steps."""
        self.reasons = reasons
        told = {one.number: one for reason in reasons for one in reason.told if one is not reason.late}
        self.consequence = self._consequence(accesses) if told else []
        if any(one.number in told for one in self.consequence[-1:]):
            self.consequence = []
        told |= {one.number: one for one in self.consequence}
        for _, one in sorted(told.items()):
            self._insert(Event(one.step - 1, one.thread, DATA, one.place, access=one))

    def _consequence(self, accesses: list[Access]) -> list[Access]:
        """What another thread has done to the data that an exception was raised for, and this use of it."""
        raised = [event.raised for event in self.told if event.kind == CAUGHT and event.raised is not None]
        inner = [(one.thread, one.place) for one in raised if one.place is not None and ":" in one.caught]
        if self.raised_at and not isinstance(self.run.error, AssertionError):
            first = self.first_raised
            inner = [(self.run.error_thread if first is None else first.thread, self.raised_at[-1])]
        for thread, place in inner[-1:]:
            here = [one for one in accesses if one.thread == thread and one.place[:2] == place[:2]]
            for use in here[-1:]:
                before = [one for one in accesses if one.number < use.number and one.writes and conflict(one, use)]
                return [*before[-1:], use] if before else []
        return []

    def _add_caught(self, raised: list[Raised]) -> None:
        for one in raised:
            if one.caught and (one.error != id(self.run.error) or one is self.first_raised):
                self._insert(Event(one.step - 1, one.thread, CAUGHT, one.place, raised=one))

    def _insert(self, event: Event) -> None:
        """Behind the step that it was part of, and what is told of that already."""
        self.told.insert(bisect_right(self.told, event.at, key=lambda one: one.at), event)

    # ---- steps -------------------------------------------------------------------------------------------------------

    def _read(self, steps: list[Step]) -> None:
        before: dict[int, Event] = {}
        for at, step in enumerate(steps):
            if step.kind == Kind.CANCEL:
                self.events.append(self._cancelled(at, step))
                continue
            previous = before.get(step.chosen)
            event = Event(at, step.chosen, step.kind, previous.place if previous else None, step.flags)
            note = self._note(step.chosen)
            while note is not None and note.kind == Kind.TURN and step.kind not in (Kind.TURN, Kind.BEGIN):  # in vain
                self._used[step.chosen] += 1
                note = self._note(step.chosen)
            if note is not None and _is_of(note, step):
                self._used[step.chosen] += 1
                self._fill(event, note, True)
            elif event.kind == Kind.WAKE and previous is not None:
                event.thing = previous.thing
                previous.sleeps = True
            event.of_loop = self.tasks[step.chosen] >= 0 or step.chosen in self.tasks
            event.is_early = bool(step.early >> step.chosen & 1)
            if step.chosen != step.usual:
                event.instead_of = step.usual
                event.after = steps[at - 1].chosen if at else -1
            if event.kind == Kind.JOIN:
                event.target = _thread_of(step.object)
            after = self._note(step.chosen)
            event.time = after.time if after is not None else 0.0
            _mark_came(event, previous, steps)
            self.events.append(event)
            before[step.chosen] = event

    def _cancelled(self, at: int, step: Step) -> Event:
        """The cancelled task's event, where it waits."""
        event = Event(at, step.object - THREAD, step.kind, flags=step.flags, instead_of=step.usual)
        if (note := self._note(event.thread)) is not None:
            event.place, event.stack = note.place, note.stack
        return event

    def _read_end(self, steps: list[Step], operations: list[tuple[int, int]]) -> None:
        last = {event.thread: event for event in self.events}
        for thread, state in enumerate(self._states):
            if state is State.ENDED or (self.ending == Ending.FAILED and thread == self.run.error_thread):
                continue
            kind, number = operations[thread]
            if kind == Kind.CANCEL:
                continue
            event = Event(len(steps), thread, kind, target=_thread_of(number), waits=True)
            note = self._note(thread)
            before = last.get(thread)
            is_asleep = state in (State.ASLEEP, State.WOKEN) and (note is None or note.kind != Kind.SLEEP)
            if is_asleep and before is not None:
                event = Event(len(steps), thread, before.kind, before.place, waits=True, sleeps=True)
                event.thing = before.thing
                before.sleeps = True
            elif note is not None and state is not State.NEW:
                self._fill(event, note, False)
            event.of_loop = self.tasks[thread] >= 0
            _mark_came(event, before, steps)
            if self._is_stuck and event.came < 0 and not self._may[thread]:
                event.came = len(steps)
            self.next[thread] = event
        if self.ending == Ending.FAILED:
            own = self.raised_at[: -self.first_raised.calls] if self.first_raised is not None else self.raised_at
            thread, where = self.run.error_thread, own[-1] if own else None
            if where is None and self.first_raised is not None:
                thread, where = self.first_raised.thread, self.first_raised.place
            self.events.append(Event(len(steps), thread, RAISE, where))

    def _mark_jumps(self) -> None:
        now = min((note.time for notes in self._notes.values() for note in notes), default=0.0)
        asleep = {thread: event.sleeps for thread, event in self.next.items()}
        jumps = []
        for event in reversed(self.events):
            if not asleep.get(event.thread, False):  # otherwise its next point comes after another step
                jumps.append(event)
            asleep[event.thread] = event.kind == Kind.WAKE
        for event in reversed(jumps):
            event.jumped = event.time - now if event.time - now > _NOTICED else 0.0
            now = max(now, event.time)

    def _note(self, thread: int) -> Note | None:
        notes = self._notes.get(thread, [])
        return notes[self._used[thread]] if self._used[thread] < len(notes) else None

    def _fill(self, event: Event, note: Note, is_step: bool) -> None:
        event.kind, event.thing = note.kind, note.thing
        event.place = note.place if note.kind == Kind.TURN else note.place or event.place
        event.stack, event.tasks = note.stack, note.tasks
        event.inner = note.kind == Kind.RELEASE and note.permits > 1
        event.done = note.permits > 0
        event.state = note.state
        if note.kind == Kind.START and is_step:
            self._started.append(note.name)
            event.target = self._threads[len(self._started) - 1] if len(self._started) <= len(self._threads) else None

    def _with_waits(self) -> list[Event]:
        """The events, with the places where a thread came to one and could not go on."""
        waits: defaultdict[int, list[Event]] = defaultdict(list)
        for event in [*self.events, *self.next.values()]:
            if event.came >= 0 and event.kind != Kind.WAKE and not (event.waits and event.sleeps):
                waits[event.came].append(
                    Event(event.came, event.thread, event.kind, event.place, 0, event.thing, event.target, waits=True)
                )
        told = []
        for event in self.events:
            told += waits.pop(event.at, [])
            told.append(event)
        for left in waits.values():
            told += left
        return told

    # ---- who holds and who waits -------------------------------------------------------------------------------------

    def _follow(self) -> None:
        coming = dict(self.next)
        for event in reversed(self.events):
            if event.instead_of is not None:
                event.pending = coming.get(event.instead_of)
            coming[event.thread] = event
        for event in self.told:
            if event.instead_of is not None:
                held = self._held.items()
                event.keeping = tuple(thing for thing, holding in held if holding.thread == event.instead_of)
            self._do(event)

    def _take(self, thing: Thing, event: Event) -> None:
        self.holdings.append(Holding(thing, event.thread, event))
        if thing.is_semaphore:
            self._permits[thing].append(self.holdings[-1])
        else:
            self._held[thing] = self.holdings[-1]

    def _release(self, thing: Thing, event: Event) -> None:
        holding = self._held.pop(thing, None)
        if thing.is_semaphore:
            holding = next((one for one in self._permits[thing] if one.thread == event.thread), None)
            if holding is None:
                self._signalled.add(thing)
            else:
                self._permits[thing].remove(holding)
        if holding is not None:
            holding.until = event

    def _do(self, event: Event) -> None:
        thing = event.thing
        if thing is None:
            return
        if event.waits:
            event.holder = self._held.get(thing)
        elif event.kind in (Kind.ACQUIRE, Kind.TRY):
            event.done = event.done and not event.is_timeout and thing not in self._held
            if event.done and (thing.is_lock or thing.is_semaphore):
                self._take(thing, event)
        elif event.kind == Kind.RELEASE and not event.inner:
            self._release(thing, event)
        elif event.kind == Kind.WAIT and event.sleeps:
            self._waiting[thing][event.thread] = event
            if thing.lock is not None:
                self._release(thing.lock, event)
        elif event.kind == Kind.WAKE:
            self._waiting[thing].pop(event.thread, None)
            if thing.lock is not None:
                self._take(thing.lock, event)
        elif event.kind == Kind.SIGNAL:
            event.waiting = len(self._waiting[thing])
            self._signals[thing] = event

    # ---- the end -----------------------------------------------------------------------------------------------------

    def _wait(self, thread: int, event: Event) -> Wait:
        wait = Wait(thread, event)
        thing = event.thing
        if event.is_turn:
            others = (one for one, loop in enumerate(self.tasks) if loop >= 0 and self.share(one, thread))
            wait.blocked_by = next((one for one in others if one in self.next and not self.next[one].is_turn), None)
        if thing is not None and event.kind == Kind.TURN:
            wait.holder = self._task_inside(thing, thread)
        elif thing is not None:
            woken = self._states[thread] is State.WOKEN
            wait.holder = self._held.get(thing.lock if woken and thing.lock is not None else thing)
            wait.permits = [] if thing in self._signalled else list(self._permits[thing])
            signal, began = self._signals.get(thing), self._waiting[thing].get(thread)
            if thing.kind == "Condition" and signal is not None and began is not None and _is_lost(signal, began):
                wait.signal = signal
        return wait

    def _task_inside(self, thing: Thing, waits: int) -> Holding | None:
        """By which task an asyncio.Lock is held: by that which is in its `async with`."""
        for thread, notes in self._notes.items():
            inside = notes[-1].inside if notes and self._states[thread] is not State.ENDED and thing.is_lock else ()
            for one, place in inside:
                if one is thing or (one.lock is thing and thread != waits):
                    return Holding(thing, thread, Event(-1, thread, Kind.ACQUIRE, place))
        return None


def _is_lost(signal: Event, wait: Event) -> bool:
    return signal.at < wait.at and not signal.waiting and (signal.place is None or not signal.place.via)


def _first_raised(run: Run, raised: list[Raised]) -> Raised | None:
    errors = [id(run.error), *([id(run.error.__cause__)] if isinstance(run.error, Find) else [])]
    last = next((one for one in reversed(raised) if one.error in errors), None)
    return last if last is not None and last.thread != run.error_thread else None


def places_of(error: BaseException | None) -> list[Place]:
    """The program's own lines, in the order of the calls."""
    frames = [*traceback.walk_tb(error.__traceback__)] if error is not None else []
    codes = [(frame.f_code, line) for frame, line in frames if is_program(frame.f_code.co_filename)]
    return [Place(code.co_filename, line, printable(code.co_name), True, "", code, -1) for code, line in codes]


def _thread_of(number: int) -> int | None:
    return number - THREAD if number >= THREAD else None


def _is_of(note: Note, step: Step) -> bool:
    """Whether that step does what was noted, because a sleep has no point of its own."""
    if note.kind == Kind.SLEEP:
        return step.kind in (Kind.WAKE, Kind.YIELD)
    return note.kind == step.kind


def _mark_came(event: Event, before: Event | None, steps: list[Step]) -> None:
    came = before.at + 1 if before is not None else event.at
    seen = event.thread < MOST_IN_SET
    if seen and came < min(event.at, len(steps)) and not steps[came].can >> event.thread & 1:
        event.came = came


def _key(event: Event) -> Hashable:
    place = event.place and (event.place.file, event.place.line, event.place.offset)
    return event.thread, event.kind, event.thing, place, event.done, event.state


def _find_cycle(keys: list[Hashable]) -> Cycle | None:
    """The shortest part that the list repeats at its end, if it does so at least three times."""
    backwards = keys[-_LOOKED_AT:][::-1]
    matches = _prefix_matches(backwards)
    for length in range(1, len(backwards) // _CYCLES + 1):
        if matches[length] >= (_CYCLES - 1) * length:
            begin = len(keys) - length
            while begin and keys[begin - 1] == keys[begin - 1 + length]:
                begin -= 1
            return Cycle(begin, length, (len(keys) - begin) // length)
    return None


def _prefix_matches(items: list[Hashable]) -> list[int]:
    """For each place, how many items from there on are as those at the begin: the Z function."""
    found = [0] * (len(items) + 1)
    left = right = 0
    for at in range(1, len(items)):
        if at < right:
            found[at] = min(right - at, found[at - left])
        while at + found[at] < len(items) and items[found[at]] == items[at + found[at]]:
            found[at] += 1
        if at + found[at] > right:
            left, right = at, at + found[at]
    return found
