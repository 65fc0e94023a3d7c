"""boltons 18.0.1: an LRI that three threads fill raises IndexError (#155)."""
# 3.12.1 boltons==18.0.1

import threading

from boltons.cacheutils import LRI


def test():
    cache = LRI(1)
    threads = [threading.Thread(target=cache.__setitem__, args=(key, key)) for key in "abc"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 1
