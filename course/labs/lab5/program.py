"""A program with a deadlock of ann and ben.  `python program.py FILE` prints what the finder in FILE finds."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
import traceback

from runtime import Thread, scheduler
from runtime.sync import Event, Lock

bread, butter, knife = Lock(), Lock(), Lock()
dinner = Event()


def take(first: Lock, second: Lock, both: Event, ready: Event) -> None:
    with first:
        ready.set()
        both.wait()
        with second:
            pass


def main() -> None:
    left, right, both = Event(), Event(), Event()
    ann = Thread(target=take, args=(bread, butter, both, left), name="ann")
    ben = Thread(target=take, args=(butter, bread, both, right), name="ben")
    others = [
        Thread(target=ann.join, name="waits for ann"),
        Thread(target=bread.acquire, kwargs={"timeout": 60}, name="has a timeout"),
        Thread(target=dinner.wait, name="waits for dinner"),
        Thread(target=knife.acquire, name="waits for main"),
    ]
    knife.acquire()  # main holds it, and runs
    ann.start()
    ben.start()
    left.wait()
    right.wait()
    both.set()
    for thread in others:
        thread.start()
    while sorted(wait.kind for wait in scheduler.waiting().waits) != ["event", "join", *["lock"] * 4]:
        time.sleep(0.001)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1)  # second of the processor, against a finder that never comes back
    try:
        sys.path.insert(0, os.path.dirname(__file__))  # for waits.py
        finder = runpy.run_path(sys.argv[1], run_name="finder")
        waits = finder["waits_of"](scheduler.waiting())
        circles = sorted(" and ".join(sorted(circle)) for circle in finder["circles"](waits))
        print("threads:", ", ".join(sorted(wait.thread for wait in waits)))
        print("circles:", ", ".join(circles))
        print("stuck:", ", ".join(sorted(finder["stuck"](waits))), flush=True)
    except BaseException:
        traceback.print_exc()
        os._exit(1)  # ann and ben would never end
    os._exit(0)


if __name__ == "__main__":
    main()
