"""What `lwp bench` measures (operations), and how (measure)."""
