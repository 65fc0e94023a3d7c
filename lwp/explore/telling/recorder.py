"""Watches a run from within: what each thread is about to do, where in its source, and to what."""

from __future__ import annotations

import contextlib
import sys
import threading
import weakref
from collections import defaultdict
from types import FrameType
from typing import Any

from ... import native
from ...reading.files import is_program, library_of
from ...reading.names import Names, Origin, kind_of, made_by
from ...reading.sites import note_makings
from ...reading.source import Place, kept, place_in, place_of, program_frames
from ..run.granularity import UNMENTIONED
from ..run.plans import Kind, Run, last_steps
from ..tasks.tasks import awaited_by, begin_of, callback_of, frames_of, holds, name_of
from .accesses import Accesses, stack_of
from .events import Note, Thing
from .state import state_of
from .story import Story

_TRIES = 4  # to find an object's name


class Recorder:
    """Told at each point of a run, in the running thread, what comes next.

    looks: whether it looks at data and exceptions, too; gap: of Accesses.
    with_states: and what its variables hold.
    libraries: gets the files of code that is not the program's and that came to points.
    """

    def __init__(
        self,
        looks: bool = False,
        gap: tuple[int, int] | None = None,
        with_states: bool = False,
        libraries: set[str] | None = None,
    ) -> None:
        self._with_states = with_states
        self.notes: defaultdict[int, list[Note]] = defaultdict(list)
        self.names: dict[int, str] = {0: threading.main_thread().name}
        self._things: dict[int, tuple[Thing, object]] = {}  # the object stays alive: its id is a key
        self._libraries = libraries
        self._tasks = 0
        self._numbers: dict[int, int] = {}  # of tasks, by their id
        self._first: weakref.ref[Any] | None = None  # the test's own task, if it has one
        self._test = 0  # the ident of the test's own thread
        self.accesses = Accesses(self._called, gap)
        self.look = self.accesses.look if looks else None
        note_makings()

    def note(self, thread: int, kind: int, object: object, now: float, frame: FrameType | None = None) -> None:
        """frame: in which the thread is; None: the caller's."""
        if native.explore_unwinding():
            return
        try:
            frame = frame or sys._getframe(1)  # there is none at a thread's end
            self.accesses.settle(thread, frame)
            self._note(thread, kind, object, now, frame)
        except Exception:  # a report that lacks something is better than a program that fails because of the report
            self.notes[thread].append(Note(kind, None, None, "", 0, now))

    def _note(self, thread: int, kind: int, object: object, now: float, frame: FrameType) -> None:
        if kind == Kind.BEGIN:  # a task
            self._numbers[id(object)] = thread
            self._tasks += 1
            self.names[thread] = name_of(object, self._tasks)
            self._first = self._first or weakref.ref(object)
            self.notes[thread].append(Note(kind, begin_of(object), None, "", 1, now))
            return
        if thread not in self.names:
            self.names[thread] = threading.current_thread().name
        if thread == 0:
            self._test = threading.get_ident()
        if kind == Kind.TURN:
            self._note_turn(thread, object, now)
            return
        name = _name_of_started(frame) if kind == Kind.START else ""
        thing = None
        count = 1
        place = place_of(frame)
        if self._libraries is not None:
            self._libraries |= _libraries_in(frame)
        if object is not None:
            thing = self._thing(object, place, _outermost_first(frame))
            count = _count(kind, object)
        state = state_of(program_frames(frame)) if self._with_states else 0
        self.notes[thread].append(Note(kind, place, thing, name, count, now, state, stack_of(frame)))

    def _note_turn(self, thread: int, waiting: Any, now: float) -> None:
        """waiting: a task, a handle that is no task's, or None."""
        if not hasattr(waiting, "get_coro"):
            place = callback_of(waiting) if waiting is not None else None
            self.notes[thread].append(Note(Kind.TURN, place, None, "", 1, now))
            return
        frames = frames_of(waiting)
        own = [frame for frame in frames if is_program(frame.f_code.co_filename)]
        place = place_in(frames)
        with kept(frames):
            awaited = awaited_by(waiting, frames)
            tasks = tuple(map(id, awaited)) if isinstance(awaited, list) else ()
            thing = None if awaited is None or tasks else self._thing(awaited, place, own[::-1])
            inside = tuple((self._thing(one, where, own[::-1]), where) for one, where in holds(own))
            state = state_of(own) if self._with_states else 0
        stack = tuple(frame.f_code.co_name for frame in own)
        self.notes[thread].append(Note(Kind.TURN, place, thing, "", 1, now, state, stack, tasks, inside))

    def _called(self, object: object, frame: FrameType) -> str:
        """What the program calls it, seen from that frame; "" if it is not that simple."""
        found = None
        with contextlib.suppress(Exception):  # of the program's own classes
            found = self._name_in(object, _outermost_first(frame))
        return found[0] if found is not None and found[0].partition(".")[0] != "self" else ""

    def _name_in(self, thing: object, frames: list[FrameType]) -> tuple[str, Origin] | None:
        """Or in the test's frames. These are not kept: a function's variables would outlive its end."""
        test = _outermost_first(native.current_frames().get(self._test))
        own = [] if self._first is None or (task := self._first()) is None else frames_of(task)
        with kept(own + frames):
            return Names([*own[::-1], *test], frames).find(thing)

    def _thing(self, object: Any, place: Place | None, frames: list[FrameType]) -> Thing:
        if id(object) not in self._things:
            self._things[id(object)] = Thing(len(self._things) + 1, kind_of(object)), object
        thing = self._things[id(object)][0]
        if thing.origin is None and thing.tries < _TRIES:
            thing.tries += 1
            found = None
            with contextlib.suppress(Exception):  # of the program's own classes
                found = self._name_in(object, frames)
            if found is not None:
                thing.name, thing.origin = found
            elif not thing.name:
                text = place.object_text if place is not None else ""
                where = made_by(object)
                thing.name = text if not where or text.replace(".", "").isidentifier() else f"{thing.kind} {where}"
        if thing.kind == "Condition" and thing.lock is None:
            thing.lock = self._thing(object._lock, place, frames)
        return thing

    def _number_tasks(self) -> None:
        """A task that is awaited may get its number only later, when its first handle is ready."""
        for notes in self.notes.values():
            notes[:] = [
                note._replace(tasks=tuple(self._numbers.get(task, task) for task in note.tasks)) if note.tasks else note
                for note in notes
            ]

    def so_far(self, run: Run) -> Story:
        """The story of a run that goes on, as if it ended here."""
        final, _ = native.explore_look()
        self._number_tasks()
        return Story(run, self.notes, self.names, last_steps(), final, self.accesses.raised)

    def finish(self, run: Run) -> Story:
        things = [thing for thing, _ in self._things.values()]
        self.accesses.end()
        self._things.clear()
        _tell_apart(things)
        self._number_tasks()
        story = Story(run, self.notes, self.names, last_steps(), native.explore_final(), self.accesses.raised)
        self.notes = defaultdict(list)
        return story


