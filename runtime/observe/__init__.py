"""What can be seen of threads from outside: who waits for what, what they did, and what limits their number."""
