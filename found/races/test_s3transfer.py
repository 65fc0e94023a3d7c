"""s3transfer 0.19.3: a thread waits for a place in the window though one is free."""

import threading

from s3transfer.utils import SlidingWindowSemaphore

HELD = [("MainThread", "test_s3transfer.py", "window.release", 0.5)]


def test():
    window = SlidingWindowSemaphore(2)
    first, second = window.acquire("file"), window.acquire("file")
    waiting = [threading.Thread(target=window.acquire, args=("file",)) for _ in range(2)]
    for thread in waiting:
        thread.start()
    window.release("file", second)
    window.release("file", first)  # now both places are free
    for thread in waiting:
        thread.join()
