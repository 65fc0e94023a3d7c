"""redis 8.1.0: one thread waits for a connection, and holds the lock that another needs to give its one back."""

import threading

from redis import BlockingConnectionPool, Connection

HELD = [("MainThread", "test_redis.py", "pool.release(connection)", 0.5)]


class Offline(Connection):
    def connect(self):
        pass

    def can_read(self, timeout=0):
        return False


def test():
    pool = BlockingConnectionPool(max_connections=1, timeout=None, connection_class=Offline)
    connection = pool.get_connection()
    pool.set_in_maintenance(True)  # as MaintNotificationsPoolHandler does
    threading.Thread(target=pool.get_connection).start()
    pool.release(connection)
