"""Threads are held for a moment where it may matter: `lwp run --chaos`."""
