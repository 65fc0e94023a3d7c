"""The map of a thread's TLS, read from its live memory: its layout and content, two threads compared, variables."""
