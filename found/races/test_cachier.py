"""cachier 4.2.0: a thread waits without end for a value that another thread has computed."""

import threading

import cachier

HELD = [
    ("one", "test_cachier.py", "return number * number", 0.5),
    ("two", "cores/memory.py", "entry._condition.acquire()", 1.0),
]


def test():
    @cachier.cachier(backend="memory")
    def square(number):
        return number * number

    threads = [threading.Thread(target=square, args=(3,), name=name) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
