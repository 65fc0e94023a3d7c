"""Calls of a pool, of which one waits for what never comes: at the deadline it is cancelled, where it waits."""

from concurrent.futures import wait

from runtime import Cancelled
from runtime.pool import Executor
from runtime.sync import Lock

lost = Lock()
lost.acquire()  # by nobody who would release it


def answer(number: int) -> int:
    if number == 3:
        try:
            with lost:
                print("never")
        except Cancelled:
            print("call 3 is cancelled, and tidies up")
            raise
    return number * number


with Executor(4) as executor:
    calls = [executor.submit(answer, number) for number in range(5)]
    done, late = wait(calls, timeout=0.2)
    print(f"{len(done)} are done, {len(late)} is late; a plain cancel() of it says {[call.cancel() for call in late]}")
    for call in calls:
        if call in late:
            call.cancel(running=True)
print(["cancelled" if call.cancelled() else call.result() for call in calls])
