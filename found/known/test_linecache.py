"""linecache of 3.12.1: getlines() beside clearcache() raises KeyError (gh-133253)."""
# 3.12.1 --include linecache

import linecache
import threading


def test():
    linecache.getlines(__file__)
    errors = []

    def read():
        try:
            linecache.getlines(__file__)
        except KeyError as error:
            errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    linecache.clearcache()
    reader.join()
    assert not errors
