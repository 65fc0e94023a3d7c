"""pyee 8.0.1: a listener for once() is called twice, or the second emit() raises KeyError."""
# 3.12.1 pyee==8.0.1

import threading

from pyee import EventEmitter


def test():
    emitter = EventEmitter()
    calls, errors = [], []
    emitter.once("event", lambda: calls.append(1))

    def emit():
        try:
            emitter.emit("event")
        except KeyError as error:
            errors.append(error)

    threads = [threading.Thread(target=emit) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert calls == [1]
