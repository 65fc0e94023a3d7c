"""Locks that threads take in both orders, though nothing hung: `lwp run --lock-order`, `pytest --lwp --lock-order`.

A thread that takes B while it holds A, or waits for B, says that A comes before B.  If other threads say that B comes
before A, or the order goes round through more locks, then these threads can wait for each other without end.  They
can't if all of them hold a further lock, which lets only one of them do so at a time, or if one had ended (join) before
another began (start).  native/python/observe/lock_order.c records what threads take; this module makes orders of the
records, and finds circles.
"""

from __future__ import annotations

import functools
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, NamedTuple

from .. import native
from ..reading.files import short
from ..reading.lines import called_at
from ..reading.names import Called, Named, kind_of, made
from ..reading.sites import note_makings
from .waits import name_of

_LONGEST = 5  # locks of a circle
_MOST_STEPS = 200_000  # of the search for circles
_MOST_OF_AN_ORDER = 16  # takings that are kept, of different threads and under different other locks


class Moment:
    """The time between two starts or joins of a thread."""

    __slots__ = ("number", "seen", "who")

    def __init__(self, who: Thread, number: int, seen: dict[Thread, int]) -> None:
        self.who = who
        self.number = number  #: counts the thread's own moments, one more after each start
        self.seen = seen  #: the last moment that came before of each other thread that has taken two locks
        who.now = self


class Thread:
    """What is known of a thread; it stays when the thread has ended."""

    __slots__ = ("name", "nests", "now")

    def __init__(self) -> None:
        self.name = ""
        self.nests = False  #: it has taken a lock while it held another
        self.now: Moment


class Taking(NamedTuple):
    """A thread took one lock while it held another, or waits for it."""

    who: Thread | int  #: or a serial number
    name: str
    moment: Moment | None
    since: int  #: the site where it took the first lock
    at: int  #: the site where it took the second, or waits for it
    others: frozenset[Hashable]  #: the locks that it held besides
    wanted: tuple[int, int]  #: the thread's serial number, and the second lock's id()
    in_vain: bool  #: it has waited for the second lock, and did not get it in time


def _before(one: Taking, other: Taking) -> bool:
    if one.moment is None or other.moment is None:
        return False
    return other.moment.seen.get(one.moment.who, -1) >= one.moment.number


def _excludes(one: Taking, other: Taking) -> bool:
    """Whether the two can't happen at the same time."""
    ordered = _before(one, other) or _before(other, one)
    return one.who == other.who or ordered or not one.others.isdisjoint(other.others)


_Orders = dict[Hashable, dict[Hashable, list[Taking]]]
_Circle = list[tuple[Hashable, Taking]]  #: each lock, and the taking of the next one


