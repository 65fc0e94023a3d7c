"""tqdm 4.31.1: two bars that two threads make at once: RuntimeError, Set changed size during iteration (#481, #754)."""
# 3.12.1 tqdm==4.31.1

import threading

from tqdm import tqdm


def test():
    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())  # without its lock for processes
    getattr(tqdm, "_instances", set()).clear()
    first = tqdm(disable=True)
    threads = [threading.Thread(target=tqdm, kwargs={"disable": True}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.close()
