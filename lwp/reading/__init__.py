"""What reads a program: its source, the names of its things, and whose code a file holds."""
