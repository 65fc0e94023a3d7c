"""Which threads are cancelled, and where Cancelled is raised.

To cancel is to ask: a Request is pending in a scope until the scope's thread comes to a point where it waits, and is
raised there once, as Cancelled, for the outermost scope that is pending.  So what a thread does to tidy up may wait
again.  What holds what, from the thread that cancels down to the sleep that ends:

    Group        a block and its tasks
      _requests    for which all of it is cancelled; any thread appends one
    Scope        what is cancelled as a whole: a block, a task's function, a pool's call, lines with a deadline
      asked        the latest Request; any thread writes it
      raised       the number of the latest that was raised; the scope's thread writes it
      deadline     when the scope is asked by itself, None from then on; the scope's thread writes it
    Record       one for each thread that is in scopes; any other thread has none, and its waits are as before
      scopes       the outermost first; the thread writes them.  One without a group is a shield: it holds back what
                   the scopes around it are asked for
    park_cancel  the Record's part in C (native/waits/cancel.h), at which a sleep looks without the GIL
      word         not 0: the thread is to look whether one of its scopes is pending; any thread sets it
      deadline     the earliest of the scopes that no shield holds back; the thread writes it

A scope is pending if `asked` has a greater number than `raised`, and that is the only truth: `word` is a bell.  It may
ring in vain, but it rings whenever a scope that no shield holds back is pending.

    The thread that cancels                              The thread that is cancelled
    1. appends to _requests: a task that is spawned      4. comes back from its sleep, or to a checkpoint
       from then on sees that                            5. clears word
    2. writes `asked` of the block, the tasks, and       6. looks for the outermost pending scope
       of the groups in whose blocks these are           7. asks the groups inside of that, which it is to leave
    3. sets word, which ends the sleep                   8. writes `raised` of that scope and of those inside
                                                         9. sets word if another is pending, and raises

A thread that enters a scope writes `scopes`, and then goes through 5, 6 and 9 without raising.

No lock guards all this.  Each of two threads that meet writes what the other reads, and then reads what the other
writes: 2 comes before 3, and 5 before 6, so at least one of them sees the other.  The GIL puts these in an order, and
without a GIL the interpreter does, which stores an attribute with the lock of its object.  To ask twice for one request
is to ask once, so any thread may carry out what another has begun: one that was interrupted half-way, or that has not
come to all.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, cast

from .. import native
from ..members import Turns, members

checkpoint = native.checkpoint


class Cancelled(BaseException):
    """Raised in a thread that is cancelled, at its next cancellation point.

    A cancellation point is checkpoint(), and every call of this runtime that waits: for a lock or another primitive,
    for a thread, for time, for a file or, on a green thread, for a socket.  A call that can do its work without
    waiting does it, and does not raise.  What was being waited for has not been granted, and a Condition's lock is
    held, as after any exception.

    It is raised once for each request, so `finally` may wait again, and a thread that catches it goes on.
    """

    _scope: Scope | None = None  # that was cancelled


def _cancelled(scope: Scope, request: Request) -> Cancelled:
    error = Cancelled(request.why)
    error._scope = scope
    return error  # it is not raised here, because its traceback would lead back to it


class Members:
    """What a scope asks of its group.  As it stands, a group of no tasks."""

    __slots__ = ()
    _label = ""

    def _expire(self) -> None:
        """Called by any of its threads when the deadline has passed."""

    def _ask_tasks(self, request: Request) -> Sequence[Scope]:
        """Ends tasks that have not begun, and returns the scopes of all."""
        return ()

    def _end_awaited(self, thing: object) -> tuple[str, int]:
        """If the block's end waits for that task: all that it waits for, and the ident of the task's thread."""
        return "", 0

    def _seen_turns(self) -> Turns | None:
        """None: it has no limit."""
        return None


#: The failure of a task, the deadline, and a request to a group around count as one request: they have one number.
_FIRST = 1
_numbers = itertools.count(_FIRST + 1)


class Request:
    """Cancels scopes, the tasks of the groups inside them, the tasks of the groups inside those tasks, and so on.

    start: called with the request, returns its first scopes.
    again: raised also in a scope where an earlier request was raised; otherwise only where none was.
    """

    __slots__ = ("_start", "number", "why")

    def __init__(self, start: Callable[[Request], Sequence[Scope]], why: str, again: bool = False) -> None:
        self._start: Callable[[Request], Sequence[Scope]] | None = start  # None: all are asked
        self.number = next(_numbers) if again else _FIRST
        self.why = why

    def carry_out(self) -> None:
        """Any thread may call this, any number of times.  When it returns, all scopes are asked."""
        if (start := self._start) is not None:
            self.reach(start(self))
            self._start = None

    def reach(self, scopes: Sequence[Scope]) -> None:
        """Asks these scopes, and what is inside them.  It is a loop, because groups may nest deeper than Python calls
        functions."""
        todo = list(scopes)
        for scope in todo:  # it grows
            scope.ask(self)
            for group in scope.groups_inside():
                todo.extend(group._ask_tasks(self))


class Scope:
    """What can be cancelled; without a group, the block of a shield."""

    __slots__ = ("asked", "deadline", "group", "raised", "record")

    def __init__(self, group: Members | None, deadline: int | None = None) -> None:
        self.group = group
        self.deadline = deadline  # in ns
        self.asked: Request | None = None
        self.raised = 0
        self.record: Record | None = None  # of the thread that is in it

    @property
    def pending(self) -> bool:
        """Whether it was asked by a request that has not been raised yet."""
        return self.asked is not None and self.asked.number > self.raised

    def ask(self, request: Request) -> None:
        """Cancels this scope alone; any thread may call it."""
        if (asked := self.asked) is None or request.number > asked.number:
            self.asked = asked = request
        if asked.number > self.raised and (record := self.record) is not None:
            record._interrupt(request.why)

    def groups_inside(self) -> list[Members]:
        """The groups inside this scope in whose blocks its thread is, as long as the thread has not raised the request.

        Once the thread has raised the request the list is empty, because it asked these groups itself before.  Groups
        that it enters later don't belong to the request.
        """
        inside: list[Members] = []
        scopes = () if (record := self.record) is None else record.scopes
        if not scopes or scopes[-1] is self:  # as mostly
            return inside
        # `scopes` was read before `pending`, which the thread changes before it enters another group.
        for inner in scopes[scopes.index(self) + 1 :] if self in scopes and self.pending else ():
            if inner.group is None:
                break  # a shield, whose end looks for what is pending
            inside.append(inner.group)
        return inside

    def is_due(self, now: int) -> bool:
        """Whether Cancelled is to be raised for this scope; called by its own thread."""
        if not self.pending and self.deadline is not None and now >= self.deadline and self.group is not None:
            self.group._expire()
        return self.pending


class Record(native.CancelBase):
    """The scopes that a thread is in, the outermost first.  Written by that thread only."""

    __slots__ = ("scopes",)
    scopes: tuple[Scope, ...]

    def describe(self) -> tuple[str, str]:
        """As members.Member."""
        reasons = (scope.asked.why for scope in self.scopes if scope.asked is not None)
        return next(reversed(self.path()), ""), next(reasons, "")

    def path(self) -> tuple[str, ...]:
        """As members.Member."""
        return tuple(label for scope in self.scopes if scope.group is not None and (label := scope.group._label))

    def end_awaited(self, thing: object) -> tuple[str, int]:
        """As members.Member."""
        group = self.scopes[-1].group if self.scopes else None
        return ("", 0) if group is None else group._end_awaited(thing)

    def turns(self) -> list[Turns]:
        """As members.Member."""
        groups = [scope.group for scope in self.scopes]
        return [seen for group in groups if group is not None and (seen := group._seen_turns()) is not None]

    def begin(self) -> None:
        """The calling thread may be cancelled from now on."""
        self._attach()
        members[get_ident()] = self

    def end(self) -> None:
        """From now on the calling thread can't be cancelled."""
        members.pop(get_ident(), None)
        self._detach()

    def open_scopes(self) -> tuple[Scope, ...]:
        """The scopes that no shield holds back."""
        scopes = self.scopes
        for index in range(len(scopes), 0, -1):
            if scopes[index - 1].group is None:
                return scopes[index:]
        return scopes

    def update(self) -> Request | None:
        """Called after a change: has the thread's waits end as its scopes want.  Returns the request that one of them
        has, if any."""
        self._clear()  # first: a request that comes from here on is seen below, or sets it again
        scopes = self.open_scopes()
        self._set_deadline(min((scope.deadline for scope in scopes if scope.deadline is not None), default=None))
        request = next((scope.asked for scope in scopes if scope.pending), None)
        if request is not None:
            self._interrupt(None)
        return request


