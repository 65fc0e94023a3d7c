"""psycopg's pool and connections in many threads: libpq is tried, and waited for in select()."""

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
from psycopg_pool import ConnectionPool

with ConnectionPool(min_size=2, max_size=4) as pool:
    with pool.connection() as connection:
        connection.execute("drop table if exists numbers")
        connection.execute("create table numbers (n int)")

    def insert(n: int) -> int:
        with pool.connection() as connection:
            connection.execute("insert into numbers values (%s)", (n,))
            row = connection.execute("select pg_sleep(0.01), %s::int", (n,)).fetchone()
            return int(row[1]) if row else -1

    with ThreadPoolExecutor(8) as threads:  # more than there are connections
        print(sum(threads.map(insert, range(100))))
    print(threading.Thread.start.__globals__["Thread"].__module__.split(".")[0])

# A row lock that another thread's transaction has.
with psycopg.connect() as holder:
    holder.execute("lock table numbers")
    waiting = threading.Event()
    seen: list[object] = []

    def count() -> None:
        with psycopg.connect() as connection:
            waiting.set()
            seen.extend(connection.execute("select count(*) from numbers").fetchone() or ())

    counter = threading.Thread(target=count)
    counter.start()
    waiting.wait()
    holder.execute("insert into numbers values (100)")
    holder.commit()
    counter.join()
    print(seen)

# A query that another thread cancels, and one for which a thread waits until another tells.
with psycopg.connect(autocommit=True) as sleeper, psycopg.connect(autocommit=True) as teller:
    timer = threading.Timer(0.2, sleeper.cancel_safe)
    timer.start()
    try:
        sleeper.execute("select pg_sleep(60)")
    except psycopg.errors.QueryCanceled:
        print("canceled")
    timer.join()
    sleeper.execute("listen news")
    heard: list[str] = []

    def listen() -> None:
        heard.extend(note.payload for note in sleeper.notifies(stop_after=2))

    listener = threading.Thread(target=listen)
    listener.start()
    for word in ("one", "two"):
        teller.execute("select pg_notify('news', %s)", (word,))
    listener.join()
    print(*heard)
