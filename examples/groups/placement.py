"""A thread is placed before the program's first line in it; what the kernel refuses is a start that fails."""

import os
import resource
import threading
from types import FrameType

from runtime import Thread

calls: list[str] = []


def where() -> str:
    return f"on CPUs {sorted(os.sched_getaffinity(0))}, nice {os.getpriority(os.PRIO_PROCESS, 0)}"


def note_call(frame: FrameType, event: str, arg: object) -> None:
    if not calls:
        calls.append(f"{frame.f_code.co_name}() {where()}")


if os.geteuid() == 0:  # root may ask for anything
    os.setuid(65534)
resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
before, cpu = where(), max(os.sched_getaffinity(0))

threading.setprofile(note_call)  # from the first Python function of a thread on
placed = Thread(target=int, affinity={cpu}, nice=19)
placed.start()
placed.join()
threading.setprofile(None)
print("first in the thread:", *calls)

urgent = Thread(target=print, args=("never printed",), nice=-5)
try:
    urgent.start()
except RuntimeError as error:
    print("refused:", error.__cause__)
print("threads:", threading.active_count(), "-- tasks:", len(os.listdir("/proc/self/task")))

end = threading.Event()
living = Thread(target=end.wait)
living.start()
living.placement.affinity = {cpu}
living.placement.update(policy="batch", nice=19)
print("changed:", living.placement.policy, living.placement.nice, living.placement.affinity == {cpu})
end.set()
living.join()
print("the main thread is where it was:", where() == before)