def _libraries_in(frame: FrameType | None) -> set[str]:
    """Files of the calls that the program's innermost line led to, except those that do little but synchronise."""
    found = set()
    while frame is not None and not is_program(file := frame.f_code.co_filename):
        if library_of(file) not in ("", *UNMENTIONED):
            found.add(file)
        frame = frame.f_back
    return found


def _outermost_first(frame: FrameType | None) -> list[FrameType]:
    return [*program_frames(frame)][::-1]


def _tell_apart(things: list[Thing]) -> None:
    """Numbers those that have the same name; a Condition and its lock may."""
    owners = {thing.lock: thing for thing in things if thing.lock is not None and thing.lock.name in ("", thing.name)}
    by_name = defaultdict(list)
    for thing in things:
        if thing not in owners:
            by_name[thing.name].append(thing)
    for name, several in by_name.items():
        for number, thing in enumerate(several):
            if not name:
                thing.name = f"{thing.kind} #{thing.number}"
            elif len(several) > 1:
                thing.name = f"{name} #{number + 1}"
    for lock, owner in owners.items():
        lock.name = owner.name


def _name_of_started(frame: FrameType) -> str:
    """The name of the thread whose start() this is."""
    first = frame.f_code.co_varnames[:1]
    name = getattr(frame.f_locals.get(first[0]), "name", "") if first else ""
    return name if isinstance(name, str) else ""


def _count(kind: int, object: Any) -> int:
    if kind == Kind.RELEASE and hasattr(object, "_recursion_count"):
        return int(object._recursion_count())
    if kind == Kind.TRY and hasattr(object, "_value"):
        return int(object._value)
    return 1
