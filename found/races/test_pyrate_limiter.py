"""pyrate-limiter 4.5.1: the thread that empties buckets fails if its bucket goes before it begins."""

from pyrate_limiter import Duration, Limiter, Rate

HELD = [("PyrateLimiter", "abstracts/bucket.py", "assert self.sync_buckets", 0.5)]


def test():
    with Limiter(Rate(1, Duration.SECOND)) as limiter:
        limiter.try_acquire("item")
