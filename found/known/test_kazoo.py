"""kazoo 2.4.0: AsyncResult.wait() waits without end for a result that was set before (#487)."""
# 3.12.1 kazoo==2.4.0 six setuptools<80

import threading

from kazoo.handlers.threading import AsyncResult, SequentialThreadingHandler


def test():
    result = AsyncResult(SequentialThreadingHandler())
    threading.Thread(target=result.set, args=(1,)).start()
    assert result.wait()
