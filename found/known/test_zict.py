"""zict 2.2.0: an LRU that threads fill keeps more than its maximum (3.0.0: thread-safe)."""
# 3.12.1 zict==2.2.0 heapdict

import threading

from zict import LRU


def test():
    lru = LRU(1, {})
    threads = [threading.Thread(target=lru.__setitem__, args=(key, key)) for key in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lru) == 1
