"""filelock 3.10.7: one FileLock lets two threads in."""
# 3.12.1 filelock==3.10.7

import os
import tempfile
import threading

from filelock import FileLock


def test():
    with tempfile.TemporaryDirectory() as folder:
        lock = FileLock(os.path.join(folder, "lock"))
        inside = []
        most = []

        def work():
            with lock:
                inside.append(1)
                most.append(len(inside))
                with guard:
                    pass
                inside.pop()

        guard = threading.Lock()
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert max(most) == 1
