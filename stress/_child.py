"""The process that a mix runs in: python -m stress._child MIX SEED SECONDS PATIENCE JOURNAL."""

from __future__ import annotations

import ctypes
import faulthandler
import signal
import sys
from pathlib import Path

from . import load
from ._journal import Journal
from ._run import Run


def main(name: str, seed: str, seconds: str, patience: str, journal: str) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: without its watcher it is of no use
    faulthandler.register(signal.SIGQUIT, all_threads=True)  # for the watchdog; forked children have it too
    run = Run(name, int(seed), float(seconds), float(patience), Journal(Path(journal), fresh=False))
    run.execute(load()[name].run)


if __name__ == "__main__":
    main(*sys.argv[1:])
