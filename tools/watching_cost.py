"""What it costs the examples to be watched: CPU time with `run --trace` and `run --watchdog`, against plain `run`.

    python tools/watching_cost.py [--rounds N]

Each round runs each program once in each way, one after another, on one core, so that what else the machine does meets
all alike; each round begins with another way.  What `run --trace` does after the program's end, making the timeline of
the records, is not counted.  Shown are the medians of the rounds' ratios and their quartiles; *plain* is what the plain
run takes, *noise* a second one against the first.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
PROGRAMS = {"wordcount.py": [], "httpserver.py": ["--requests", "4000"]}
WAYS: dict[str, list[str]] = {
    "plain": [],
    "noise": [],
    "--trace": ["--trace", "trace.json"],
    "--watchdog 10": ["--watchdog", "10"],
}


#: Runs a program as `lwp run` would, and writes down the CPU time of the whole process until its end.
MEASURED = """
import runpy, sys, time
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    with open("took", "w") as file:
        file.write(repr(time.process_time()))
"""


def cpu_time(options: list[str], program: str, folder: Path) -> float:
    """Seconds of user and system time that all threads of the process took, up to the end of the program."""
    (folder / "measured.py").write_text(MEASURED)
    (folder / "took").unlink(missing_ok=True)
    command = [sys.executable, "-P", "-m", "runtime", "run", *options, "measured.py", str(EXAMPLES / program)]
    command += PROGRAMS[program]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return float((folder / "took").read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default: %(default)s")
    rounds: int = parser.parse_args().rounds
    if rounds < 2:
        parser.error("--rounds: quartiles need two rounds at least")

    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    taken: dict[tuple[str, str], list[float]] = {(program, way): [] for program in PROGRAMS for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        for done in track(range(rounds), "rounds", console=Console(stderr=True), transient=True):
            for program in PROGRAMS:
                for at in range(len(WAYS)):
                    way = list(WAYS)[(done + at) % len(WAYS)]
                    taken[program, way].append(cpu_time(WAYS[way], program, Path(name)))

    table = Table("program", box=None, pad_edge=False)
    for way in WAYS:
        table.add_column(way, justify="right")
    for program in PROGRAMS:
        plain = taken[program, "plain"]
        cells = [f"{statistics.median(plain):.2f} s"]
        for way in list(WAYS)[1:]:
            ratios = [one / other for one, other in zip(taken[program, way], plain, strict=True)]
            low, median, high = statistics.quantiles(ratios, method="inclusive")
            cells.append(f"{median:.3f} ({low:.3f}-{high:.3f})")
        table.add_row(program, *cells)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
