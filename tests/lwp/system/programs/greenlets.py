"""gevent or eventlet replaces threading; then each primitive is waited for by one thread while another sees to it."""

import sys

if sys.argv[1] == "gevent":
    from gevent import monkey

    monkey.patch_all()
else:
    import eventlet

    eventlet.monkey_patch()

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

PATIENCE = 20


def starts(function, *args, **options):
    thread = threading.Thread(target=function, args=args, **options)
    thread.start()
    return thread


def notify():
    with condition:
        condition.notify()


def take():
    with lock:
        taken.append("in")


lines = queue.Queue()
thread = starts(lines.put, "queue")
line = lines.get(timeout=PATIENCE)
thread.join(PATIENCE)
print(line, thread.is_alive())

condition = threading.Condition()
with condition:
    starts(notify)
    print("condition", condition.wait(PATIENCE))

barrier = threading.Barrier(3)
starts(barrier.wait)
starts(barrier.wait)
barrier.wait(PATIENCE)
print("barrier", barrier.n_waiting)

semaphore = threading.Semaphore(0)
starts(semaphore.release)
print("semaphore", semaphore.acquire(timeout=PATIENCE))

bounded = threading.BoundedSemaphore(1)
bounded.acquire()
starts(bounded.release)
print("bounded", bounded.acquire(timeout=PATIENCE))

event = threading.Event()
starts(event.set)
print("event", event.wait(PATIENCE))

lock, taken = threading.RLock(), []
with lock:
    thread = starts(take)
    time.sleep(0)
    before = list(taken)
thread.join(PATIENCE)
print("rlock", before, taken)

rung = []
timer = threading.Timer(0.01, rung.append, ("rang",))
timer.start()
timer.join(PATIENCE)
print("timer", rung)

with ThreadPoolExecutor(2) as pool:
    print("pool", list(pool.map(abs, [-1, -2, -3])))

names = []
starts(lambda: names.append(threading.current_thread().name), name="another").join(PATIENCE)
print("names", names)
