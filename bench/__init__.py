"""What the runtime is compared with that is none of its own: servers and explorers of others.

A checkout has this, and the package has not: `python -m bench io`, `python -m bench explore`.  `pip install
'lwp-runtime[peers]'` installs the others.  `lwp bench --vs bench.gevents` and `--vs bench.greenlets` compare threads.
"""

NOT_INSTALLED = "is not installed: pip install 'lwp-runtime[peers]'"
