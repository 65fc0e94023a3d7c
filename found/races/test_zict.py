"""zict 3.0.0: a key that moves from the slow to the fast part of a Buffer seems to be in neither."""

import threading

from zict import Buffer, Func

HELD = [("asks", "zict/func.py", "return key in self.d", 0.5)]


def test():
    buffer, answers = Buffer({}, Func(str, str, {}), n=1), []
    buffer["first"], buffer["second"] = "1", "2"  # now the first one is in the slow part
    thread = threading.Thread(target=lambda: answers.append("first" in buffer), name="asks")
    thread.start()
    assert buffer["first"] == "1"
    thread.join()
    assert answers == [True]
