"""`python -m runtime`."""

import sys

try:
    from .cli import main
except ModuleNotFoundError as missing:
    if missing.name != "click":
        raise
    # The source tree is enough for `python -m`, and has what is needed only when it has been installed.
    sys.exit(f"lwp: {missing.name} is missing: `{sys.executable} -m pip install -e .` in the source tree installs it")

if __name__ == "__main__":
    sys.exit(main())
