"""What the live page may do besides reading, if --page-control allows it."""

from __future__ import annotations

import io
from contextlib import suppress
from pathlib import Path

from ...asking import Unanswered, ask
from ...trace import read
from ..dump import dump_facts, dump_text
from ..trace import _page

_MOST = 3600  # s
CONTROLS = ("dump", "record", "watchdog")


def control(name: str, seconds: float, pid: int, records: Path) -> tuple[str, str]:
    """Does one of CONTROLS: the kind of its result, and the result.

    dump: as `lwp dump`.  record: the page of the timeline of the last seconds.  watchdog: has the program watched, as
    `lwp run --watchdog SECONDS`.
    Unanswered: the program doesn't answer, or refuses.  ValueError: not so many seconds.
    """
    if not 0 < seconds <= _MOST:
        raise ValueError(f"not {seconds:g}, but more than 0 and at most {_MOST} seconds")
    if name == "dump":
        return "text/plain", "\n".join(dump_text(dump_facts(pid))) + "\n"
    if name == "record":
        with suppress(Unanswered):
            ask(pid, "look_back")  # so that the records have the names of what is waited for
        out = io.StringIO()
        _page.write(read(records, -round(seconds * 1e9)), out)
        return "text/html", out.getvalue()
    ask(pid, "watchdog", seconds=seconds)
    return "text/plain", f"A standstill of {seconds:g} s is reported on the program's standard error.\n"
