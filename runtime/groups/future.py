"""What a call comes to that another thread makes: what a Task and a Future of runtime.pool have in common."""

from __future__ import annotations

from typing import Generic, TypeVar

from .. import native
from ..members import by, note
from .cancellation import Request, Scope, raise_before

_Result = TypeVar("_Result")


class BaseFuture(native.FutureBase, Generic[_Result]):
    """Its state, result, exception and sleepers are in C: native/python/sync/future.h."""

    __slots__ = ()

    _scope: Scope | None  # that the call runs in

    def done(self) -> bool:
        """Whether it has returned, raised or been cancelled.  Its thread may still be on the way to its end."""
        return self._wait(0)

    def cancelled(self) -> bool:
        """Whether Cancelled has ended it, or it was cancelled before it began."""
        return self.done() and self._state != "FINISHED"

    def result(self, timeout: float | None = None) -> _Result:
        """What the function has returned; raises what it has raised.  Waits for that, at most timeout seconds.

        TimeoutError: it is not done by then.  concurrent.futures.CancelledError: it was cancelled.  Cancelled: the
        calling thread is cancelled, too.
        """
        error = self.exception(timeout)
        try:
            if error is not None:
                raise error
            value: _Result = self._result
            return value
        finally:
            error = None  # its traceback leads to this frame

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the function has raised, None if it has returned.  Waits at most timeout seconds, as result() does."""
        if not self._wait(timeout):
            raise TimeoutError
        if self.cancelled():
            request = None if self._scope is None else self._scope.asked
            raise_before(request)
            raise _cancelled_error(request)
        return self._exception

    def _ask(self, scope: Scope, whom: str) -> None:
        """Has Cancelled raised in the call once more."""
        why = by("cancel()")
        note(whom, why)
        Request(lambda _: (scope,), why, again=True).carry_out()


def _cancelled_error(request: Request | None) -> Exception:
    from concurrent.futures import CancelledError  # an Exception, because the caller is not cancelled

    error = CancelledError()
    error._request = request  # type: ignore[attr-defined]
    return error


def cancelled_for(error: Exception) -> Request | None:
    """Of a CancelledError that result() or exception() has raised: for which request the call was cancelled."""
    request: Request | None = getattr(error, "_request", None)
    return request
