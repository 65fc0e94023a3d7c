"""functools.cached_property of 3.11.7: one lock for all instances of a class, so two of them deadlock (bpo-43468)."""
# 3.11.7

import functools
import threading


class Account:
    def __init__(self):
        self.lock = threading.Lock()

    @functools.cached_property
    def statement(self):
        with self.lock:
            return "statement"


def test():
    mine, yours = Account(), Account()

    def compare():
        with mine.lock:
            return yours.statement

    threads = [threading.Thread(target=compare), threading.Thread(target=lambda: mine.statement)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