class LockOrder:
    """Watches the locks of this process from begin() to end()."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []
        self._looking = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """Forgets what was seen so far."""
        with self._looking:
            native.lock_order_forget()
            self._locks: _Orders = defaultdict(functools.partial(defaultdict, list))
            self._kinds: _Orders = defaultdict(functools.partial(defaultdict, list))
            self._kept: dict[int, object] = {}  # so that their ids stay their own
            self._names: dict[int, str] = {}
            self._made: dict[Hashable, int] = {}
            self._elsewhere: dict[int, object] = {}
            self._waits: set[tuple[int, int]] = set()  # the serial number of each thread that waits, and for what
            self._lost = 0

    def begin(self, classes: Iterable[Any]) -> None:
        """Watches from now on. classes: the Thread classes.

        RuntimeError: the locks are being watched already.
        """
        note_makings()
        native.lock_order_begin(self._hello)
        self._now()
        self._undo.append(native.lock_order_end)
        for cls in classes:
            self._wrap(cls, "start", self._start)
            self._wrap(cls, "join", self._join)

    def end(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _wrap(self, cls: Any, name: str, wrapper: Callable[..., None]) -> None:
        function = vars(cls)[name]

        @functools.wraps(function)
        def wrapped(thread: Any, *args: Any, **kwargs: Any) -> None:
            wrapper(function, thread, *args, **kwargs)

        setattr(cls, name, wrapped)
        self._undo.append(lambda: setattr(cls, name, function))

    # ---- threads: called in the threads of the program ---------------------------------------------------------------

    def _now(self) -> Moment:
        now: Moment | None = native.lock_order_moment()
        if now is None:
            now = Moment(Thread(), 0, {})
            now.who.name = name_of(threading.get_ident())
            native.lock_order_be_at(now)
        return now

    def _hello(self, function: Any) -> Moment:
        """In a new thread."""
        self._look()
        known: Moment | None = vars(function).get("_lwp_moment") if isinstance(function, threading.Thread) else None
        now = known or Moment(Thread(), 0, {})
        now.who.name = name_of(threading.get_ident(), threading.get_native_id())
        return now

    def _start(self, start: Callable[..., None], thread: Any, *args: Any, **kwargs: Any) -> None:
        looked, now = self._look(), self._now()
        seen = {**now.seen, now.who: now.number} if now.who.nests or not looked else now.seen
        thread.__dict__.setdefault("_lwp_moment", Moment(Thread(), 0, seen))  # it may have been started already
        native.lock_order_be_at(Moment(now.who, now.number + 1, now.seen))
        start(thread, *args, **kwargs)

    def _join(self, join: Callable[..., None], thread: Any, *args: Any, **kwargs: Any) -> None:
        join(thread, *args, **kwargs)
        first: Moment | None = vars(thread).get("_lwp_moment")
        if first is None or thread.is_alive():
            return
        looked, now, last = self._look(), self._now(), first.who.now
        seen = {**last.seen, last.who: last.number} if last.who.nests or not looked else last.seen
        if any(now.seen.get(who, -1) < number for who, number in seen.items()):
            both = {who: max(now.seen.get(who, -1), seen.get(who, -1)) for who in {**now.seen, **seen}}
            native.lock_order_be_at(Moment(now.who, now.number, both))

    # ---- what they have taken ----------------------------------------------------------------------------------------

    def _look(self) -> bool:
        """Takes over what was recorded, while the names of the locks can be found.  False: another thread is doing
        that."""
        if not self._looking.acquire(False):
            return False
        try:
            self._take_over()
        finally:
            self._looking.release()
        return True

    def _take_over(self) -> None:
        records, elsewhere, self._lost = native.lock_order_take()
        self._elsewhere |= elsewhere
        called = Called()
        for lock, since, _ in (place for *_, places, _ in records for place in places):
            if id(lock) not in self._kept:
                self._kept[id(lock)] = lock
                self._names[id(lock)] = called.by(lock, functools.partial(called_at, native.site_text(since)))
        for moment, ident, serial, places, in_vain in records:
            if moment is not None:
                moment.who.nests = True
            name = moment.who.name if moment is not None else name_of(ident)
            who = moment.who if moment is not None else serial
            self._made |= {id(lock): site for lock, _, site in places}
            *held, (taken, at, _) = places
            how = (serial, id(taken)), in_vain
            for first, since, _ in held:
                others = frozenset(id(lock) for lock, _, _ in held) - {id(first)}
                _keep(self._locks[id(first)][id(taken)], Taking(who, name, moment, since, at, others, *how))
                kinds = frozenset(map(self._kind, others))
                _keep(
                    self._kinds[self._kind(id(first))][self._kind(id(taken))],
                    Taking(who, name, moment, since, at, kinds, *how),
                )

    def _kind(self, lock: Hashable) -> Hashable:
        """The lock's kind: the line where it was made, if that is known."""
        return ("made", site) if (site := self._made.get(lock, 0)) else lock

    def report(self) -> list[str]:
        """Each circle in a few lines, those of the same locks first."""
        with self._looking:
            self._take_over()
            self._waits = {(serial, id(lock)) for _, _, lock, *_, serial in native.waits()}
            return self._told_of_all()

    def _told_of_all(self) -> list[str]:
        signals: set[Hashable] = set(self._elsewhere)
        found = circles(self._locks, signals)
        kinds = {frozenset(self._kind(lock) for lock, _ in circle) for circle in found}
        others = circles(self._kinds, {self._kind(lock) for lock in signals})
        texts = [self._told(circle) for circle in found]
        texts += [self._told(circle) for circle in others if frozenset(kind for kind, _ in circle) not in kinds]
        if texts and self._lost:
            texts.append(f"{self._lost:,} more takings of locks were not recorded: there is room for 131,072")
        return texts

    def _name(self, key: Hashable) -> tuple[str, str]:
        """And what is told of it once: where it was made."""
        if isinstance(key, tuple):
            key, *more = (lock for lock in self._kept if self._kind(lock) == key)
            if more:
                return f"locks {made(native.site_text(self._made[key]))}", ""
        assert isinstance(key, int)
        lock, name = self._kept[key], self._names[key]
        where = made(native.site_text(self._made[key]))
        if where and name and name != where:
            return name, f" ({where})"
        return f"{kind_of(lock)} {where}" if where else name or repr(lock), ""

    def _names_of(self, keys: list[Hashable]) -> list[tuple[str, str]]:
        """Of the locks of a circle, no two with one name."""
        known = [self._name(key) for key in keys]
        locks = [(key, name) for key, (name, _) in zip(keys, known, strict=True) if isinstance(key, int)]
        apart = Called().apart(Named(key, type(self._kept[key]), name, "") for key, name in locks)
        return [
            (apart.get((key, name), name) if isinstance(key, int) else name, where)
            for key, (name, where) in zip(keys, known, strict=True)
        ]

    def _told(self, circle: _Circle) -> str:
        known = self._names_of([key for key, _ in circle])
        names, once = [name for name, _ in known], [name + where for name, where in known]
        head = f"{' and '.join(once)}, in both orders" if len(once) == 2 else f"{', then '.join(once)}, in a circle"
        if isinstance(circle[0][0], tuple):
            head += "; not the same locks of these each time"
        lines = [head]
        for (_, taking), name, then in zip(circle, names, [*names[1:], names[0]], strict=True):
            where = (
                f"at {short(native.site_text(taking.at))}, holding {name} since {short(native.site_text(taking.since))}"
            )
            does = "waits for" if taking.wanted in self._waits else "waited for" if taking.in_vain else "took"
            lines.append(f"  {taking.name!r} {does} {then} {where}")
        return "\n".join(lines)


