"""Threads with a working directory of their own: what pthread_create can't make.

A thread made without CLONE_FS gets a copy of the working directory and the umask, and changes only its own.
Each thread here goes to another directory and writes a file by a relative name; the main thread stays where it
is.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from runtime import THREAD_FLAGS, Clone, Thread


def work(directory: Path) -> None:
    os.chdir(directory)
    Path("where.txt").write_text(f"thread {directory.name} was in {os.getcwd()}\n")


def main() -> None:
    home = os.getcwd()
    with tempfile.TemporaryDirectory() as root:
        directories = [Path(root, name) for name in ("north", "east", "south", "west")]
        for directory in directories:
            directory.mkdir()
        threads = [Thread(target=work, args=(directory,), flags=THREAD_FLAGS & ~Clone.FS) for directory in directories]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for directory in directories:
            print((directory / "where.txt").read_text(), end="")
    print(f"the main thread is in {os.getcwd()}, {'as before' if os.getcwd() == home else 'which it never asked for'}")


if __name__ == "__main__":
    main()
