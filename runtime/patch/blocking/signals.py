"""Waiting for signals."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import signal
from typing import Any

from .stand_in import stands_in_for
from .waiting import Patience, ask_until_true

_stock_sigtimedwait = signal.sigtimedwait


@stands_in_for(signal.sigtimedwait)
def _sigtimedwait(signals: Any, timeout: float, /) -> Any:
    if timeout <= 0:
        return _stock_sigtimedwait(signals, timeout)
    return ask_until_true(lambda: _stock_sigtimedwait(signals, 0), Patience(timeout))


@stands_in_for(signal.sigwaitinfo)
def _sigwaitinfo(signals: Any, /) -> Any:
    return ask_until_true(lambda: _stock_sigtimedwait(signals, 0), Patience(None))


@stands_in_for(_signal.sigwait)  # signal.sigwait() calls it
def _sigwait(signals: Any, /) -> int:
    return int(_sigwaitinfo(signals).si_signo)
