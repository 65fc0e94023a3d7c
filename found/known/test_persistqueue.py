"""persist-queue 0.4.0: SQLiteQueue.get() of an item that is put meanwhile looks for it only after 10 s."""
# 3.12.1 persist-queue==0.4.0

import tempfile
import threading
import time

from persistqueue import SQLiteQueue


def test():
    with tempfile.TemporaryDirectory() as folder:
        queue = SQLiteQueue(folder, multithreading=True)
        took = []

        def get():
            begin = time.monotonic()
            queue.get()
            took.append(time.monotonic() - begin)

        getter = threading.Thread(target=get)
        getter.start()
        queue.put("item")
        getter.join()
        assert took[0] < 5
