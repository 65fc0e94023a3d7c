"""portalocker 4.1.0: two release() of one lock at once: the second one unlocks a closed file."""
# 3.12.1 portalocker==4.1.0 typing_extensions

import tempfile
import threading

import portalocker


def test():
    with tempfile.TemporaryDirectory() as folder:
        lock = portalocker.Lock(folder + "/lock", raise_on_release_error=True)
        lock.acquire()
        threads = [threading.Thread(target=lock.release) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
