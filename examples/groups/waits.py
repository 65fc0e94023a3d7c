"""Threads that wait in each primitive are cancelled, and what they leave is seen."""

from collections.abc import Callable

from runtime import Cancelled, Group
from runtime.scheduler import sleep, waiting
from runtime.sync import Barrier, Condition, Event, Lock, Semaphore

lock, semaphore, barrier, condition = Lock(), Semaphore(0), Barrier(2), Condition()
seen: dict[str, str] = {}


def wait(name: str, call: Callable[[], object]) -> None:
    try:
        call()
    except Cancelled:
        seen[name] = "cancelled"
        raise


def wait_in_condition() -> None:
    with condition:
        try:
            condition.wait()
        finally:
            seen["the lock of the condition"] = "held" if condition._is_owned() else "lost"


lock.acquire()
with Group() as group:
    group.spawn(wait, "Lock.acquire", lock.acquire)
    group.spawn(wait, "Semaphore.acquire", semaphore.acquire)
    group.spawn(wait, "Barrier.wait", barrier.wait)
    group.spawn(wait, "Condition.wait", wait_in_condition)
    group.spawn(wait, "Event.wait", Event().wait)
    while len(waiting().waits) < 5:
        sleep(0.001)
    group.cancel()
lock.release()
semaphore.release()
for name in sorted(seen):
    print(f"{name:26} {seen[name]}")
print(f"then: lock free {lock.acquire(False)}, a permit {semaphore.acquire(False)}, in the barrier {barrier.n_waiting}")
