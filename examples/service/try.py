"""Opens the shop, sends visitors to one page, and asks the running shop something.

    python examples/service/try.py follow dump PID
    python examples/service/try.py audit locks PID --seconds 2

What follows the page's name is a command of lwp, with PID for the shop's.  Options of `lwp run` stand before the page.
"""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
LWP = [sys.executable, "-m", "runtime"]


def main() -> int:
    at = next(at for at, word in enumerate(sys.argv) if at and not word.startswith("-"))
    options, page, command = sys.argv[1:at], sys.argv[at], sys.argv[at + 1 :]
    with subprocess.Popen([*LWP, "run", *options, HERE / "shop.py", "0"], stdout=subprocess.PIPE, text=True) as shop:
        assert shop.stdout is not None
        opened = re.search(r"process (\d+): .*:(\d+)", shop.stdout.readline())
        assert opened, "the shop has not opened"
        pid, port = opened.groups()
        visitors = subprocess.Popen([sys.executable, HERE / "visit.py", port, page, "5"], stdout=subprocess.PIPE)
        with suppress(subprocess.TimeoutExpired):
            visitors.wait(2)  # so long they come before the question
        status = subprocess.run([*LWP, *(pid if word == "PID" else word for word in command)], check=False).returncode
        visitors.wait()
        shop.kill()
    return status


if __name__ == "__main__":
    sys.exit(main())
