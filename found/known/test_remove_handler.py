"""logging of 3.12.1: removeHandler() in one thread makes another handler miss a record that is being logged."""
# 3.12.1

import logging
import threading


class Keeper(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


def test():
    logger = logging.Logger("test")
    first, second = Keeper(), Keeper()
    logger.addHandler(first)
    logger.addHandler(second)
    remover = threading.Thread(target=logger.removeHandler, args=(first,))
    remover.start()
    logger.error("message")
    remover.join()
    assert len(second.records) == 1
