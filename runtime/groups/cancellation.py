"""Who is cancelled, and where that is raised.

A scope is what can be cancelled as a whole: a task's function, or the block of a group.  A thread that is in scopes has
a Record with all of them, the outermost first; any other thread has none, and its waits are as before.  To cancel a
scope is to ask: the request is pending until the thread comes to a point where it waits, and is raised there once, as
Cancelled, for the outermost scope that is asked.  So what a thread does to tidy up may wait again.

No lock guards all this.  Each of two threads that meet writes what the other reads, and then reads what the other
writes: so at least one of them sees the other.  The GIL puts these in an order, and without a GIL the interpreter does,
which stores an attribute with the lock of its object.  What only one thread may do is claimed by deleting a list's only
item: no other thread can, and no signal handler runs between that and the next line.
"""

from __future__ import annotations

from threading import get_ident
from types import TracebackType
from typing import Protocol, cast

from .. import native
from ..observe.groups import members

__all__ = ["Cancelled", "Scope", "checkpoint", "enter", "leave", "shield"]

checkpoint = native.checkpoint


class Cancelled(BaseException):
    """Raised in a thread that is cancelled, at its next cancellation point.

    That is a call of this runtime that waits: for a lock or another primitive, for a thread, for time, for a file or,
    on a green thread, a socket; and checkpoint().  A call that needn't wait does what it is for, and raises nothing.
    What was being waited for has not been granted, and a Condition's lock is held, as after any exception.

    It is raised once for each request.  So `finally` may wait again; a thread that catches it goes on.
    """

    _scope: Scope | None = None  # that was cancelled


def _cancelled(scope: Scope) -> Cancelled:
    error = Cancelled(scope.why)
    error._scope = scope
    return error  # not raised here: the traceback would lead back to it


class _Members(Protocol):
    """What a scope asks of its group."""

    _interrupts: bool
    _label: str

    def _expire(self) -> None: ...
    def _ask_tasks(self, why: str, again: bool = False) -> None: ...
    def _end_awaited(self, done: object) -> tuple[str, int]: ...


class Scope:
    """A task's function, or the block of a group; or, without a group, of a shield."""

    __slots__ = ("asked", "deadline", "first", "group", "pending", "record", "why")

    def __init__(self, group: _Members | None, deadline: int | None = None) -> None:
        self.group = group
        self.deadline = deadline  # in ns; None: there is none, or it has been raised
        self.first = [None]  # for the first that asks: of two at once one may be late, and would have it raised again
        self.asked = False  # at any time
        self.pending = False  # asked, and not raised yet
        self.why = ""  # it is cancelled
        self.record: Record | None = None  # of the thread that is in it

    def ask(self, why: str, again: bool = False) -> None:
        """Cancels it, once; with again, also if it was raised before.  By any thread."""
        try:
            del self.first[0]
        except IndexError:
            if not again:
                return
        self.why = why
        self.asked = self.pending = True
        if (record := self.record) is None:
            return
        scopes = record.scopes
        for inner in scopes[scopes.index(self) + 1 :] if self in scopes else ():
            if inner.group is None:
                return  # its end looks for what is pending
            inner.group._ask_tasks(why, again)
        record._interrupt(why)
        self.signal()

    def signal(self) -> None:
        """Interrupts a system call of its thread, if its group is to do so and Cancelled hasn't been raised yet."""
        if self.pending and self.group is not None and self.group._interrupts and (record := self.record) is not None:
            record._signal()

    def is_due(self, now: int) -> bool:
        """Whether Cancelled is to be raised for it; by its own thread."""
        if not self.pending and self.deadline is not None and now >= self.deadline and self.group is not None:
            self.group._expire()
        return self.pending


class Record(native.CancelBase):
    """The scopes that a thread is in, the outermost first.  Written by that thread only."""

    __slots__ = ("scopes",)
    scopes: tuple[Scope, ...]

    def describe(self) -> tuple[str, str]:
        """As observe.groups.Member."""
        scopes = self.scopes
        labels = (scope.group._label for scope in reversed(scopes) if scope.group is not None)
        return next(filter(None, labels), ""), next((scope.why for scope in scopes if scope.asked), "")

    def end_awaited(self, thing: object) -> tuple[str, int]:
        """As observe.groups.Member."""
        group = self.scopes[-1].group if self.scopes else None
        return ("", 0) if group is None else group._end_awaited(thing)

    def begin(self) -> None:
        """The calling thread may be cancelled from now on."""
        self._attach()
        members[get_ident()] = self

    def end(self) -> None:
        """And no longer."""
        members.pop(get_ident(), None)
        self._detach()

    def open_scopes(self) -> tuple[Scope, ...]:
        """Those that no shield holds back."""
        scopes = self.scopes
        for index in range(len(scopes), 0, -1):
            if scopes[index - 1].group is None:
                return scopes[index:]
        return scopes

    def update(self) -> None:
        """After a change: has the thread's waits end as its scopes want it."""
        self._clear()  # first: a request that comes from here on is seen below, or sets it again
        scopes = self.open_scopes()
        self._set_deadline(min((scope.deadline for scope in scopes if scope.deadline is not None), default=None))
        if any(scope.pending for scope in scopes):
            self._interrupt(None)


def _raise_due(record: Record) -> None:
    """Called in a thread whose wait was interrupted: raises Cancelled if that was for a scope of its own."""
    record._clear()
    scopes, now = record.open_scopes(), native.cancel_now()
    for index, scope in enumerate(scopes):
        if scope.is_due(now):
            for inner in scopes[index:]:  # it goes through these on its way
                inner.pending, inner.deadline = False, None
            record.update()
            native.trace_cancelled(scope.why)
            raise _cancelled(scope)
    record.update()


native.cancel_set_raise(_raise_due)


def enter(scope: Scope) -> None:
    """The calling thread is in that scope from now on."""
    record = cast("Record | None", native.cancel_mine())
    if record is None:
        record = Record()
        record.scopes = ()
        record.begin()
    scope.record = record
    record.scopes = (*record.scopes, scope)
    if scope.group is not None:
        native.trace_group(scope.group._label)
    record.update()


def leave(scope: Scope) -> None:
    """The same thread has left it, and what was in it; once more does nothing."""
    if (record := scope.record) is None:
        return
    if scope in (scopes := record.scopes):
        record.scopes = scopes[: scopes.index(scope)]
    scope.record = None
    if record.scopes:
        record.update()
    else:
        record.end()


class shield:  # as a function in a `with`
    """`with shield():` holds Cancelled back; it is raised at the first point after the block.

    A group that is made inside the block is cancelled as any other, by what happens in it.
    """

    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope = Scope(None)

    def __enter__(self) -> None:
        if native.cancel_mine() is not None:
            enter(self._scope)

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        leave(self._scope)
