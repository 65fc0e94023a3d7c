"""loguru 0.7.2: a line that is logged while another thread removes the handlers raises RuntimeError (#1183)."""
# 3.12.1 loguru==0.7.2

import threading

from loguru import logger


def test():
    logger.remove()
    for _ in range(3):
        logger.add(lambda line: None)
    thread = threading.Thread(target=logger.remove)
    thread.start()
    logger.info("hello")
    thread.join()
