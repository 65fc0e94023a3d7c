"""DBUtils 1.3: PooledDB.connection() raises IndexError (pop from an empty list) if the shared connection went away."""
# 3.12.1 DBUtils==1.3

import threading

from DBUtils.PooledDB import PooledDB


class Connection:
    threadsafety = 2

    def cursor(self): ...
    def commit(self): ...
    def rollback(self): ...
    def close(self): ...


def test():
    pool = PooledDB(Connection, maxshared=1, blocking=True, failures=(OSError,), ping=0)
    errors = []

    def work():
        try:
            connection = pool.connection()
            connection.begin()
            connection.commit()
            connection.close()
        except IndexError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