def _keep(takings: list[Taking], new: Taking) -> None:
    """Keeps, for one thread in one moment, the taking under fewer other locks, or the later one, because it says
    more."""
    for at, old in enumerate(takings):
        if (old.who, old.moment) == (new.who, new.moment) and old.since == new.since and old.at == new.at:
            if new.others < old.others:
                takings[at] = new
            if new.others <= old.others or old.others <= new.others:
                return
    if len(takings) < _MOST_OF_AN_ORDER:
        takings.append(new)


def circles(orders: _Orders, without: set[Hashable]) -> list[_Circle]:
    """Each circle of locks that can be a deadlock, with a taking for each step; the shortest first."""
    found: dict[frozenset[Hashable], _Circle] = {}
    numbers = {key: at for at, key in enumerate(key for key in orders if key not in without)}
    steps = iter(range(_MOST_STEPS))

    def search(path: _Circle, at: Hashable, first: Hashable, length: int) -> Iterator[_Circle]:
        for then, takings in orders[at].items():
            closes = then == first
            if closes != (len(path) == length - 1) or (not closes and numbers.get(then, -1) <= numbers[first]):
                continue
            if any(then == key for key, _ in path) and not closes:
                continue
            for taking in takings:
                if next(steps, None) is None:
                    return
                if any(_excludes(taking, other) for _, other in path):
                    continue
                step = [*path, (at, taking)]
                if closes:
                    yield step
                    return
                yield from search(step, then, first, length)

    for length in range(2, _LONGEST + 1):
        for first in numbers:
            for circle in search([], first, first, length):
                keys = frozenset(key for key, _ in circle)
                if not any(known <= keys for known in found):
                    found[keys] = circle
    return list(found.values())
