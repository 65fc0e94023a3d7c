"""The tools of `runtime`: they look at threads, explore them, disturb them, measure them and show how they are made.

Each room is a package here; the command `lwp` has them all.  The runtime knows none of them.  (PYTEST_DONT_REWRITE:
pytest would warn that it came too late to rewrite what is loaded at start-up.)
"""
