"""tenacity 9.2.1: a function that is retried raises KeyError, because another thread calls it at that moment."""

import threading

import tenacity

HELD = [
    ("one", "tenacity/__init__.py", 'self.statistics["idle_for"] += sleep', 0.5),
    ("two", "tenacity/__init__.py", 'self.statistics["start_time"]', 1.0),
]


@tenacity.retry(stop=tenacity.stop_after_attempt(2))
def call(tries):
    tries.append(1)
    if len(tries) == 1:
        raise ValueError
    return tries


def test():
    threads = [threading.Thread(target=call, args=([],), name=name) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
