"""urllib3 1.26.15: a pool that is evicted from the manager is closed while a thread is about to use it (#1252)."""
# 3.12.1 urllib3==1.26.15

import threading

from urllib3 import PoolManager
from urllib3.exceptions import ClosedPoolError


def test():
    manager = PoolManager(num_pools=1)
    errors = []

    def use(host):
        pool = manager.connection_from_host(host)
        try:
            pool._put_conn(pool._get_conn())
        except ClosedPoolError as error:
            errors.append(error)

    threads = [threading.Thread(target=use, args=(host,)) for host in ("a.example", "b.example")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
