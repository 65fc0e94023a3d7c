"""limits 2.6.0: MemoryStorage.acquire_entry() lets in more than the limit."""
# 3.12.1 limits==2.6.0 packaging typing_extensions deprecated setuptools<80

from concurrent.futures import ThreadPoolExecutor

from limits.storage import MemoryStorage


def test():
    storage = MemoryStorage()
    with ThreadPoolExecutor(2) as executor:
        taken = [executor.submit(storage.acquire_entry, "key", 1, 60) for _ in range(2)]
    assert sum(future.result() for future in taken) == 1
