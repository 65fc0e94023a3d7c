"""Step 6 without C: this is the runtime itself.

Python can't make a thread for Python from below: the lines that take the GIL would need it to run.  So here the runtime
does what the page's two programs do: two threads of LWPs of their own, then two green threads that share one.
"""

from __future__ import annotations

import threading

from runtime import Thread
from runtime.scheduler import Scheduler, yield_

local = threading.local()


def count(name: str) -> None:
    local.number = 42
    for _ in range(3):
        local.number += 1
        line = f"{name}: number {local.number}, ident {threading.get_ident():#x}, tid {threading.get_native_id()}\n"
        print(line, end="")  # at once: another thread could print between a line and its end
        yield_()


def main() -> None:
    threads = [Thread(target=count, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    scheduler = Scheduler()
    for name in ("a", "b"):
        scheduler.spawn(count, name)
    scheduler.run()


if __name__ == "__main__":
    main()
