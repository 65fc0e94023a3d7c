"""A program that ends with threads in every state: ending.py DOOR SEED.

It knows nothing of the runtime.  What it prints and its exit status depend on DOOR only: which threads are in which
state at the end, and how far they are, is SEED's and chance's.
"""

import atexit
import gc
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from _thread import start_new_thread
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

DOOR, SEED = sys.argv[1], int(sys.argv[2])
chance = random.Random(SEED)
sys.setswitchinterval(chance.choice((1e-6, 1e-4, 5e-3)))
main = threading.main_thread()


class Last:
    """Uses primitives, and tries to start a thread, when everything is taken down and the globals are gone."""

    def __init__(self):
        self.lock, self.event = threading.Lock(), threading.Event()
        # Not Thread.start: a daemon may have stopped for ever with threading's lock.  Before 3.12 a thread is made.
        self.start = start_new_thread if sys.version_info >= (3, 12) else None

    def __del__(self, error=RuntimeError, print=print):
        with self.lock:
            self.event.set()
        print("finalizer:", self.event.wait(1), flush=True)
        try:
            if self.start:
                self.start(int, ())
        except error as refused:
            print("finalizer:", type(refused).__name__, refused, flush=True)


# ---- what a daemon can be at -----------------------------------------------------------------------------------------

lock, rlock, event, condition = threading.Lock(), threading.RLock(), threading.Event(), threading.Condition()
semaphore, barrier, todo = threading.Semaphore(0), threading.Barrier(1000), queue.Queue()
simple, reader, sockets = queue.SimpleQueue(), os.pipe(), socket.socketpair()
pool = ThreadPoolExecutor(2)
lock.acquire()
pool.submit(int).result()


def holds_and_sleeps():
    with rlock:
        time.sleep(1e6)


def waits():
    with condition:
        condition.wait()


def waits_for_a_process():
    process = subprocess.Popen(["sleep", "0.05"])
    process.wait()
    event.wait()


def joins_a_daemon():
    thread = threading.Thread(target=event.wait, daemon=True)
    thread.start()
    thread.join()


def again(call):
    def loop():
        while True:
            call()

    return loop


def starts():
    with suppress(RuntimeError):
        thread = threading.Thread(target=int, daemon=True)
        thread.start()
        thread.join()


def starts_bare():
    with suppress(RuntimeError):
        start_new_thread(int, ())
    time.sleep(1e-4)


def fails():
    with suppress(ZeroDivisionError):
        1 / 0  # noqa: B018


DAEMONS = [
    lock.acquire,
    lambda: lock.acquire(timeout=1e6),
    event.wait,
    semaphore.acquire,
    barrier.wait,
    todo.get,
    simple.get,
    waits,
    holds_and_sleeps,
    main.join,
    joins_a_daemon,
    waits_for_a_process,
    lambda: os.read(reader[0], 1),
    lambda: sockets[0].recv(1),
    lambda: time.sleep(1e6),
    lambda: event.wait(1e5),
    again(lambda: event.wait(1e-4)),
    again(lambda: time.sleep(1e-4)),
    again(os.getpid),
    again(gc.collect),
    again(fails),
    again(starts),
    again(starts_bare),
    lambda: None,
]


def some(call):
    def loop():
        for _ in range(20):
            call()

    return loop


def unless_ending(call):
    def attempt():
        with suppress(RuntimeError):  # 3.12 takes no more work from before it waits for the threads on
            call()

    return attempt


#: What the end waits for.
OTHERS = [
    int,
    main.join,
    lambda: time.sleep(1e-3),
    lambda: sum(range(50_000)),
    some(lambda: threading.Event().wait(1e-4)),
    some(gc.collect),
    unless_ending(lambda: subprocess.run(["true"], check=True)),
    unless_ending(lambda: pool.submit(time.sleep, 1e-3).result()),
]

finished = []


def finish(call):
    call()
    finished.append(1)


def tell():
    print(f"atexit: {len(finished)} of {len(waited)} finished", flush=True)


atexit.register(tell)
sys.modules["last"] = Last()  # daemons' frames keep the globals, but not this
for call in DAEMONS:
    for _ in range(chance.choice((0, 1, 1, 3))):
        threading.Thread(target=call, daemon=True).start()
waited = [threading.Thread(target=finish, args=(call,)) for call in OTHERS if chance.randrange(2)]
for thread in waited:
    thread.start()
time.sleep(chance.random() ** 4 * 1e-2)

# ---- how it ends -----------------------------------------------------------------------------------------------------


def start_late():
    try:
        thread = threading.Thread(target=print, args=("a late thread",), kwargs={"flush": True})
        thread.start()
        thread.join()
    except RuntimeError as error:
        print("atexit:", type(error).__name__, error, flush=True)


def exit_in_a_thread():
    thread = threading.Thread(target=sys.exit, args=(3,))
    thread.start()
    thread.join()


DOORS = {
    "return": lambda: None,
    "number": lambda: sys.exit(5),
    "text": lambda: sys.exit("a text"),
    "exception": lambda: 1 / 0,
    "interrupt": lambda: signal.raise_signal(signal.SIGINT),
    "killed": lambda: os.kill(os.getpid(), signal.SIGTERM),
    "_exit": lambda: os._exit(6),
    "_exit in a thread": lambda: [threading.Thread(target=os._exit, args=(7,)).start(), event.wait()],
    "exit in a thread": exit_in_a_thread,
    "start in atexit": lambda: atexit.register(start_late),
    "failing atexit": lambda: atexit.register(lambda: 1 / 0),
    "interrupt in the end": lambda: atexit.register(signal.raise_signal, signal.SIGINT),
}
DOORS[DOOR]()
