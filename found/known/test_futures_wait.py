"""concurrent.futures of 3.12.1: wait() for a future that shutdown(cancel_futures=True) has cancelled never returns."""
# 3.12.1

import threading
from concurrent.futures import ThreadPoolExecutor, wait


def test():
    executor = ThreadPoolExecutor(1)
    futures = [executor.submit(int) for _ in range(2)]
    waiter = threading.Thread(target=wait, args=(futures,))
    waiter.start()
    executor.shutdown(cancel_futures=True)
    waiter.join()
