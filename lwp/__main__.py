"""`python -m lwp`: the command `lwp`."""

import sys

from lwp_runtime import main

if __name__ == "__main__":
    sys.exit(main())
