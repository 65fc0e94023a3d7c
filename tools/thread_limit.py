"""As many threads alive at once as the machine allows, here or in threading.

    python tools/thread_limit.py [--threading | --green] [--most N]

Each waits for one event.  The line of each step says how many live and what one more has cost meanwhile; the last
ones say which limit was hit, how long the joins took, and that a thread can be started again after that.  The limits
are those of the machine: `lwp doctor` shows them, and /proc/sys/kernel/pid_max is the one that is usually small.
"""

from __future__ import annotations

import argparse
import os
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import runtime
import runtime.sync
from runtime.scheduler import yield_

STACK = 64 << 10
STEP = 10_000


def memory() -> int:
    """Resident bytes of this process."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threading", action="store_true", help="threading's threads, with the same stack size")
    parser.add_argument("--green", action="store_true", help="green threads, on this LWP")
    parser.add_argument("--most", type=int, default=10_000_000, metavar="N", help="no more than so many")
    options = parser.parse_args()

    gate: Any = threading.Event() if options.threading else runtime.sync.Event()
    make: Callable[[], threading.Thread]
    if options.green:
        runtime.install(green=True, time_slice=None)
        gate = threading.Event()
    if options.threading or options.green:
        threading.stack_size(STACK)
        make = lambda: threading.Thread(target=gate.wait)  # noqa: E731
    else:
        make = lambda: runtime.Thread(target=gate.wait, stack_size=STACK)  # noqa: E731

    threads: list[threading.Thread] = []
    before, begun = memory(), time.monotonic()
    last = begun
    while len(threads) < options.most:
        thread = make()
        try:
            thread.start()
        except RuntimeError as error:
            print(f"{error}: {error.__cause__}" if error.__cause__ else error)
            break
        threads.append(thread)
        if options.green:
            yield_()  # it runs until it waits
        if len(threads) % STEP == 0:
            now = time.monotonic()
            print(f"{len(threads):9,} alive   {(now - last) / STEP * 1e6:7.1f} us each", flush=True)
            last = now
    took = time.monotonic() - begun
    each = (memory() - before) / max(1, len(threads)) / 1024
    print(
        f"{len(threads):9,} alive after {took:.1f} s, {len(os.listdir('/proc/self/task')):,} tasks, {each:.1f} KiB each"
    )

    begun = time.monotonic()
    gate.set()
    for thread in threads:
        thread.join()
    print(f"{len(threads):9,} joined in {time.monotonic() - begun:.1f} s")
    thread = make()
    thread.start()
    thread.join()
    print("and one more, started and joined")


if __name__ == "__main__":
    main()
