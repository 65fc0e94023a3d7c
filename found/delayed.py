"""A test on Python's own threads, some of them held for a moment where its HELD says: `delayed.py TEST.py`.

A place: how the thread's name begins, how the file's ends, a text of the line, and for how many seconds the thread is
held before it runs such a line for the first time.  The exit status is 1 if the test fails or hangs.
"""

from __future__ import annotations

import faulthandler
import linecache
import os
import runpy
import sys
import threading
import time
import traceback
from types import FrameType
from typing import Any


def main(test: str) -> None:
    names = runpy.run_path(test)
    held: list[tuple[str, str, str, float]] = names["HELD"]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        for place in list(held) if event == "line" else ():
            name, end, text, seconds = place
            file, line = frame.f_code.co_filename, frame.f_lineno
            if file.endswith(end) and text in linecache.getline(file, line):
                thread = threading.current_thread().name
                if thread.startswith(name):
                    held.remove(place)
                    print(f"{thread} is held at {end}:{line}, before {text}", flush=True)
                    time.sleep(seconds)
        return trace

    def failed(args: Any) -> None:
        traceback.print_exception(args.exc_type, args.exc_value, args.exc_traceback)
        os._exit(1)

    threading.excepthook = failed
    faulthandler.dump_traceback_later(10, exit=True)  # a hang: prints the stacks; exit status 1
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        names["test"]()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    sys.settrace(None)
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(1)
    print("passes", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
