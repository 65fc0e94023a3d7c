"""cachetools 4.1.1: two callers of one key get two objects, and the cache keeps the one that came last (4.2.0)."""
# 3.12.1 cachetools==4.1.1

import threading

from cachetools import LRUCache, cached


def test():
    make = cached(LRUCache(2), lock=threading.Lock())(lambda: object())
    made = []
    threads = [threading.Thread(target=lambda: made.append(make())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made[0] is made[1]