def _raise_due(record: Record) -> None:
    """Called in a thread whose wait was interrupted.  Raises Cancelled if a scope of its own was the reason."""
    record._clear()
    scopes, now = record.open_scopes(), native.cancel_now()
    for index, scope in enumerate(scopes):
        if scope.is_due(now):
            request = scope.asked
            assert request is not None
            for group in scope.groups_inside():
                request.reach(group._ask_tasks(request))
            scope.raised, scope.deadline = request.number, None  # a newer request stays pending
            for inner in scopes[index + 1 :]:  # it goes through these on its way
                inner.raised = max(inner.raised, request.number, inner.asked.number if inner.asked is not None else 0)
                inner.deadline = None
            record.update()
            native.trace_cancelled(request.why)
            raise _cancelled(scope, request)
    record.update()


native.cancel_set_raise(_raise_due)


def raise_before(request: Request | None) -> None:
    """Raises Cancelled if that request also cancels the calling thread, before the caller is told that a task was
    cancelled.

    The task may have ended before the request has reached the caller.  So the request is carried out first; otherwise
    the speed of threads would decide what the caller is told.
    """
    if (record := cast("Record | None", native.cancel_mine())) is not None:
        _raise_due(record)
        if request is not None:
            request.carry_out()
            _raise_due(record)


