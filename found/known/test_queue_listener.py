"""logging.handlers of 3.12.1: two QueueListener.stop() at once: AttributeError (gh-114706)."""
# 3.12.1

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
