"""How often threads that wait for the GIL wake up while one computes, and how long that one takes.

    python tools/gil_crowd.py [--computes 20000000] [THREADS ...]

On Python's own threads and on the runtime's, each in a process of its own on one core.  Times are of the clock.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import threading
import time


def crowd(many: int, computes: int) -> tuple[int, float]:
    reader, writer = os.pipe()
    threads = [threading.Thread(target=os.read, args=(reader, 1)) for _ in range(many)]
    for thread in threads:
        thread.start()
    before, since = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw, time.perf_counter()
    os.write(writer, b"x" * many)
    sum(range(computes))  # C code, which keeps the GIL
    seconds, woken = time.perf_counter() - since, resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before
    for thread in threads:
        thread.join()
    return woken, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--computes", type=int, default=20_000_000)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("threads", nargs="*", type=int, default=[0, 10, 100, 1000, 3000])
    options = parser.parse_args()
    if options.child:
        print(*crowd(options.threads[0], options.computes))
        return
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    print(f"{'threads':>8} {'threading: wake-ups, s':>26} {'runtime: wake-ups, s':>26}")
    for many in options.threads:
        row = f"{many:8,}"
        for before in ([], ["-m", "runtime", "run"]):
            command = [sys.executable, *before, __file__, "--child", "--computes", str(options.computes), str(many)]
            woken, seconds = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
            row += f" {int(woken):18,} {float(seconds):7.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