def enter(scope: Scope) -> Request | None:
    """The calling thread is in that scope from now on.  Returns the request that it had before and has not raised
    yet."""
    mine = cast("Record | None", native.cancel_mine())
    record = Record() if mine is None else mine
    scope.record = record
    try:
        if mine is None:
            record.scopes = ()
            record.begin()
        record.scopes = (*record.scopes, scope)
        if scope.group is not None and scope.group._label:
            native.trace_group(scope.group._label)
        return record.update()
    except BaseException:  # raised by a signal handler
        leave(scope)
        raise


def leave(scope: Scope) -> None:
    """The same thread has left the scope, and what was inside it.  Calling it again does nothing."""
    if (record := scope.record) is None:
        return
    if scope in (scopes := record.scopes):
        record.scopes = scopes[: scopes.index(scope)]
    if record.scopes:
        record.update()
    else:
        record.end()
    scope.record = None  # last, because all this is done once more if a signal handler raises before


class shield:  # as a function in a `with`
    """`with shield():` holds Cancelled back; it is raised at the first point after the block.

    A group that is made inside the block is cancelled as usual by what happens inside that group.
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


# ---- deadlines -------------------------------------------------------------------------------------------------------


def checked_seconds(name: str, seconds: float) -> float:
    """The seconds of the parameter with that name, checked."""
    try:
        unknown = math.isnan(seconds)
    except TypeError:
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}") from None
    if unknown:
        raise ValueError(f"{name} must be a number of seconds, not {seconds}")
    return float(seconds)


def deadline_in(seconds: float) -> int | None:
    """The moment in so many seconds, for Scope.deadline."""
    return None if seconds > 1e9 else native.cancel_now() + int(max(seconds, 0) * 1e9)  # 30 years


class _Lines(native.GroupBase, Members):
    """Lines with a deadline.  GroupBase sees to it that the thread has left the scope after them, whatever a signal
    handler raises."""

    __slots__ = ("_caught", "_scope", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = checked_seconds("seconds", seconds)
        self._scope: Scope | None = None
        self._caught = False

    def __enter__(self) -> Self:
        if self._scope is not None:
            raise RuntimeError(f"a {type(self).__name__}() can only be entered once")
        self._scope = Scope(self, deadline_in(self._seconds))
        enter(self._scope)
        return self

    @property
    def cancelled_caught(self) -> bool:
        """Whether the time has ended the block."""
        return self._caught

    def _expire(self) -> None:
        Request(self._scopes, "its deadline").carry_out()

    def _scopes(self, _: Request) -> Sequence[Scope]:
        return () if self._scope is None else (self._scope,)

    def _finish(self, body: BaseException | None, raised: BaseException | None) -> bool:
        """See Group._finish."""
        assert self._scope is not None
        leave(self._scope)
        self._scope.group = None  # it would be a cycle of references
        self._over = True
        if isinstance(raised, Cancelled) and raised._scope is self._scope:
            self._caught = True
            return self._move_on()
        if raised is not None and raised is not body:
            raise raised
        return False

    def _move_on(self) -> bool:
        return True


class move_on_after(_Lines):  # as a function in a `with`
    """`with move_on_after(seconds) as lines:` ends a wait in the block when the time is up, and goes on after it.

    Cancelled ends it, and is raised as in a group: where the thread waits, and once.  Groups inside the block are
    cancelled with it.

    TypeError: seconds is of another type.  ValueError: it is NaN.
    """

    __slots__ = ()


class fail_after(_Lines):  # as a function in a `with`
    """`with fail_after(seconds):` ends a wait in the block when the time is up, and raises TimeoutError.

    In all other ways it is like move_on_after().
    """

    __slots__ = ()

    def _move_on(self) -> bool:
        raise TimeoutError("the time for these lines is up")

    if TYPE_CHECKING:  # the block ends, or something is raised

        def __exit__(
            self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None, /
        ) -> Literal[False]: ...
