"""Django 2.0.13: LocMemCache.get() of a missing key deletes what another thread has set meanwhile."""
# 3.12.1 Django==2.0.13 pytz setuptools<80

import itertools
import threading

from django.conf import settings

settings.configure()

from django.core.cache.backends.locmem import LocMemCache  # noqa: E402

names = itertools.count()


def test():
    cache = LocMemCache(f"cache {next(names)}", {})
    reader = threading.Thread(target=cache.get, args=("key",))
    writer = threading.Thread(target=cache.set, args=("key", "value"))
    reader.start()
    writer.start()
    reader.join()
    writer.join()
    assert cache.get("key") == "value"
