"""logging.handlers.QueueListener.stop() in two threads: 'NoneType' object has no attribute 'join' (gh-114706)."""
# CPython 3.12.1

import logging.handlers
import queue
import threading


def test():
    listener = logging.handlers.QueueListener(queue.Queue())
    listener.start()
    stoppers = [threading.Thread(target=listener.stop) for _ in range(2)]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join()
