"""Counts the words of a source tree with many threads, and prints the most frequent ones.

One thread walks the tree and feeds a queue, a pool of threads reads and counts, the main thread adds up.
An ordinary threaded program, which knows of no runtime but Python's own.
"""

from __future__ import annotations

import argparse
import os
import queue
import re
import sysconfig
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

WORD = re.compile(rb"[A-Za-z_]\w*")


def walk(directory: str, paths: queue.Queue[str | None], readers: int) -> None:
    """Puts the path of every .py file below directory on the queue, then one None for each reader."""
    try:
        for folder, _, names in os.walk(directory):
            for name in names:
                if name.endswith(".py"):
                    paths.put(os.path.join(folder, name))
    finally:
        for _ in range(readers):
            paths.put(None)


def count(paths: queue.Queue[str | None]) -> tuple[Counter[bytes], int, int]:
    """Reads files until a None comes: their words, how many files, how many bytes."""
    words: Counter[bytes] = Counter()
    files = size = 0
    while (path := paths.get()) is not None:
        try:
            with open(path, "rb") as file:
                text = file.read()
        except OSError as error:
            print(f"not read: {error}")
            continue
        words.update(WORD.findall(text))
        files += 1
        size += len(text)
    return words, files, size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", default=sysconfig.get_path("stdlib"), help="default: %(default)s")
    parser.add_argument("--threads", type=int, default=16, help="how many read and count (default: %(default)s)")
    parser.add_argument("--top", type=int, default=10, help="how many words to print (default: %(default)s)")
    options = parser.parse_args()
    if options.threads < 1:
        parser.error("--threads must be at least 1")
    if not os.path.isdir(options.directory):
        parser.error(f"no such directory: {options.directory}")

    begin = time.perf_counter()
    paths: queue.Queue[str | None] = queue.Queue()
    walker = threading.Thread(target=walk, args=(options.directory, paths, options.threads), name="walker")
    walker.start()
    words: Counter[bytes] = Counter()
    files = size = 0
    with ThreadPoolExecutor(options.threads, thread_name_prefix="reader") as pool:
        for future in [pool.submit(count, paths) for _ in range(options.threads)]:
            some_words, some_files, some_size = future.result()
            words += some_words
            files += some_files
            size += some_size
    walker.join()

    # Words of one frequency in the order of the alphabet, so that any number of threads prints the same.
    for word, times in sorted(words.items(), key=lambda item: (-item[1], item[0]))[: options.top]:
        print(f"{times:9,}  {word.decode()}")
    print(f"{words.total():,} words, {len(words):,} different, in {files:,} files of {size:,} bytes")
    print(f"{options.threads} readers and a walker, {time.perf_counter() - begin:.2f} s")


if __name__ == "__main__":
    main()
