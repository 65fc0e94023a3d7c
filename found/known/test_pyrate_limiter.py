"""pyrate-limiter 4.3.1: an item that is put while a leak goes on is lost (#302)."""
# 3.12.1 pyrate-limiter==4.3.1 typing_extensions

import threading

from pyrate_limiter import Duration, InMemoryBucket, Rate, RateItem


def test():
    bucket = InMemoryBucket([Rate(5, Duration.SECOND)])
    bucket.put(RateItem("old", 0))
    thread = threading.Thread(target=bucket.leak, args=(100_000,))
    thread.start()
    bucket.put(RateItem("new", 99_999))
    thread.join()
    assert [item.name for item in bucket.items if item.timestamp] == ["new"]
