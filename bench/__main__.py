"""`python -m bench`."""

import sys

import click

from .chaos import chaos
from .explore import explore
from .io import io
from .packages import programs
from .turns import turns
from .workers import workers


@click.group(
    commands=[io, workers, programs, explore, chaos, turns],
    help="Compare the runtime with others: servers, explorers, chaos and turns.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
def _bench() -> None:
    pass


try:
    sys.exit(_bench.main(sys.argv[1:] or ["--help"], "python -m bench", standalone_mode=False))
except click.Abort:
    sys.exit(130)  # Ctrl-C, as a shell tells it
except click.ClickException as error:
    print("bench:", " ".join(error.format_message().split()).rstrip("."), file=sys.stderr)
    sys.exit(2)
