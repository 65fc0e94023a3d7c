"""SQLAlchemy 2.1.9: the listener for "first_connect" is called twice, by two threads that connect first."""

import threading

from sqlalchemy import create_engine, event

HELD = [
    ("one", "event/attr.py", "self._exec_once_mutex = mutex", 0.5),
    ("two", "event/attr.py", "self(*args, **kw)", 1.0),
]


def test():
    engine, calls = create_engine("sqlite://"), []
    event.listen(engine, "first_connect", lambda *_: calls.append(1))
    threads = [threading.Thread(target=lambda: engine.connect().close(), name=name) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
