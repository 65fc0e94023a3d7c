"""tqdm 4.70.1: thread_map() closes its bar, done, at 2 of 3."""

import io

from tqdm.contrib.concurrent import thread_map

HELD = [("ThreadPool", "tqdm/std.py", "self.n += n", 0.5)]


def test():
    bar = io.StringIO()
    thread_map(str, range(3), max_workers=2, file=bar, mininterval=0)
    assert "3/3" in bar.getvalue()
