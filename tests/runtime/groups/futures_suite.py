"""CPython's tests of ThreadPoolExecutor on runtime.pool.Executor: futures_suite.py [--futures] MODULE ...

--futures: with runtime.pool.Future in place of concurrent.futures.Future, too.
"""

import sys
import unittest
from collections.abc import Iterator
from concurrent import futures
from concurrent.futures import _base
from typing import Any

from test.support import script_helper

from runtime import pool

IN_PLACE = """
import concurrent.futures, runtime.pool
concurrent.futures.ThreadPoolExecutor = runtime.pool.Executor
"""


def of(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from of(test)
        else:
            yield test


def is_meant(test: unittest.TestCase) -> bool:
    """A test of threads, or of futures alone."""
    kind = getattr(test, "executor_type", None)
    return kind is pool.Executor or (kind is None and type(test).__name__ == "FutureTests")


def main(arguments: list[str]) -> int:
    run: Any = script_helper.assert_python_ok
    futures.ThreadPoolExecutor = pool.Executor  # type: ignore[misc]
    pool.Executor.__name__ = "ThreadPoolExecutor"  # by which the tests' programs import it
    # These run Python with -I, so only their text can put it in place.
    script_helper.assert_python_ok = lambda option, text: run(option, IN_PLACE + text)
    if arguments[0] == "--futures":
        futures.Future = _base.Future = pool.Future  # type: ignore[misc]
        arguments = arguments[1:]
    suite = unittest.TestSuite()
    for name in arguments:
        found = unittest.defaultTestLoader.loadTestsFromName(f"test.test_concurrent_futures.{name}")
        suite.addTests(test for test in of(found) if is_meant(test))
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    return 0 if result.wasSuccessful() and result.testsRun else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
